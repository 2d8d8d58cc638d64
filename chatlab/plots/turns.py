"""Figures of conversations: how many ids each turn keeps and loses, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from chatlab.errors import ViewError
from chatlab.plots.drawing import BLUE, ORANGE, Drawing, new_drawing, plot_counts

if TYPE_CHECKING:
    import pandas as pd


def plot_turns(turns: Sequence[int], kept: Sequence[int], lost: Sequence[int], *, unit: str = "ids") -> Drawing:
    """Draw, turn by turn, how much of what was seen and said the next prompt begins with.

    Args:
        turns: their numbers.
        kept: what is kept.
        lost: what is lost, stacked on it.
        unit: what is counted.
    """
    figure, axes = new_drawing(8, 3.2)
    axes.bar(turns, kept, color=BLUE, label="kept", edgecolor="white")
    axes.bar(turns, lost, bottom=kept, color=ORANGE, hatch="///", label="lost", edgecolor="white")
    axes.set(xlabel="turn", ylabel=unit, title="What the next prompt keeps of the conversation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if turns:
        axes.legend(loc="upper left", frameon=False)
    return figure


def plot_turn_causes(causes: pd.DataFrame) -> Drawing:
    """Draw how many borders each cause loses.

    Args:
        causes: columns ``cause`` and ``borders``, as ``TurnsTally.by_cause`` gives them.

    Raises:
        ViewError: it is another table.
    """
    if lacking := [name for name in ("cause", "borders") if name not in getattr(causes, "columns", ())]:
        raise ViewError(f"this is drawn from what TurnsTally(frame).by_cause() gives: no column {', '.join(lacking)}")
    return plot_counts(
        causes["cause"].tolist(), causes["borders"].tolist(), "borders lost", "Why the conversation is lost"
    )
