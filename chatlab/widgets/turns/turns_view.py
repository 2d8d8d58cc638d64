"""A followed conversation: one ribbon of ids a turn, and behind it both sides of each difference and the proof."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from chatlab import render
from chatlab.results import Result
from chatlab.turns.edits import Edit
from chatlab.turns.turns_trace import TurnsTrace, TurnTrace
from chatlab.widgets.arguments import check
from chatlab.widgets.turns.ribbon import LEGEND, SIGNS, Fate, ribbon_of, said_len

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

CHIP_CAP, TEXT_CAP = 24, 160
"""Tokens and characters shown of one side of a difference."""
EDIT_CAP = 8
"""Differences shown of one turn."""
TURN_CAP = 600
"""Ribbons drawn."""
PANEL_CAP = 600_000
"""Bytes of all differences: with the ribbons, a saved file stays below a megabyte."""

STYLE = """
.chatlab:has(summary > code) { container-type: inline-size; }
.chatlab.chatlab summary > code { display: block; width: max-content; max-width: 100%; overflow: hidden; margin: .15em 0 .4em; padding: 0;
 border: 0; background: #8883; color: inherit; font: clamp(7px, 2.1cqw, 15px)/max(1.5em, 14px) monospace; white-space: pre; }
.chatlab summary:has(> code) { cursor: pointer; } .chatlab summary:focus-visible { outline: 2px solid; outline-offset: 2px; }
.chatlab details[open]:has(> summary > code) { border-left: 3px solid #8888; padding-left: .6em; margin-bottom: 1em; }
.chatlab.chatlab summary > code mark { background: #e69f0099; color: inherit; }
.chatlab.chatlab summary > code del { background: #cc331133; color: inherit; text-decoration: none; }
.chatlab.chatlab summary > code del strong { background: #cc331188; }
"""
"""Grey, amber and red for those who see colour; the signs tell the same. The class stands twice to come before JupyterLab."""


class TurnsView(Result):
    """A traced conversation to look at: a ribbon for each border, opened by click or key.

    It is one form, live and saved: plain elements without a script, so a saved notebook keeps all of it.

    >>> from chatlab import trace_turns
    >>> from chatlab.testing import CodePointTokenizer
    >>> turns = [{"user": "Hi", "assistant": " Yes. "}, {"user": "Sure?"}]
    >>> trace = trace_turns(CodePointTokenizer(), {"turns": turns}, prompt_class="chatml", stored="stripped")
    >>> TurnsView(trace).ribbons()[0][-12:]
    '====××----××'

    Args:
        trace: from ``trace_turns`` or ``trace_trajectory``.

    Raises:
        ViewError: ``trace`` is none.
    """

    title = "A conversation from call to call"
    style = STYLE

    def __init__(self, trace: TurnsTrace) -> None:
        check("trace", trace, TurnsTrace, "a TurnsTrace, as in TurnsView(trace_turns(tokenizer, dialogue))")
        self.trace = trace
        self._longest = max(map(said_len, trace.turns), default=0)

    def ribbons(self) -> list[str]:
        """Return each border's ribbon as plain signs."""
        return ["".join(run.signs for run in ribbon_of(turn, self._longest)) for turn in self.trace.turns]

    def to_frame(self) -> pd.DataFrame:
        """Return one row an edit."""
        return self.trace.to_frame()

    def figure(self) -> Drawing:
        """Draw kept and lost ids, turn by turn."""
        return self.trace.figure()

    def __str__(self) -> str:
        lines = [str(self.trace)]
        for turn, ribbon in zip(self.trace.turns, self.ribbons(), strict=True):
            lines += [_line(turn), f"  {ribbon}"]
        return "\n".join([*lines, LEGEND] if self.trace.turns else lines)

    def body(self) -> str:
        """Return the sentences and the ribbons, each with its differences, as escaped HTML."""
        told = render.list_html(str(self.trace).splitlines())
        if not self.trace.turns:
            return told
        return told + render.paragraph_html(LEGEND) + "".join(self._rows_html())

    def _rows_html(self) -> Iterator[str]:
        left, turns = PANEL_CAP, self.trace.turns
        for turn in turns[:TURN_CAP]:
            panel_html = _turn_html(turn) if left > 0 else render.paragraph_html("Too much to draw: to_frame() has it.")
            left -= len(panel_html.encode())
            yield render.ribbon_html(_line(turn), ribbon_of(turn, self._longest), panel_html)
        if len(turns) > TURN_CAP:
            yield render.paragraph_html(
                f"Only the first {TURN_CAP} of {len(turns):,} borders are drawn; to_frame() has all."
            )


def _line(turn: TurnTrace) -> str:
    """What one border is, in words."""
    total = said_len(turn)
    if turn.is_kept:
        why = "" if not turn.edits else f": {_causes(turn)}"
        return f"Turn {turn.number}: {_ids(total)} seen and said, all kept{why}."
    return f"Turn {turn.number}: {_ids(total)} seen and said, {turn.lost_len:,} lost: {_causes(turn)}."


def _causes(turn: TurnTrace) -> str:
    counts: dict[str, int] = {}
    for edit in turn.edits:
        name = f"{_sign(edit)} {_cause(edit)}"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{name} ({n} times)" if n > 1 else name for name, n in counts.items())


def _turn_html(turn: TurnTrace) -> str:
    said = f"The model read {_ids(turn.prompt_len)} and said {_ids(len(turn.reply_ids))}: {render.one_line(_cut(turn.reply))}"
    cost = (
        f"A server finds {turn.cached_len:,} ids of the next prompt in its cache and reads {turn.reread_len:,}; "
        f"{len(turn.bridge_ids):,} of them are new."
    )
    edits_html = "".join(_edit_html(number, edit) for number, edit in enumerate(islice(turn.edits, EDIT_CAP), 1))
    more = len(turn.edits) - EDIT_CAP
    rest_html = render.paragraph_html(f"{more:,} more differences: to_frame() has them all.") if more > 0 else ""
    return render.list_html([said, cost]) + edits_html + rest_html


def _edit_html(number: int, edit: Edit) -> str:
    told = (
        f"{number}. {_sign(edit)} {_cause(edit)}",
        f"({edit.layer or 'nobody knows which layer'}), at id {edit.said_span[0]:,}, character {edit.said_offset:,}",
    )
    sides: list[tuple[object, ...]] = [
        ("text", [render.Part("del", _cut(edit.said_text))], [render.Part("ins", _cut(edit.next_text))]),
        ("ids", _chips(edit.said_ids, edit.said_pieces, "del"), _chips(edit.next_ids, edit.next_pieces, "ins")),
    ]
    table = render.table_html(("what", "seen and said", "next prompt"), sides)
    return render.verdict_html(*told) + table + _proof_html(edit) + render.list_html(_advice(edit))


def _proof_html(edit: Edit) -> str:
    if edit.evidence is None:
        return render.paragraph_html("Proof: no experiment undoes it.")
    proof = edit.evidence
    rows = [
        ("what was changed", proof.changed),
        ("the next prompt there, as it was", render.visible(_cut(proof.next_before))),
        ("and after the change", render.visible(_cut(proof.next_after))),
    ]
    return render.table_html(("proof", "one experiment"), rows)


def _advice(edit: Edit) -> Iterator[str]:
    yield f"It hurts: {', '.join(edit.hurts) or 'nobody'}."
    yield f"What to do: {edit.cure}."
    if edit.design:
        yield f"It is meant: {edit.design}."


def _chips(ids: tuple[int, ...], pieces: tuple[str, ...], kind: render.Kind) -> object:
    shown = zip(ids[:CHIP_CAP], pieces[:CHIP_CAP], strict=False)
    chips = render.Chips(tuple(render.Chip(piece, token_id, kind) for token_id, piece in shown))
    return chips if ids else "none"


def _cause(edit: Edit) -> str:
    return " and ".join((edit.cause, *edit.also))


def _sign(edit: Edit) -> str:
    return SIGNS[Fate.SAME_TEXT if edit.same_text else Fate.OTHER_TEXT]


def _ids(count: int) -> str:
    return f"{count:,} id" if count == 1 else f"{count:,} ids"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CAP else f"{text[: TEXT_CAP // 2]} … {text[-TEXT_CAP // 2 :]}"
