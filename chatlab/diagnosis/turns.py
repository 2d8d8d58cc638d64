"""Does the next prompt begin with what the model saw and said."""

from __future__ import annotations

from collections import Counter

from chatlab.diagnosis.answer import Answer, Question, not_known
from chatlab.diagnosis.case import Case, no_format
from chatlab.render import one_line
from chatlab.severity import Severity
from chatlab.turns.edits import Cause, Edit
from chatlab.turns.measure import measure_turns
from chatlab.turns.trace import trace_turns

_TRACED = 8
"""Lost conversations that are explained."""


def turns_answer(case: Case) -> Answer:
    """Answer what share of the borders between two calls is kept, and why the others are lost."""
    if case.prompt_class is None:
        return not_known(Question.TURNS, no_format(case))
    rows = measure_turns(case.dialogues, case.prompt_class, case.reader, trace=False, on_bad=lambda _: None)
    if not len(rows):
        return not_known(Question.TURNS, "none of the dialogues has two turns")
    lost = rows[~rows["kept"]]
    if not len(lost):
        told = f"Yes: all {len(rows)} borders between two turns are kept, id by id, where replies are stored as they were said."
        return Answer(question=Question.TURNS, severity=Severity.NONE, told=told)
    edits = _edits(case, set(lost["dialogue"]))
    causes = Counter[Cause](edit.cause for edit in edits)
    (main, _), *_ = causes.most_common(1)
    smallest = min((e for e in edits if e.cause is main), key=lambda e: len(e.said_text) + len(e.next_text))
    return Answer(
        question=Question.TURNS,
        severity=Severity.MAJOR,
        told=(
            f"Not always: {len(lost)} of {len(rows)} borders lose ids: a server reads the history anew, and a trainer sees "
            "ids that were never said."
        ),
        example=f"{one_line(smallest.said_text[:80])} {list(smallest.said_ids[:8])} becomes "
        f"{one_line(smallest.next_text[:80])} {list(smallest.next_ids[:8])}",
        cause=", ".join(f"{cause} ({count} places)" for cause, count in causes.most_common(3)),
        cure=smallest.cure,
        fix=(f"# {smallest.cure}", f"chatlab turns {case.place}  # every border, its cause and its proof"),
    )


def _edits(case: Case, lost: set[str]) -> list[Edit]:
    dialogues = sorted((one for one in case.dialogues if one.id in lost), key=lambda one: len(one.messages))[:_TRACED]
    traces = (trace_turns(case.reader, dialogue, prompt_class=case.prompt_class) for dialogue in dialogues)
    return [edit for trace in traces for edit in trace.edits]
