"""Every known way to cut the prompt's echo off the decoded output, and your own beside them.

**Law L3.** The echo is cut by token count, never by characters: that is ``exact``. The others are the baselines
that programs use, kept here under their own names so that their cost can be measured.

A way of one's own is a function of a :class:`CutCase` that returns the reply, or a :class:`CutStrategy`; it goes where
a name goes::

    def mine(case: CutCase) -> str:
        return case.text[len(case.prompt_text):].strip()

    measure_drift(dialogues, "llama2", tokenizer, strategies=["exact", mine])
    measure_drift(dialogues, "llama2", tokenizer, strategies=[CutStrategy(name="mine", cut=mine, strips=True)])

A function is judged to the character; ``strips=True`` leaves blank ends out of the judgement, as for the known ways that
strip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import getdoc

from chatlab.echo.cutting import fastchat
from chatlab.echo.cutting.case import CutCase as CutCase
from chatlab.echo.cutting.case import cut_exactly as cut_exactly
from chatlab.echo.cutting.case import make_case as make_case
from chatlab.echo.cutting.outcome import EFFECTS as EFFECTS
from chatlab.echo.cutting.outcome import Outcome as Outcome
from chatlab.echo.cutting.outcome import judge as judge
from chatlab.echo.cutting.strategy import CutStrategy as CutStrategy
from chatlab.errors import CutError

ChosenStrategies = str | CutStrategy | Callable[[CutCase], str] | Iterable[str | CutStrategy | Callable[[CutCase], str]]
"""What ``strategies=`` takes: names, functions of a ``CutCase`` and ``CutStrategy`` objects; one may stand alone."""

_length = partial(CutStrategy, way="length")
_stripped_length = partial(CutStrategy, way="length", strips=True)
_search = partial(CutStrategy, way="search")
_stripped_search = partial(CutStrategy, way="search", strips=True)
_ids = partial(CutStrategy, way="ids")


def _with_its_space(case: CutCase) -> str:
    lost = case.first_piece.startswith("\u2581") and not case.output_text.startswith(" ")
    return f" {case.output_text}" if lost else case.output_text


_KNOWN = (
    _length(
        name="prompt_chars",
        description="skip as many characters as the prompt has: output_text[len(prompt):]",
        skip_echo_len=lambda c: len(c.prompt_text),
    ),
    _length(
        name="plain_prompt_chars",
        description="skip as many characters as the prompt has without its control tokens",
        skip_echo_len=lambda c: len(c.plain_text),
    ),
    _stripped_length(
        name="prompt_class_rule",
        description="skip what the prompt class's get_custom_skip_echo_len says, then strip (ChatStream's way)",
        skip_echo_len=lambda c: c.custom_skip_len,
    ),
    _stripped_length(
        name="fastchat_one_more",
        description="skip one character more than the prompt has, then strip (FastChat, 8 April 2023)",
        skip_echo_len=lambda c: fastchat.one_more(c.prompt_text),
    ),
    _stripped_length(
        name="fastchat_vicuna",
        description="skip the prompt and one more, less 3 for each </s>, then strip (FastChat, 12 to 29 April 2023, for "
        "every model without a rule of its own)",
        skip_echo_len=lambda c: fastchat.vicuna(c.prompt_text),
    ),
    _stripped_length(
        name="fastchat_llama2",
        description="skip the prompt, less 3 for each <s> and each </s>, then strip (forks of FastChat, for Llama-2, "
        "CodeLlama and Baichuan)",
        skip_echo_len=lambda c: fastchat.llama2(c.prompt_text),
        applies=lambda c: c.prompt_text.startswith("<s>"),
    ),
    _stripped_length(
        name="fastchat_chatglm",
        description="skip the last question and one more, then strip (FastChat, for ChatGLM, whose text begins with the "
        "question)",
        skip_echo_len=lambda c: fastchat.chatglm(c.question),
        applies=lambda c: bool(c.question) and c.text.startswith(c.question),
    ),
    _stripped_length(
        name="fastchat_markers",
        description="skip the prompt, less the markers listed for its family, then strip (FastChat, for Dolly, "
        "OpenAssistant and StableLM; a fork, for Qwen)",
        skip_echo_len=lambda c: fastchat.without_markers(c.prompt_text, c.question),
        applies=lambda c: fastchat.family_of(c.prompt_text, c.question) is not None,
    ),
    _length(
        name="decoded_prompt_len",
        description="skip as many characters as the decoded prompt has (transformers' text-generation pipeline, before "
        "it decoded the output ids alone)",
        skip_echo_len=lambda c: len(c.echo),
    ),
    _search(
        name="remove_prefix",
        description="remove the prompt if the text begins with it",
        cut=lambda c: c.text.removeprefix(c.prompt_text),
    ),
    _stripped_search(
        name="replace_prompt",
        description='take the prompt out wherever it stands, then strip: text.replace(prompt, "").strip()',
        cut=lambda c: (c.text.replace(c.prompt_text, "") if c.prompt_text else c.text).strip(),
    ),
    _stripped_search(
        name="split_prompt",
        description="take what follows the last prompt in the text, then strip: text.split(prompt)[-1].strip()",
        cut=lambda c: (c.text.rpartition(c.prompt_text)[2] if c.prompt_text else c.text).strip(),
    ),
    _stripped_search(
        name="first_marker",
        description="take what stands between the first marker, such as ### Response:, and the next, then strip "
        "(Alpaca-LoRA's Prompter: made for one turn)",
        cut=lambda c: (c.text.split(c.marker)[1] if c.marker else c.text).strip(),
        applies=lambda c: bool(c.marker),
    ),
    _stripped_search(
        name="last_marker",
        description="take what follows the last marker, such as [/INST], then strip",
        cut=lambda c: (c.text.rpartition(c.marker)[2] if c.marker else c.text).strip(),
        applies=lambda c: bool(c.marker),
    ),
    _ids(
        name="output_ids_alone",
        description="decode the output ids by themselves (FastChat since 29 April 2023, transformers' text-generation "
        "pipeline)",
        cut=lambda c: c.output_text,
    ),
    _ids(
        name="output_ids_with_space",
        description="decode the output ids by themselves, and put a space before a first piece that begins with \u2581 "
        "(text-generation-webui's patch)",
        cut=_with_its_space,
    ),
    _ids(
        name="exact",
        description="decode the output ids through a detokenizer seeded with the prompt ids: cut by token count",
        cut=lambda c: c.exact_text,
        skip_echo_len=lambda c: len(c.echo),
    ),
)

STRATEGIES: Mapping[str, CutStrategy] = {strategy.name: strategy for strategy in _KNOWN}
"""Every known strategy by name; ``exact``, the last, is the one to use."""

_WAY_OUT = f"choose from {', '.join(STRATEGIES)}, or give a function of a CutCase that returns the reply"


def chosen_strategies(strategies: ChosenStrategies) -> list[CutStrategy]:
    """Return what was chosen, by name or as one's own; one may stand alone.

    Raises:
        CutError: there is none of that name, it is no strategy, or two have one name.

    >>> [strategy.name for strategy in chosen_strategies(["exact", lambda case: case.output_text])]
    ['exact', '<lambda>']
    """
    if isinstance(strategies, str | CutStrategy) or callable(strategies):
        strategies = [strategies]
    if isinstance(strategies, Mapping):
        strategies = list(strategies.values())
    if not isinstance(strategies, Iterable):
        raise CutError(f"strategies are a list, not {strategies!r:.80}: {_WAY_OUT}")
    chosen = [_chosen(strategy) for strategy in strategies]
    names = [strategy.name for strategy in chosen]
    if not chosen:
        raise CutError(f"no strategy was chosen: {_WAY_OUT}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CutError(f'two strategies are called {twice}: give one another name, CutStrategy(name="…", cut=…)')
    return chosen


def _chosen(strategy: object) -> CutStrategy:
    if isinstance(strategy, CutStrategy):
        return strategy
    if isinstance(strategy, str) and strategy in STRATEGIES:
        return STRATEGIES[strategy]
    if isinstance(strategy, str) or not callable(strategy):
        raise CutError(f"no cut strategy is called {strategy!r:.80}: {_WAY_OUT}")
    name = getattr(strategy, "__name__", type(strategy).__name__)
    return CutStrategy(name=name, description=(getdoc(strategy) or "").partition("\n")[0], cut=strategy)
