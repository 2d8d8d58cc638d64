"""Does the echo come back, and what does a program's way of cutting it do to the replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from chatlab.diagnosis.answer import Answer, Question, not_known
from chatlab.diagnosis.case import Case, no_format
from chatlab.echo.cut import STRATEGIES, CutCase, CutStrategy
from chatlab.echo.edits import Cause
from chatlab.echo.experiment import measure_drift
from chatlab.echo.trace import EchoTrace, trace_echo
from chatlab.errors import CutError
from chatlab.prompts.dialogue import prompts_of
from chatlab.render import one_line
from chatlab.severity import Severity

if TYPE_CHECKING:
    import pandas as pd

SkipEchoLen = int | str | CutStrategy | Callable[[str], int]
"""How a program cuts: so many characters, a known way by its name, or a function of the prompt's text."""
_USUAL = ("prompt_chars", "output_ids_alone")
"""The two commonest ways, where nobody says how they cut."""
_TRACED = 24
"""Prompts that are explained: a cause that shows in one dialogue of many shows here."""

EXACT_CUT = (
    "from chatlab import StreamingDetokenizer",
    "",
    "detokenizer = StreamingDetokenizer(tokenizer, prompt_ids)  # the ids that the model was given",
    "reply = detokenizer.put(output_ids[len(prompt_ids):]) + detokenizer.flush()  # cut by ids, never by characters",
)


def echo_answer(case: Case) -> Answer:
    """Answer whether the decoded prompt is the prompt without its control tokens."""
    if case.prompt_class is None:
        return not_known(Question.ECHO, no_format(case))
    traces = list(_traces(case))
    drifted = [trace for trace in traces if _causes(trace)]
    if not drifted:
        told = f"Yes: {len(traces)} prompts come back as they were, control tokens aside."
        return Answer(question=Question.ECHO, severity=Severity.NONE, told=told)
    causes = Counter(cause for trace in drifted for cause in _causes(trace))
    smallest = min(drifted, key=lambda trace: len(trace.prompt))
    low, high = min(trace.drift for trace in drifted), max(trace.drift for trace in drifted)
    by = f"{low:+d}" if low == high else f"{low:+d} to {high:+d}"
    edit = next(edit for edit in smallest.edits if edit.cause in _causes(smallest))
    return Answer(
        question=Question.ECHO,
        severity=Severity.MAJOR,
        told=f"No: {len(drifted)} of {len(traces)} prompts come back as another text, {by} characters against the plan.",
        example=f"{one_line(smallest.prompt[-80:])} comes back as {one_line(smallest.echo[-80:])}",
        cause=", ".join(f"{cause} ({count} prompts)" for cause, count in causes.most_common(3)),
        cure=edit.cure,
        fix=(case.load_line, *EXACT_CUT),
    )


def _traces(case: Case) -> Iterator[EchoTrace]:
    assert case.prompt_class is not None
    step = max(1, len(case.dialogues) // _TRACED)
    for dialogue in case.dialogues[::step]:
        prompts = [prompt for _, prompt in prompts_of(dialogue, case.prompt_class)]
        if prompts:
            yield trace_echo(case.reader, prompts[-1])


def _causes(trace: EchoTrace) -> list[Cause]:
    """Return why a prompt drifts, without the control tokens that every program leaves out."""
    return [cause for cause in trace.cause_counts() if cause is not Cause.SPECIAL_REMOVED]


def cut_answer(case: Case, skip_echo_len: SkipEchoLen | None) -> Answer:
    """Answer what a way of cutting, or the two commonest, do to the replies."""
    if case.prompt_class is None:
        return not_known(Question.CUT, no_format(case))
    ways = [strategy_of(skip_echo_len)] if skip_echo_len is not None else [STRATEGIES[name] for name in _USUAL]
    rows = measure_drift(case.dialogues, case.prompt_class, case.reader, strategies=ways, on_bad=lambda _: None)
    rows = rows[rows["effect"] != "not applicable"]
    if not len(rows):
        return not_known(Question.CUT, "none of the dialogues has a reply that it applies to")
    shares = rows.groupby("strategy", sort=False)["wrong"].mean()
    told = "; ".join(
        f"{name} is wrong on {share:.1%} of {_count(rows, name)} replies" for name, share in shares.items()
    )
    whose = "Your way" if skip_echo_len is not None else "The usual ways"
    if not shares.any():
        return Answer(question=Question.CUT, severity=Severity.NONE, told=f"{whose} cut every reply right: {told}.")
    wrong = rows[rows["wrong"]]
    worst = wrong[wrong["strategy"] == shares.idxmax()].iloc[0]
    return Answer(
        question=Question.CUT,
        severity=_severity(skip_echo_len, shares),
        told=f"{whose}: {told}.",
        example=f"{shares.idxmax()} on dialogue {worst['dialogue']}, turn {worst['turn']}: "
        f"{worst['effect']} {worst['effect_len']} characters",
        cause="the decoded prompt is not as long as the prompt, and a reply decoded alone loses what its neighbour owes it",
        cure="cut by the number of ids, through a detokenizer that knows the prompt's ids",
        fix=(case.load_line, *EXACT_CUT),
    )


def _severity(given: SkipEchoLen | None, shares: pd.Series[float]) -> Severity:
    """Return how bad it is: what a program really does is worse than what it may do."""
    if given is not None:
        return Severity.BREAKING
    return Severity.MAJOR if shares.get("output_ids_alone") else Severity.MINOR


def _count(rows: pd.DataFrame, strategy: Any) -> int:
    return int((rows["strategy"] == strategy).sum())


def strategy_of(given: SkipEchoLen) -> CutStrategy:
    """Return a program's way of cutting as one that can be measured.

    Raises:
        CutError: no known way has that name, or it is none of what ``SkipEchoLen`` lists.
    """
    if isinstance(given, CutStrategy):
        return given
    if isinstance(given, str):
        if given not in STRATEGIES:
            raise CutError(f"no way of cutting is called {given!r:.80}: there are {', '.join(STRATEGIES)}")
        return STRATEGIES[given]
    if callable(given):
        rule: Callable[[str], int] = given

        def planned(case: CutCase) -> int:
            return rule(case.prompt_text)

        return CutStrategy(name=getattr(given, "__name__", "yours"), skip_echo_len=planned, way="length")
    if isinstance(given, bool) or not isinstance(given, int):
        raise CutError(
            f"skip_echo_len is a number of characters, the name of a known way, or a function of the prompt's text, "
            f"not {type(given).__name__}"
        )
    return CutStrategy(name=f"skip {given} characters", skip_echo_len=lambda _: given, way="length")
