"""One generation, decoded in every way that a program may look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chatlab.errors import EncodeError
from chatlab.prompts.base import AbstractChatPrompt, custom_skip_echo_len
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer


class CutCase(NamedTuple):
    """One generation as a program sees it once the ids are decoded: what a cut is given."""

    prompt_text: str
    """What was encoded."""
    plain_text: str
    """The prompt without its control tokens: what a program expects to see again."""
    custom_skip_len: int
    """Its length after the prompt class's own ``get_custom_skip_echo_len``."""
    echo: str
    """The prompt ids, decoded."""
    text: str
    """Prompt ids and output ids, decoded together."""
    output_text: str
    """The output ids, decoded alone."""
    exact_text: str
    """The output ids through a detokenizer that knows the prompt ids, cleaned up where ``decode`` cleans up."""
    question: str = ""
    """The last question; empty where the prompt is a text."""
    marker: str = ""
    """The word before the reply, such as ``[/INST]`` or ``Bot:``; empty where the echo shows none, see `marker_of`."""
    first_piece: str = ""
    """The vocabulary entry of the first output id; empty without one."""


def make_case(
    tokenizer: Any,
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    *,
    prompt_text: str,
    prompt: AbstractChatPrompt | None = None,
) -> CutCase:
    """Decode one generation in all the ways the strategies need.

    Args:
        tokenizer: whatever :func:`chatlab.trace_echo` takes.
        prompt_ids: what the model was given.
        output_ids: what it answered.
        prompt_text: what the prompt ids were made of.
        prompt: the prompt class instance it came from, for its own rule and its last question.

    Raises:
        EncodeError: ``prompt_text`` is no text.
        PromptError: the class's ``get_custom_skip_echo_len`` gives no number.
        TokenIdError: an id is outside the vocabulary.
        TokenizerLoadError: ``tokenizer`` is none.
    """
    tokenizer = as_tokenizer(tokenizer)
    if not isinstance(prompt_text, str):
        raise EncodeError(f"prompt_text is the text that was encoded, not {type(prompt_text).__name__}")
    plain_text, question = tokenizer.without_special_strs(prompt_text), question_of(prompt) if prompt else ""
    echo = tokenizer.decode(prompt_ids)
    return CutCase(
        prompt_text=prompt_text,
        plain_text=plain_text,
        custom_skip_len=custom_skip_echo_len(prompt, len(plain_text)) if prompt is not None else len(plain_text),
        echo=echo,
        text=tokenizer.decode([*prompt_ids, *output_ids]),
        output_text=tokenizer.decode(output_ids),
        exact_text=as_decoded(tokenizer, cut_exactly(tokenizer, prompt_ids, output_ids)),
        question=question,
        marker=marker_of(tokenizer.special_pattern.split(prompt_text)[-1], question, echo),
        first_piece=tokenizer.piece(output_ids[0]) if len(output_ids) else "",
    )


def cut_exactly(tokenizer: Tokenizer, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
    """Return the text of the output ids after the prompt ids: all of the reply and nothing else."""
    detokenizer = StreamingDetokenizer(tokenizer.decoder(), prompt_ids, tokenizer.special_ids)
    return detokenizer.put(output_ids) + detokenizer.flush()


def cleans_up(tokenizer: Tokenizer) -> bool:
    """Tell whether ``decode`` rewrites its text afterwards (``clean_up_tokenization_spaces``), as no stream can."""
    return tokenizer.change("clean_up_off") is not None


def as_decoded(tokenizer: Tokenizer, text: str) -> str:
    """Return a streamed text as ``decode`` would show it: one ruler for every way of cutting."""
    if not cleans_up(tokenizer):
        return text
    clean_up = getattr(tokenizer, "clean_up", None) or tokenizer.wrapped.clean_up_tokenization
    return str(clean_up(text))


def marker_of(tail: str, question: str, echo: str) -> str:
    """Return the word before the reply that a program would search for in the decoded text, or ``""``.

    It is the last word after the prompt's last control token, which nobody sees, and no part of a message.

    Args:
        tail: the prompt after its last control token.
        question: the last message before the reply.
        echo: the decoded prompt: the word must stand in it.

    >>> marker_of("Hi [/INST] ", "Hi", " Hi [/INST] "), marker_of("Bot:", "Hi", "Hi Bot:"), marker_of("Hi", "Hi", "Hi")
    ('[/INST]', 'Bot:', '')
    """
    words = tail.rsplit(maxsplit=1)
    if not words or (question.strip() and tail.strip().endswith(question.strip())):
        return ""
    return words[-1] if words[-1] in echo else ""


def question_of(prompt: AbstractChatPrompt) -> str:
    """Return the last question that a prompt asks."""
    return prompt.get_requester_last_msg() or ""
