"""Every known way to cut the prompt's echo off the decoded output, and what each does to the reply.

**Law L3.** The echo is cut by token count, never by characters: that is ``exact``. The others are the baselines
that programs use, kept here under their own names so that their cost can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from chatlab.prompts.base import AbstractChatPrompt, custom_skip_echo_len
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer

Effect = Literal["exact", "eats", "leaks", "alters"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)


class CutCase(NamedTuple):
    """One generation as a program sees it once the ids are decoded."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class CutStrategy:
    """One way to get the reply out of the decoded text."""

    name: str
    description: str
    cut: Callable[[CutCase], str]
    skip_echo_len: Callable[[CutCase], int] | None = None
    """Characters it plans to skip; ``None`` where it plans no length."""
    strips: bool = False
    """Whether it strips the reply afterwards, and so cannot be blamed for blank ends."""


def _strategy(
    name: str,
    description: str,
    cut: Callable[[CutCase], str] | None = None,
    skip: Callable[[CutCase], int] | None = None,
    strips: bool = False,
) -> CutStrategy:
    if cut is None:
        assert skip is not None

        def cut(case: CutCase) -> str:
            return case.text[skip(case) :]

    return CutStrategy(name=name, description=description, cut=cut, skip_echo_len=skip, strips=strips)


def _last_marker(case: CutCase) -> str:
    words = case.prompt_text.rsplit(maxsplit=1)
    return case.text.rpartition(words[-1])[2] if words else case.text


STRATEGIES: Mapping[str, CutStrategy] = {
    strategy.name: strategy
    for strategy in (
        _strategy("prompt_chars", "skip as many characters as the prompt has", skip=lambda c: len(c.prompt_text)),
        _strategy(
            "plain_prompt_chars",
            "skip as many characters as the prompt has without its control tokens",
            skip=lambda c: len(c.plain_text),
        ),
        _strategy(
            "prompt_class_rule",
            "skip what the prompt class's get_custom_skip_echo_len says, then strip (ChatStream's way)",
            cut=lambda c: c.text[c.custom_skip_len :].strip(),
            skip=lambda c: c.custom_skip_len,
            strips=True,
        ),
        _strategy(
            "decoded_prompt_len", "skip as many characters as the decoded prompt has", skip=lambda c: len(c.echo)
        ),
        _strategy(
            "remove_prefix",
            "remove the prompt if the text begins with it",
            cut=lambda c: c.text.removeprefix(c.prompt_text),
        ),
        _strategy(
            "last_marker",
            "take what follows the last occurrence of the prompt's last word, such as [/INST], then strip",
            cut=lambda c: _last_marker(c).strip(),
            strips=True,
        ),
        _strategy("output_ids_alone", "decode the output ids by themselves", cut=lambda c: c.output_text),
        _strategy(
            "exact",
            "decode the output ids through a detokenizer seeded with the prompt ids: cut by token count",
            cut=lambda c: c.exact_text,
            skip=lambda c: len(c.echo),
        ),
    )
}
"""Every strategy by name, wrong ones first; ``exact`` is the one to use."""


class Outcome(NamedTuple):
    """What a strategy did to one reply."""

    effect: Effect
    effect_len: int
    """Characters eaten from the front, leaked in front, or differing otherwise; 0 when exact."""
    first_wrong_offset: int
    """First offset at which the result is not the reply; -1 when exact."""


_EXACT = Outcome("exact", 0, -1)


def judge(result: str, reply: str) -> Outcome:
    """Compare what a strategy returned with the true reply.

    >>> judge("ello", "Hello"), judge(" ] Hello", "Hello")
    (Outcome(effect='eats', effect_len=1, first_wrong_offset=0), Outcome(effect='leaks', effect_len=3, first_wrong_offset=0))
    """
    if result == reply:
        return _EXACT
    if reply.endswith(result):
        return Outcome("eats", len(reply) - len(result), 0)
    if result.endswith(reply):
        return Outcome("leaks", len(result) - len(reply), 0)
    wrong = first_difference(result, reply)
    return Outcome("alters", max(len(result), len(reply)) - wrong, wrong)


def first_difference(a: str, b: str) -> int:
    """Return the first offset at which two texts differ, -1 if they do not."""
    if a == b:
        return -1
    # Halving with slices compares at the speed of memory, where a loop over characters would rule the run time.
    same, differs = 0, min(len(a), len(b)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            differs = middle
    return same


def make_case(
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    *,
    prompt_text: str,
    prompt: AbstractChatPrompt | None = None,
) -> CutCase:
    """Decode one generation in all the ways the strategies need."""
    plain_text = tokenizer.without_special_strs(prompt_text)
    skip_len = len(plain_text)
    return CutCase(
        prompt_text=prompt_text,
        plain_text=plain_text,
        custom_skip_len=custom_skip_echo_len(prompt, skip_len) if prompt is not None else skip_len,
        echo=tokenizer.decode(prompt_ids),
        text=tokenizer.decode([*prompt_ids, *output_ids]),
        output_text=tokenizer.decode(output_ids),
        exact_text=as_decoded(tokenizer, cut_exactly(tokenizer, prompt_ids, output_ids)),
    )


def cleans_up(tokenizer: Tokenizer) -> bool:
    """Tell whether ``decode`` rewrites its text afterwards (``clean_up_tokenization_spaces``), as no stream can."""
    return tokenizer.change("clean_up_off") is not None


def as_decoded(tokenizer: Tokenizer, text: str) -> str:
    """Return a streamed text as ``decode`` would show it: one ruler for every way of cutting."""
    if not cleans_up(tokenizer):
        return text
    clean_up = getattr(tokenizer, "clean_up", None) or tokenizer.wrapped.clean_up_tokenization
    return str(clean_up(text))


def cut_exactly(tokenizer: Tokenizer, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
    """Return the text of the output ids after the prompt ids: all of the reply and nothing else."""
    detokenizer = StreamingDetokenizer(tokenizer.decoder(), prompt_ids, tokenizer.special_ids)
    return detokenizer.put(output_ids) + detokenizer.flush()
