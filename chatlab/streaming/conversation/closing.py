"""What a prompt writes behind a reply: how it closes the turn, and where what the model said itself ends in that."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from chatlab.errors import ConversationError, PromptError
from chatlab.prompts.base import AbstractChatPrompt, prompt_text
from chatlab.prompts.content import MessageId
from chatlab.tokenizers.interface import Tokenizer

MARKS = ("\U0010fffd", "\U0010fffc", "\U0010fffb")
"""Characters that nobody's text holds; :mod:`chatlab.prompts.control_tokens.spans` begins at the other end of them."""

PROBES = ("Yes", "1. No, **that** is it.\n\n\tAnd?")
"""Two replies of which a bridge must not depend."""


class Ending(NamedTuple):
    """What of the end of a reply stands, and what follows in its turn."""

    cut_len: int
    """Characters behind the reply that the model said itself."""
    drops_end: bool
    """Whether the end token that was said gives way to the template's own."""
    end: str
    """The end token that was said and stands, as text."""


@dataclass(frozen=True, eq=False)
class RepliedPrompt:
    """A prompt that goes on behind a reply, whose place is found by a mark at its end."""

    prompt: AbstractChatPrompt
    reply_id: MessageId

    @property
    def reply(self) -> str:
        """The text of the reply."""
        return self.prompt.get_content(self.reply_id).message or ""

    @property
    def tool_calls(self) -> Sequence[Any]:
        """The tool calls of the reply."""
        return self.prompt.get_content(self.reply_id).fields.get("tool_calls") or ()

    def marked(self, reply: str | None = None) -> tuple[AbstractChatPrompt, str]:
        """The prompt with a mark in the reply, or in another one in its place; and the mark.

        It stands behind the name of the last tool call, which templates write last, or behind the text where there is
        none, or none is written.
        """
        text = self.reply if reply is None else reply
        written = prompt_text(self.prompt)
        mark = next((mark for mark in MARKS if mark not in written and mark not in text), None)
        if mark is None:
            raise ConversationError("the conversation holds every character that could mark where a reply ends")
        if self.writes_calls:
            return self._with_marked_call(text, mark), mark
        return self.prompt.with_message_text(self.reply_id, text + mark), mark

    @cached_property
    def writes_calls(self) -> bool:
        """Whether the reply holds tool calls, and they come out."""
        return bool(self.tool_calls) and MARKS[0] in prompt_text(self._with_marked_call(self.reply, MARKS[0]))

    def _with_marked_call(self, text: str, mark: str) -> AbstractChatPrompt:
        *others, last = self.tool_calls
        return self.prompt.with_message_text(self.reply_id, text, {"tool_calls": [*others, _marked_call(last, mark)]})

    def tail(self, reply: str | None = None) -> str:
        """What stands behind the reply.

        Raises:
            ConversationError: the reply does not come out as it was said.
        """
        return text_behind(*self.marked(reply))

    def closed(self) -> RepliedPrompt:
        """The prompt up to the reply."""
        closed = self.prompt.copy()
        while closed.get_history()[-1].message_id != self.reply_id:
            closed.remove_last_message()
        return RepliedPrompt(closed, self.reply_id)

    def prove(self, tail: str) -> None:
        """Show that what stands behind a reply is the same for others, and is there without a mark.

        Raises:
            ConversationError: it is not.
        """
        name = type(self.prompt).__name__
        for probe in PROBES:
            if (other := self.tail(probe)) != tail:
                raise ConversationError(
                    f"what {name} writes behind a reply depends on it: {tail!r:.80} here, {other!r:.80} behind {probe!r}"
                )
        if not (written := prompt_text(self.prompt)).endswith(tail):
            raise ConversationError(
                f"what {name} writes behind a reply depends on how it ends: {written[-len(tail) :]!r:.80}, with a mark "
                f"there {tail!r:.80}"
            )


def text_behind(prompt: AbstractChatPrompt, mark: str) -> str:
    """What a prompt writes behind a mark.

    Raises:
        ConversationError: the mark does not come out.
    """
    try:
        _, found, tail = prompt_text(prompt).rpartition(mark)
    except PromptError as error:
        raise ConversationError(f"{type(prompt).__name__} refuses what shows its bridge: {error}") from error
    if not found:
        raise ConversationError(
            f"{type(prompt).__name__} leaves the reply out of the next prompt, or writes it otherwise, so that nobody can "
            "tell what stands behind it"
        )
    return tail


def _marked_call(call: Any, mark: str) -> Any:
    """A tool call with a mark behind its name."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(function := call.get("function"), Mapping):
        return {**call, "function": _marked_call(function, mark)}
    return {**call, "name": f"{call.get('name', '')}{mark}"}


def ending_of(tail: str, closed: str, end: str | None, tokenizer: Tokenizer, said: str | None = None) -> Ending:
    """Tell where a reply that was said ends in what the template writes behind its mark.

    Args:
        tail: what stands behind the mark in the next prompt.
        closed: what stands there where nothing follows.
        end: the end token that the model said; ``None`` where it said none.
        tokenizer: knows the control tokens.
        said: what the model said, where the template writes more of it behind the mark.

    Raises:
        ConversationError: that cannot be told.

    >>> from chatlab.testing import tiny_tokenizer
    >>> from chatlab.tokenizers.load import as_tokenizer
    >>> tokenizer = as_tokenizer(tiny_tokenizer("llama2"))
    >>> ending_of("</s><s>[INST]", "</s>", "</s>", tokenizer)
    Ending(cut_len=4, drops_end=False, end='</s>')
    >>> ending_of("</s><s>[INST]", "</s>", None, tokenizer)
    Ending(cut_len=0, drops_end=False, end='')
    """
    closing = os.path.commonprefix([tail, closed])
    if end and end in closing:
        return Ending(closing.rindex(end) + len(end), False, end)
    if end and closing == closed and (said is not None or not closed.strip()):
        # GLM says <|user|> at the end of a reply, and the next question begins with it.
        blank_len = len(tail) - len(tail[len(closing) :].lstrip())
        if tail.startswith(end, blank_len):
            return Ending(blank_len + len(end), False, end)
    cut_len = 0 if said is None else _common_end(said.removesuffix(end or "").rstrip(), closing)
    closes = tokenizer.special_pattern.search(closing, cut_len) is not None
    # gpt-oss says <|return|>, and its history <|end|>.
    stands_for_it = bool(end) and closed[cut_len:].lstrip().startswith(end or "\0")
    follows = tokenizer.special_pattern.match(tail[cut_len:].lstrip()) is not None
    if not end or closes or (stands_for_it and follows):
        return Ending(cut_len, bool(end), "")
    return Ending(cut_len, False, end)


def _common_end(said: str, closing: str) -> int:
    """Where in what the template writes the end of what was said stands."""
    said = said[-len(closing) :][-200:]
    found = next((said[at:] for at in range(len(said) - 1) if said[at:] in closing), None)
    if found is None:
        raise ConversationError(
            "the template writes tool calls otherwise than the model, so that nobody can tell where they end: "
            f"{said[-40:]!r} was said, and {closing[-40:]!r} is written"
        )
    return closing.rindex(found) + len(found)
