"""Prompt formats as data, and the one class that writes them.

Most chat formats differ only in the strings around a message, so a format is a value and a
prompt class is a name for it. The facts behind each value stand in its vendor's card or template;
``tests/prompts/formats/goldens.json`` names the source of each and the text it must give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chatlab.errors import PromptError
from chatlab.prompts.base import AbstractChatPrompt, ChatContent, PromptTTL, RoleType

Wrap = tuple[str, str]
"""The text before and the text after a message; ``{requester}`` and ``{responder}`` are the role names."""


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """What stands around the messages of one chat format, and how its text must be tokenized."""

    name: str
    models: tuple[str, ...]
    """Model ids that read this format, each known: a pattern would claim siblings that nobody looked at."""
    user: Wrap
    assistant: Wrap
    child: Wrap | None = None
    """What stands around a context that belongs to a question, behind it; None where the format has no place for one."""
    reply_open: str = ""
    """What opens the reply: the format's generation prompt."""
    head: str = ""
    """What every prompt begins with, such as the BOS token."""
    system: Wrap = ("", "\n\n")
    system_place: Literal["block", "first_user", "last_user", "dropped"] = "first_user"
    """A block of its own, inside the first or last question, or nowhere. Where a vendor defines no system
    role the default stands: before the first question, with a blank line, as Gemma's documentation advises."""
    default_system: str | None = None
    preamble: str = ""
    """Text after the head that no system text replaces."""
    trim: Literal["no", "message", "merged"] = "no"
    """Strip each message, or each message with the system text that was put before it."""
    newline: str = "\n"
    """What a newline inside a message becomes."""
    answer_after: str = ""
    """Earlier answers are shown only after the last one of these, such as ``</think>``."""
    requester: str = ""
    responder: str = ""
    single_turn: bool = False
    stop_strs: tuple[str, ...] = ()
    special_strs: tuple[str, ...] = ()
    """Control tokens that the format writes out."""
    bos: Literal["in_text", "tokenizer", "none"]
    """Who gives the BOS token: the text, the tokenizer, or nobody."""
    add_special_tokens: bool
    """What the tokenizer must be called with."""


class FormatPrompt(AbstractChatPrompt):
    """A prompt class whose format is data: a subclass gives ``format`` and nothing else.

    The text ends with the format's reply opening when a reply is open, that is after
    ``add_responder_msg(None)``.
    """

    format: ClassVar[PromptFormat]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "format" in cls.__dict__:
            cls.special_token_strs = cls.format.special_strs
            cls.add_special_tokens = cls.format.add_special_tokens
            cls.default_ttl = PromptTTL.SINGLE_TURN if cls.format.single_turn else PromptTTL.MULTI_TURN

    def __init__(self) -> None:
        super().__init__()
        self.set_requester(self.format.requester)
        self.set_responder(self.format.responder)
        self._system_prompt = self.format.default_system

    def set_system(self, system: str) -> None:
        """Give the system text where the format has a place for one; else put it in front as it is."""
        if self.format.system_place == "block":
            self.set_system_prompt(system)
        else:
            super().set_system(system)

    def add_requester_msg(self, message: str | None, child_message: str | None = None) -> int:
        """Append a message of the one who asks, and return its message id; arguments as in ``ChatHistory``.

        Raises:
            MessageTypeError: a text is no ``str``.
            PromptError: the format has no place for a child message.
        """
        if child_message is not None and self.format.child is None:
            raise PromptError(f"{self.format.name} has no place for a child message: write it into the message")
        return super().add_requester_msg(message, child_message)

    def get_prefix_stop_str(self) -> str:
        """What the format writes before a question, with the requester's name as it is now."""
        return self._named(self.format.user[0]).strip()

    def get_stop_strs(self) -> list[str] | None:
        """Texts at which a reply ends, with the role names as they are now."""
        stops = [self._named(text) for text in self.format.stop_strs] if self.chat_mode else None
        if stops and self.prefix_as_stop_str is False:
            before = self._named(self.format.user[0])
            stops = [stop for stop in stops if not (stop.strip() and before.startswith(stop.lstrip()))]
        return stops

    def get_replacement_when_input(self) -> list[tuple[str, str]] | None:
        """The format's own newline, where it has one."""
        return [("\n", self.format.newline)] if self.format.newline != "\n" else None

    def get_replacement_when_output(self) -> list[tuple[str, str]] | None:
        """The way back from the format's own newline."""
        return [(self.format.newline, "\n")] if self.format.newline != "\n" else None

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """The text that the model reads; with chat mode off, the last requester message alone."""
        if not self.chat_mode:
            return self.get_requester_last_msg() or ""
        form = self.format
        parts = [self.system, form.head, form.preamble]
        if form.system_place == "block" and self._system_prompt is not None:
            parts += [form.system[0], self._trimmed(self._system_prompt), form.system[1]]
        wraps = {RoleType.REQUESTER: form.user, RoleType.RESPONDER: form.assistant}
        named = {role: (self._named(before), self._named(after)) for role, (before, after) in wraps.items()}
        contents = self.get_contents(opts)
        bearer = self._bearer(contents)
        for content in contents:
            if content.message is not None:
                before, after = named[content.role_type]
                parts += [before, self._shown(content, bearer), after]
            if content.child_message is not None and form.child is not None:
                parts += [form.child[0], self._trimmed(content.child_message), form.child[1]]
        if contents and contents[-1].message is None:
            replies = contents[-1].role_type is RoleType.RESPONDER
            parts.append(self._named(form.reply_open if replies else form.user[0].rstrip(" ")))
        return "".join(parts)

    def _bearer(self, contents: list[ChatContent]) -> ChatContent | None:
        """The question that bears the system text, if one does."""
        place = self.format.system_place
        if self._system_prompt is None or place not in ("first_user", "last_user"):
            return None
        asked = (content for content in contents[:: 1 if place == "first_user" else -1] if content.message is not None)
        return next((content for content in asked if content.role_type is RoleType.REQUESTER), None)

    def _shown(self, content: ChatContent, bearer: ChatContent | None) -> str:
        form, message = self.format, content.message or ""
        if form.answer_after and content.role_type is RoleType.RESPONDER:
            message = message.rpartition(form.answer_after)[2]
        message = self._trimmed(message)
        if content is bearer:
            message = f"{form.system[0]}{self._system_prompt}{form.system[1]}{message}"
        if form.trim == "merged":
            message = message.strip()
        return message if form.newline == "\n" else message.replace("\n", form.newline)

    def _with_system_prompt(self, contents: list[ChatContent]) -> list[ChatContent]:
        return contents

    def _trimmed(self, text: str) -> str:
        return text.strip() if self.format.trim == "message" else text

    def _named(self, text: str) -> str:
        return text.replace("{requester}", self.requester).replace("{responder}", self.responder)
