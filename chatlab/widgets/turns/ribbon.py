"""What one call saw and said, as a row of signs: which of its ids the next prompt keeps, and how the others were lost."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import groupby
from typing import NamedTuple

from chatlab import render
from chatlab.tokenizers.interface import Span
from chatlab.turns.turns_trace import TurnTrace

CELL_CAP = 72
"""Signs of the longest ribbon: they fit a pane of 500 pixels."""


class Fate(IntEnum):
    """What became of ids; of two in one cell, the worse one is drawn."""

    KEPT = 0
    BEHIND = 1
    SAME_TEXT = 2
    OTHER_TEXT = 3


SIGNS = {Fate.KEPT: "=", Fate.BEHIND: "-", Fate.SAME_TEXT: "≈", Fate.OTHER_TEXT: "×"}
"""Each fate has a sign of its own, so that a ribbon reads without colour."""
KINDS: dict[Fate, render.RibbonKind] = {
    Fate.KEPT: "kept",
    Fate.BEHIND: "lost",
    Fate.SAME_TEXT: "same",
    Fate.OTHER_TEXT: "other",
}
LEGEND = (
    "= kept · ≈ same text, other ids · × other text · - unchanged, but behind a difference: lost for a prefix. "
    "All ribbons have one scale; a sign shows the worst of the ids that it stands for."
)


class Run(NamedTuple):
    """Ids in a row that share a fate."""

    span: Span
    fate: Fate


def said_len(turn: TurnTrace) -> int:
    """Ids that were seen and said, without an end token that the template writes."""
    return turn.kept_len + turn.lost_len


def runs_of(turn: TurnTrace) -> Iterator[Run]:
    """Yield what became of the ids, in a row; an edit that only puts ids in has an empty span.

    **Law.** The spans lie in a row and cover what was seen and said; those that are kept are ``turn.kept_len`` long.
    """
    end, at = said_len(turn), turn.kept_len
    yield Run((0, at), Fate.KEPT)
    for edit in sorted(turn.edits, key=lambda edit: edit.said_span):
        start, stop = (max(at, min(place, end)) for place in edit.said_span)
        if at < start:
            yield Run((at, start), Fate.BEHIND)
        yield Run((start, stop), Fate.SAME_TEXT if edit.same_text else Fate.OTHER_TEXT)
        at = stop
    if at < end:
        yield Run((at, end), Fate.BEHIND)


def cell_count(token_len: int, longest: int) -> int:
    """Return how many signs a ribbon has beside the longest one."""
    return max(1, round(CELL_CAP * token_len / max(1, longest)))


def cells_of(turn: TurnTrace, longest: int) -> list[Fate]:
    """Return the fate of each cell: the worst of the ids it stands for, so that no difference is too small to see."""
    length = max(1, said_len(turn))
    count = cell_count(length, longest)
    cells = [Fate.KEPT] * count
    for (start, stop), fate in runs_of(turn):
        first = min(start * count // length, count - 1)
        last = max(first + 1, -(-stop * count // length))
        for at in range(first, min(last, count)):
            cells[at] = max(cells[at], fate)
    return cells


def ribbon_of(turn: TurnTrace, longest: int) -> list[render.RibbonRun]:
    """Return a ribbon to be drawn, a run of equal signs each."""
    runs = ((fate, len(list(cells))) for fate, cells in groupby(cells_of(turn, longest)))
    return [render.RibbonRun(KINDS[fate], SIGNS[fate] * count) for fate, count in runs]
