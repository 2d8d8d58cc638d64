"""The bridge of a conversation: what a template writes between a reply and the opening of the next one, as ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

from chatlab.errors import ConversationError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.content import RoleType
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.streaming.conversation.closing import RepliedPrompt, text_behind
from chatlab.tokenizers.interface import Tokenizer

ANCHORS = ("a", ":", "]", "\n", "\u3002")
"""Texts that a bridge is encoded behind where it begins with plain text: alone it would get a dummy prefix."""


class BridgePrompt(AbstractChatPrompt):
    """A prompt of which only the bridge is written, so that the messages in it are held to law L8 as in the whole."""

    add_special_tokens = False

    def __init__(self, replied: RepliedPrompt, said: str) -> None:
        """Take what behind the mark of a reply comes after ``said``, which the model said itself."""
        super().__init__()
        self.lead = self._rest = ""
        self._marked, self._mark = replied.marked()
        self._said = said
        self._earlier = frozenset(str(c.message_id) for c in replied.closed().prompt.get_history())
        self.special_token_strs = self._marked.special_token_strs

    def behind(self, lead: str) -> Self:
        """The same behind another text."""
        twin = copy(self)
        twin.lead = lead
        return twin

    def after(self, said: str) -> Self:
        """The same without what it begins with, because that was said, too."""
        twin = copy(self)
        twin._said += said
        return twin

    def behind_rest(self, rest: str) -> Self:
        """The same behind text of the reply that no kept id says."""
        twin = copy(self)
        twin._rest = rest
        return twin

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """The bridge, behind its lead."""
        return self.lead + self.text

    @property
    def text(self) -> str:
        """The bridge.

        Raises:
            ConversationError: the turn is closed otherwise than it was.
        """
        tail = text_behind(self._marked, self._mark)
        if not tail.startswith(self._said):
            raise ConversationError(f"the turn is closed by {tail[: len(self._said)]!r:.80}, not by {self._said!r:.80}")
        return self._rest + tail[len(self._said) :]

    def writes_token(self, piece: str) -> bool:
        """Whether the format writes this added token."""
        return self._marked.writes_token(piece)

    def with_texts(self, rewrite: Callable[[str, str], str]) -> Self:
        """A copy in which the texts behind the reply are changed."""

        def later(text: str, whose: str) -> str:
            return text if whose.rpartition(" message ")[2] in self._earlier else rewrite(text, whose)

        twin = copy(self)
        twin._rest = rewrite(self._rest, "reply") if self._rest else ""
        twin._marked = self._marked.with_texts(later)
        return twin


def encode_bridge(
    tokenizer: Tokenizer, bridge: BridgePrompt, end: str, end_id: int | None, **options: Any
) -> list[int]:
    """The ids of a bridge as the continuation of the ids before it.

    Args:
        tokenizer: gives the ids.
        bridge: what is encoded.
        end: the end token before it, as text; empty where none stands there.
        end_id: its id.
        options: of :func:`chatlab.prompts.control_tokens.encode.encode_prompt`.
    """
    text = bridge.text
    begins_itself = tokenizer.special_pattern.match(text) is not None
    for lead in ([end] if end else []) + ([""] if begins_itself else [*ANCHORS, ""]):
        lead_ids = tokenizer.encode(lead) if lead else []
        if lead and lead == end and lead_ids != [end_id]:
            continue
        token_ids = encode_prompt(tokenizer, bridge.behind(lead), add_special_tokens=False, **options).token_ids
        if token_ids[: len(lead_ids)] == lead_ids:
            return token_ids[len(lead_ids) :]
    raise AssertionError("the last lead is empty")  # pragma: no cover


def roles_behind(prompt: AbstractChatPrompt, reply_at: int) -> tuple[str, ...]:
    """Who speaks after the reply at an index of the history."""
    return tuple(
        content.role_name if content.role_type is RoleType.OTHER else content.role_type.value
        for content in prompt.get_history()[reply_at + 1 :]
    )
