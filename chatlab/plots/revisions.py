"""Figures of revisions: what changed where, how badly, since when, and under which versions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from chatlab.plots.drawing import BLUE, GREEN, GREY, ORANGE, Drawing, label, new_drawing

if TYPE_CHECKING:
    import pandas as pd


class _Cell(Protocol):
    """What is drawn of a ``Cell``."""

    @property
    def version(self) -> str: ...
    @property
    def group(self) -> str: ...


class _Matrix(Protocol):
    """What is drawn of a ``VersionMatrix``."""

    @property
    def source(self) -> str: ...
    @property
    def loader(self) -> str: ...
    @property
    def cells(self) -> Sequence[_Cell]: ...
    @property
    def agreement(self) -> Sequence[Sequence[float | None]]: ...
    def agreement_frame(self) -> pd.DataFrame: ...


class _Severity(Protocol):
    """What is drawn of a ``Severity``."""

    @property
    def label(self) -> str: ...


class _Family(Protocol):
    """What is drawn of a ``FamilyCount``."""

    @property
    def family(self) -> str: ...
    @property
    def probe_len(self) -> int: ...
    @property
    def ids_changed(self) -> int: ...
    @property
    def text_changed(self) -> int: ...


class _Comparison(Protocol):
    """What is drawn of a ``Comparison``."""

    @property
    def families(self) -> Sequence[_Family]: ...
    @property
    def severity(self) -> _Severity: ...


def plot_version_matrix(matrix: _Matrix) -> Drawing:
    """Draw who agrees with whom: the share of probes with equal ids, each library version against each.

    Args:
        matrix: a ``VersionMatrix``, from ``compare_versions(source, versions)``. A version without an answer is an empty row that says so.
    """
    names = [f"{cell.version} ({cell.group})" for cell in matrix.cells]
    figure, axes = new_drawing(2.6 + 0.8 * len(names), 1.6 + 0.6 * len(names))
    image = axes.imshow(matrix.agreement_frame().to_numpy(), vmin=0, vmax=1, cmap="cividis")
    for row, column in itertools.product(range(len(names)), repeat=2):
        share = matrix.agreement[row][column]
        told = "no answer" if share is None else f"{100 * share:.0f}"
        colour = "black" if share is None or share > 0.6 else "white"
        axes.text(column, row, told, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(label(f"{matrix.source}, {matrix.loader}", 60))
    figure.colorbar(image, ax=axes, label="equal ids (share of probes)")
    return figure


def plot_probe_changes(comparison: _Comparison) -> Drawing:
    """Draw how many probes of each family changed: other ids, and other text from equal ids.

    Args:
        comparison: a ``Comparison``, from ``compare_revisions(before, after)``.
    """
    families = comparison.families[::-1]
    figure, axes = new_drawing(height=1.4 + 0.28 * max(len(families), 1))
    names = [f"{family.family} ({family.probe_len})" for family in families]
    ids = [100 * family.ids_changed / family.probe_len for family in families]
    texts = [100 * family.text_changed / family.probe_len for family in families]
    axes.barh(names, ids, color=ORANGE, hatch="///", edgecolor="white", label="other ids")
    axes.barh(names, texts, left=ids, color=BLUE, label="other text only")
    axes.set(xlabel="probes that changed (%)", xlim=(0, 105), title=f"{comparison.severity.label}: what changed where")
    axes.legend(loc="lower right", frameon=False)
    return figure


def plot_severities(
    names: Sequence[str], severities: Sequence[int], scale: Sequence[str], title: str, xlabel: str = "severity"
) -> Drawing:
    """Draw one bar a name that reaches to its severity, the first on top.

    Args:
        names: what was judged.
        severities: places on the scale.
        scale: the words of the scale, the harmless first.
        title: what was judged, in words.
        xlabel: against what.
    """
    figure, axes = new_drawing(height=1.4 + 0.3 * max(len(names), 1))
    worst = max(severities, default=0)
    colours = [ORANGE if severity == worst and worst else BLUE for severity in severities]
    hatches = ["///" if severity == worst and worst else "" for severity in severities]
    axes.barh(range(len(names)), severities, color=colours, hatch=hatches, edgecolor="white")
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.invert_yaxis()
    axes.set_xticks(range(len(scale)), scale, fontsize=8)
    axes.set(xlim=(0, len(scale) - 0.5), xlabel=xlabel, title=label(title, 60))
    return figure


def plot_stretches(stretches: Sequence[tuple[bool, int, int]], sides: tuple[str, str], title: str) -> Drawing:
    """Draw two rows of tokens, one above the other: which stretches are equal, and which stand in place of others.

    Args:
        stretches: for each, left to right: whether it is equal, and its tokens on either side.
        sides: what the sides are called.
        title: whose tokens they are.
    """
    figure, axes = new_drawing(8, 2.4)
    for place, side in enumerate((0, 1)):
        starts = [0, *itertools.accumulate(stretch[1 + side] for stretch in stretches)]
        for same, colour, hatch, told in ((True, BLUE, "", "equal"), (False, ORANGE, "///", "differs")):
            runs = [
                (start, stretch[1 + side])
                for start, stretch in zip(starts, stretches, strict=False)
                if stretch[0] is same and stretch[1 + side]
            ]
            name = "" if side else told
            axes.broken_barh(runs, (place - 0.35, 0.7), facecolors=colour, hatch=hatch, edgecolor="white", label=name)
    longest = max((sum(stretch[side] for stretch in stretches) for side in (1, 2)), default=0)
    axes.set_yticks((0, 1), [label(side) for side in sides])
    axes.invert_yaxis()
    axes.set(xlim=(0, max(longest, 1)), xlabel="tokens", title=label(title, 60))
    axes.locator_params(axis="x", integer=True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def plot_echo_families(families: Sequence[tuple[str, int, int]], title: str) -> Drawing:
    """Draw how many probes of each family do not come back as they were written.

    Args:
        families: name, probes with an echo, and those of them whose echo differs.
        title: whose probes they are.
    """
    figure, axes = new_drawing(height=1.4 + 0.28 * max(len(families), 1))
    names = [label(f"{name} ({count})") for name, count, _ in families[::-1]]
    shares = [100 * differs / count if count else 0.0 for _, count, differs in families[::-1]]
    bars = axes.barh(names, shares, color=GREEN)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8, color=GREY)
    axes.set(xlabel="probes whose echo differs from their text (%)", xlim=(0, 112), title=label(title, 60))
    return figure
