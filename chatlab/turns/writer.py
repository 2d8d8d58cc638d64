"""How a program writes prompts: messages into the text that one call of the model reads."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from chatlab.prompts.base import AbstractChatPrompt, prompt_text
from chatlab.prompts.dialogue import Message
from chatlab.prompts.filling import add_message, new_prompt, offer, said_beside_text
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.tokenizers.interface import Tokenizer

END_STRS = (
    "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|eot_id|>",
    "<|eom_id|>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<end_of_utterance>", "<|eot|>", "<|turn_end|>",
)  # fmt: skip
"""Tokens that end a turn in published templates; the tokenizer's own end of sequence is one besides."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Writer:
    """A prompt class, or a chat template, with the tools and variables that every call of a dialogue has."""

    prompt_class: Callable[[], AbstractChatPrompt]
    tools: Sequence[Any] | None = None
    variables: Mapping[str, Any] | None = None
    clock: datetime | None = None
    """When the call was made; None where nobody looks at it."""

    @cached_property
    def example(self) -> AbstractChatPrompt:
        """An empty prompt of its kind."""
        return new_prompt(self.prompt_class)

    @property
    def name(self) -> str:
        """The prompt class by name."""
        made = self.prompt_class
        owner = getattr(made, "__self__", None)
        return type(owner).__name__ if owner is not None else str(getattr(made, "__name__", type(made).__name__))

    @property
    def chat_template(self) -> str | None:
        """The template that writes, where one does."""
        return self.example.chat_template if isinstance(self.example, ChatTemplatePrompt) else None

    def at(self, clock: datetime | None) -> Writer:
        """The same at another time."""
        return self if clock == self.clock else replace(self, clock=clock)

    def told(self, **variables: Any) -> Writer:
        """The same with other template variables."""
        return replace(self, variables={**(self.variables or {}), **variables})

    def write(self, messages: Sequence[Message], *, opened: bool = True) -> str:
        """Return the text of a prompt.

        Args:
            messages: what was said so far.
            opened: whether the model is to speak next.

        Raises:
            PromptError: the class has no place for something in the messages.
            TemplateError: the template refuses them.
        """
        prompt = new_prompt(self.prompt_class)
        if isinstance(prompt, ChatTemplatePrompt) and self.clock is not None:
            prompt.clock = self.clock
        offer(prompt, self.tools, self.variables or {})
        for number, message in enumerate(messages, 1):
            add_message(prompt, number, message)
        if opened:
            prompt.add_responder_msg(None)
        return prompt_text(prompt)


def end_ids_of(tokenizer: Tokenizer, also: Collection[int] = ()) -> frozenset[int]:
    """Return the ids that end a turn: those of known texts, the tokenizer's own end of sequence, and ``also``."""
    own = getattr(tokenizer.wrapped, "eos_token_id", None)
    known = {tokenizer.special_strs[text] for text in END_STRS if text in tokenizer.special_strs}
    return frozenset(known | set(also) | ({own} if isinstance(own, int) else set()))


def end_strs_of(tokenizer: Tokenizer, end_ids: Collection[int]) -> tuple[str, ...]:
    """Return the texts of these ids, and of all known ones that a template may write, longest first."""
    texts = {text for text, token_id in tokenizer.special_strs.items() if token_id in end_ids}
    return tuple(sorted(texts.union(END_STRS), key=lambda text: (-len(text), text)))


def said_text(writer: Writer, messages: Sequence[Message], reply: Message, end_strs: Sequence[str]) -> tuple[str, str]:
    """Return what a model says that means ``reply``, and the end token it says behind it, as the template writes them.

    A template writes the last reply of a history as its vendor's model says it: what it adds to the opened prompt is
    the reply. Where it trims the content, the content stands as it was. A prompt class says the content alone.

    Raises:
        TemplateError: the template refuses the messages.
    """
    content = reply.get("content")
    content = content if isinstance(content, str) else ""
    if writer.chat_template is None:
        return content, ""
    opening, closed = writer.write(messages), writer.write([*messages, reply], opened=False)
    kept = len(os.path.commonprefix([opening, closed]))
    if said_beside_text(reply) is None:
        rest, tail = _with_content(closed[kept:], content, end_strs)
        at, end = _first_end(tail, end_strs)
        rest += tail[:at] if end and tail[:at].strip() else ""
    else:
        rest, end = _cut_at_end(closed[kept:], end_strs)
    if opening.rstrip().endswith("<think>") and kept < len(opening) and "</think>" not in rest:
        thoughts = next((reply[key] for key in ("reasoning_content", "thinking", "reasoning") if reply.get(key)), "")
        rest = "\n</think>\n\n".join((thoughts, rest))
    return rest, end


def _with_content(written: str, content: str, end_strs: Sequence[str]) -> tuple[str, str]:
    """What stands before the content, with the content as it was; and what stands behind it."""
    if not content.strip():
        at = _first_end(written, end_strs)[0]
        return written[:at] + content * (not written[:at].endswith(content)), written[at:]
    for inner in (content, content.strip()):
        if (at := written.rfind(inner)) >= 0:
            return written[:at] + content, written[at + len(inner) :]
    return content, ""


def _first_end(text: str, end_strs: Sequence[str]) -> tuple[int, str]:
    found = [(at, -len(end), end) for end in end_strs if (at := text.find(end)) >= 0]
    at, _, end = min(found, default=(len(text), 0, ""))
    return at, end


def _cut_at_end(text: str, end_strs: Sequence[str]) -> tuple[str, str]:
    """A reply and the first of the end tokens that stand at the end of what is written."""
    end, inner = "", text.rstrip()
    while found := next((e for e in end_strs if inner.endswith(e)), None):
        text, end = inner.removesuffix(found), found
        inner = text.rstrip()
    return text, end
