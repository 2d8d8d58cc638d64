"""Figures of echoes: how far they drift, what that does to replies, and why."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from matplotlib.ticker import MaxNLocator

from chatlab.errors import ViewError
from chatlab.plots.drawing import BLUE, GREEN, GREY, ORANGE, Drawing, label, new_drawing, plot_counts

if TYPE_CHECKING:
    import pandas as pd


class _Edit(Protocol):
    """What is drawn of an ``Edit``."""

    @property
    def prompt_span(self) -> tuple[int, int]: ...
    @property
    def drift(self) -> int: ...
    @property
    def cause(self) -> str: ...


class _Trace(Protocol):
    """What is drawn of an ``EchoTrace``."""

    @property
    def prompt(self) -> str: ...
    @property
    def edits(self) -> Sequence[_Edit]: ...


def plot_drift_by_turn(by_turn: pd.DataFrame) -> Drawing:
    """Draw echo drift against turn; the area of a dot is its number of prompts.

    Args:
        by_turn: columns ``turn``, ``echo_drift``, ``prompts``, as ``DriftTally.by_turn`` gives them.

    Raises:
        ViewError: it is another table.
    """
    _check(by_turn, ("turn", "echo_drift", "prompts"), "by_turn")
    figure, axes = new_drawing()
    largest = max(by_turn["prompts"].max(), 1) if len(by_turn) else 1
    sizes = 20 + 380 * by_turn["prompts"].astype(float) / largest
    axes.scatter(by_turn["turn"], by_turn["echo_drift"], s=sizes, color=BLUE, alpha=0.75)
    commonest = by_turn.sort_values("prompts").drop_duplicates("turn", keep="last")
    for turn, drift, prompts in commonest[["turn", "echo_drift", "prompts"]].itertuples(index=False, name=None):
        axes.annotate(f"{prompts:,}", (turn, drift), (0, 12), textcoords="offset points", ha="center")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="turn", ylabel="echo drift (characters)", title="How far the echo is from the prompt")
    if len(by_turn):
        axes.set_xticks(sorted(by_turn["turn"].unique()))
        axes.margins(x=0.08, y=0.2)
    return figure


def plot_wrong_replies(by_first_piece: pd.DataFrame) -> Drawing:
    """Draw the share of wrong replies from turn 2 on, by strategy and by the reply's first piece.

    Of a table that has the first turn only, that one is drawn.

    Args:
        by_first_piece: as ``DriftTally.by_first_piece`` gives it.

    Raises:
        ViewError: it is another table.
    """
    _check(by_first_piece, ("strategy", "first_piece", "turn", "wrong_share"), "by_first_piece")
    is_later = by_first_piece["turn"] == "2 or later"
    drawn = by_first_piece[is_later] if is_later.any() else by_first_piece
    turns = "turn 2 and later" if is_later.any() else "turn 1"
    names = list(dict.fromkeys(drawn["strategy"]))[::-1]
    figure, axes = new_drawing(height=1.8 + 0.3 * max(len(names), 1))
    kinds = (("space", BLUE, "", 0.2), ("no space", ORANGE, "///", -0.2))
    for kind, colour, hatch, shift in kinds:
        rows = drawn[drawn["first_piece"] == kind].set_index("strategy")
        shares = [100 * rows["wrong_share"].get(name, 0.0) for name in names]
        places = [n + shift for n in range(len(names))]
        told = f"first piece carries {kind if kind == 'no space' else 'a space'}"
        bars = axes.barh(places, shares, height=0.38, color=colour, hatch=hatch, edgecolor="white", label=told)
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set(xlabel=f"wrong replies (%), {turns}", xlim=(0, 112), title="What each way of cutting does to the reply")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, frameon=False)
    return figure


def plot_causes(causes: pd.DataFrame) -> Drawing:
    """Draw how many edits each cause has.

    Args:
        causes: columns ``cause`` and ``edits``, as ``DriftTally.causes`` gives them.

    Raises:
        ViewError: it is another table.
    """
    _check(causes, ("cause", "edits"), "causes")
    return plot_counts(
        causes["cause"].tolist(), causes["edits"].tolist(), "edits in the traced prompts", "Why the echo differs"
    )


def plot_echo(trace: _Trace) -> Drawing:
    """Draw how the echo runs away from the prompt, edit by edit; each cause has its own colour and mark.

    Args:
        trace: an ``EchoTrace``, from ``trace_echo``.
    """
    figure, axes = new_drawing(8, 3.2)
    edits = trace.edits
    offsets = [0, *(edit.prompt_span[0] for edit in edits), len(trace.prompt)]
    drifts = list(itertools.accumulate((edit.drift for edit in edits), initial=0))
    axes.step(offsets, [*drifts, drifts[-1]], where="post", color=GREY, linewidth=1)
    styles = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "osD^", strict=True))
    causes = [cause for cause, _ in Counter(edit.cause for edit in edits).most_common()]
    for cause, (colour, mark) in zip(causes, styles, strict=False):
        places = [
            (edit.prompt_span[0], drift) for edit, drift in zip(edits, drifts[1:], strict=True) if edit.cause is cause
        ]
        axes.plot(*zip(*places, strict=True), mark, color=colour, linestyle="none", label=f"{cause} ({len(places)})")
    axes.axhline(0, color=GREY, linewidth=0.6, linestyle=":")
    axes.set(xlabel="prompt (characters)", ylabel="drift (characters)", title="Where the echo leaves the prompt")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if edits:
        axes.legend(loc="upper left", frameon=False)
    return figure


def _check(table: object, columns: Sequence[str], method: str) -> None:
    """Refuse a table that is not the one to be drawn, above all the rows that it was added up from."""
    if lacking := [column for column in columns if column not in getattr(table, "columns", ())]:
        raise ViewError(
            f"this is drawn from what DriftTally(frame).{method}() gives; {type(table).__name__} has no column "
            f"{', '.join(lacking)}"
        )
