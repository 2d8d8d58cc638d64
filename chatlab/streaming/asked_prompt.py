"""What a user has (a prompt class, messages, text, ids), asked once for all that a request needs of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any, Self, TypeGuard, cast

from chatlab.engines.dialects.server_text import text_of_prompt
from chatlab.errors import EngineError, MessageTypeError, PromptError, TokenIdError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.tokenizers.interface import Tokenizer

Prompt = AbstractChatPrompt | Sequence[Mapping[str, Any]] | str | Sequence[int] | Conversation
"""A prompt class with its history, messages for a chat template, plain text, token ids as they are, or a conversation."""


@dataclass(frozen=True, kw_only=True)
class AskedPrompt:
    """A prompt on its one way to the ids: what it says of its reply is asked before, and its ids come last."""

    prompt: AbstractChatPrompt | str | Sequence[int]
    """As it was given; messages stand in the chat template of the tokenizer."""
    tokenizer: Tokenizer
    stops: tuple[str, ...]
    """Where the prompt class says that a reply ends."""
    replacements: tuple[tuple[str, str], ...]
    """What the prompt class replaces in a reply."""
    conversation: Conversation | None = None
    """What keeps its ids, where something does."""

    @classmethod
    def ask(cls, prompt: Prompt, tokenizer: Tokenizer) -> Self:
        """Ask a prompt what it says of its reply.

        Raises:
            EngineError: these are messages, and the tokenizer has no chat template.
            MessageTypeError: its stop strings are one string.
        """
        conversation = prompt if isinstance(prompt, Conversation) else None
        prompt = prompt.prompt if isinstance(prompt, Conversation) else prompt
        if _are_messages(prompt):
            prompt = _in_template(prompt, tokenizer)
        stops: object = None
        replacements = None
        if isinstance(prompt, AbstractChatPrompt):
            stops, replacements = prompt.get_all_stop_strs(), prompt.get_replacement_when_output()
        if isinstance(stops, str):  # it would be taken for a list of its characters
            raise MessageTypeError(f"{type(prompt).__name__}.get_stop_strs must return a list: write [{stops!r}]")
        return cls(
            prompt=cast(AbstractChatPrompt | str | Sequence[int], prompt),
            tokenizer=tokenizer,
            stops=tuple(cast(Sequence[str], stops or ())),
            replacements=tuple(replacements or ()),
            conversation=conversation,
        )

    @property
    def dialogue(self) -> AbstractChatPrompt | None:
        """The prompt where it holds a history, and so the reply; ``None`` for text and ids."""
        return self.prompt if isinstance(self.prompt, AbstractChatPrompt) else None

    def token_ids(self, **options: Any) -> list[int]:
        """The ids; ``options`` are those of :func:`ids_of_prompt`."""
        if self.conversation is not None:
            return self.conversation.next_ids(cast(AbstractChatPrompt, self.prompt), **options)
        return ids_of_prompt(self.prompt, self.tokenizer, **options)

    def text(self, *, allow_control_tokens: bool) -> str | None:
        """The text, for an engine that reads text; ``None`` for ids, which have none."""
        return text_of_prompt(self.prompt, self.tokenizer, allow_control_tokens=allow_control_tokens)

    def without_oldest_turns(self, count: int) -> Self | None:
        """The prompt without so many turns, or ``None`` when it has no more than those."""
        shorter = None if self.dialogue is None else self.dialogue.without_oldest_turn(count)
        return None if shorter is None else replace(self, prompt=shorter)

    def fitting(self, room: int, **options: Any) -> tuple[Self, list[int], int] | None:
        """The prompt with the fewest oldest turns left out whose ids fit, its ids, and how many turns that is.

        A prompt gets shorter with each turn left out, so the number is found by halving.
        """
        turns = 0 if self.dialogue is None else self.dialogue.get_turn()
        found: dict[int, tuple[Self, list[int], int]] = {}

        def fits(count: int) -> bool:
            shorter = self.without_oldest_turns(count)
            token_ids = shorter.token_ids(**options) if shorter else []
            if shorter and len(token_ids) <= room:
                found[count] = shorter, token_ids, count
            return count in found

        bisect_left(range(1, turns), True, key=fits)
        return found[min(found)] if found else None


def check_prompt_kind(prompt: object) -> None:
    """Refuse what is no prompt, above all bytes and mappings, which would pass for lists.

    Raises:
        PromptError: it is none.
    """
    if isinstance(prompt, AbstractChatPrompt | str | Conversation):
        return
    lists = hasattr(prompt, "__len__") and hasattr(prompt, "__getitem__")  # arrays and tensors, too
    if not lists or isinstance(prompt, type | Mapping | bytes | bytearray | memoryview):
        name = f"the class {prompt.__name__} itself" if isinstance(prompt, type) else type(prompt).__name__
        raise PromptError(
            "a prompt is a str, a list of messages, a list of token ids, or an object of a prompt class with its "
            f"history, not {name}"
        )


def ids_of_prompt(
    prompt: AbstractChatPrompt | str | Sequence[int],
    tokenizer: Tokenizer,
    *,
    add_special_tokens: bool | None = None,
    allow_control_tokens: bool = False,
    warn: bool = True,
) -> list[int]:
    """The ids of a prompt of any kind.

    A message of a prompt class never yields a control token (law L8) unless ``allow_control_tokens``. Plain text is
    taken as the caller wrote it: control tokens in it count, and text that begins with a special token of its own
    gets no second one from the tokenizer. ``add_special_tokens`` overrides that.

    Raises:
        TokenIdError: a list holds what is no integer.
    """
    if isinstance(prompt, AbstractChatPrompt):
        return encode_prompt(
            tokenizer,
            prompt,
            add_special_tokens=add_special_tokens,
            allow_control_tokens=allow_control_tokens,
            warn=warn,
        ).token_ids
    if isinstance(prompt, str):
        if add_special_tokens is None:
            add_special_tokens = not prompt.startswith(tuple(filter(None, tokenizer.special_strs)) or ("\0",))
        return tokenizer.encode(prompt, add_special_tokens=add_special_tokens)
    try:
        return [index(token_id) for token_id in prompt]  # NumPy's and torch's integers are integers, too
    except TypeError as error:
        raise TokenIdError(f"a prompt of ids holds something that is no integer: {error}") from error


def _are_messages(prompt: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return not isinstance(prompt, AbstractChatPrompt | str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)


def _in_template(messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> AbstractChatPrompt:
    """The messages behind the tokenizer's own chat template, so that they are streamed as a prompt class is."""
    if tokenizer.wrapped is None:
        raise EngineError(
            f"{tokenizer.name} carries no chat template: give a prompt class (chatlab.prompt_for helps), text or ids"
        )
    return prompt_of_messages(messages, lambda: ChatTemplatePrompt(tokenizer.wrapped))
