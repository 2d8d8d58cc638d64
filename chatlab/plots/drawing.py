"""What every figure is made of: a drawing that shows itself, colours, labels, bars."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
"""Okabe and Ito's colours, which colour-blind readers tell apart; hatching says the same without colour."""


class Drawing(Figure):
    """A figure that shows itself in a notebook without pyplot, and as the same bytes each time."""

    def png(self) -> bytes:
        """Return the figure as PNG."""
        buffer = io.BytesIO()
        # Without the version that matplotlib writes, equal figures are equal files.
        self.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def new_drawing(width: float = 7.0, height: float = 3.6) -> tuple[Drawing, Axes]:
    """Return an empty drawing of so many inches, and its axes."""
    figure = Drawing(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label(text: object, limit: int = 40) -> str:
    r"""Return a text as the plot font and matplotlib can show it: ASCII, short, and no formula.

    >>> label("日本 $x$")
    '\\u65e5\\u672c \\$x\\$'
    """
    whole = ascii(str(text))[1:-1]
    return (whole if len(whole) <= limit else f"{whole[: limit - 3]}...").replace("$", r"\$")


def plot_counts(names: Sequence[object], counts: Sequence[float], xlabel: str, title: str) -> Drawing:
    """Draw one bar a name, the first on top, with its number."""
    figure, axes = new_drawing(height=1.2 + 0.4 * max(len(names), 1))
    places = range(len(names))
    bars = axes.barh(places, counts[::-1], color=GREEN)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_yticks(places, [label(name) for name in names[::-1]])
    axes.set(xlabel=xlabel, title=label(title, 60))
    axes.margins(x=0.12)
    return figure
