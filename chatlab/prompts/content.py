"""One message of a dialogue, who said it, and how long it stays in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from chatlab.errors import MessageTypeError, PromptError

MessageId = int | str
"""A number that a prompt counts up, or what a program gave with ``set_responder_last_msg_id``."""


class RoleType(Enum):
    """Who speaks: the one who asks, the one who answers, or whoever else a chat template knows, such as a tool."""

    REQUESTER = "requester"
    RESPONDER = "responder"
    OTHER = "other"


class PromptTTL(Enum):
    """How long a message lives in the prompt: for one turn, or for the whole dialogue."""

    SINGLE_TURN = "single_turn"
    MULTI_TURN = "multi_turn"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatContent:
    """One message of the history; ``message`` is None while the reply is still open."""

    role_type: RoleType
    role_name: str
    message: str | None
    message_id: MessageId
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else the message carries, for chat templates: ``role``, ``tool_calls``, ``name``."""
    child_message: str | None = None
    """A context that belongs to the message, for formats with a place of its own for it."""

    def is_open_reply(self) -> bool:
        """Whether it is a reply that is still to be written."""
        return self.role_type is RoleType.RESPONDER and self.message is None

    def get_role_type(self) -> RoleType:
        """Who speaks."""
        return self.role_type

    def get_role(self) -> str:
        """ChatStream's other word for ``get_role_name``."""
        return self.role_name

    def get_role_name(self) -> str:
        """The name that the prompt shows for the speaker, such as ``<human>``."""
        return self.role_name

    def get_message(self) -> str | None:
        """What was said, or None for an open reply."""
        return self.message

    def get_child_message(self) -> str | None:
        """The context that belongs to the message, or None."""
        return self.child_message

    def get_message_id(self) -> MessageId:
        """The number of this message in its prompt, never given twice."""
        return self.message_id


def checked_text(text: object, what: str) -> str:
    """``text`` itself when it is a ``str``, else a ``MessageTypeError`` that says what it should be."""
    if not isinstance(text, str):
        raise MessageTypeError(f"{what} must be a str, not {type(text).__name__}: {text!r:.80}")
    return text


def settled_opts(opts: object) -> Mapping[str, Any]:
    """The options of a prompt, none where they are None.

    Raises:
        PromptError: they are no mapping.
    """
    if opts is None:
        return {}
    if not isinstance(opts, Mapping):
        raise PromptError(f'opts is a mapping such as {{"omit_last_message": True}}, not {opts!r:.80}')
    return opts
