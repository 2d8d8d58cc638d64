"""Figures from result tables: the only room that knows matplotlib."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from chatlab.buffering.trace import BufferTrace
    from chatlab.echo.trace import EchoTrace
    from chatlab.revisions.comparison import Comparison
    from chatlab.revisions.matrix import VersionMatrix

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


def _new(width: float = 7.0, height: float = 3.6) -> tuple[Drawing, Axes]:
    figure = Drawing(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_drift_by_turn(by_turn: pd.DataFrame) -> Drawing:
    """Draw echo drift against turn; the area of a dot is its number of prompts.

    Args:
        by_turn: columns ``turn``, ``echo_drift``, ``prompts``, as ``DriftTally.by_turn`` gives them.
    """
    figure, axes = _new()
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

    Args:
        by_first_piece: as ``DriftTally.by_first_piece`` gives it.
    """
    figure, axes = _new(height=4.2)
    later = by_first_piece[by_first_piece["turn"] == "2 or later"]
    names = list(dict.fromkeys(later["strategy"]))[::-1]
    kinds = (("space", BLUE, "", 0.2), ("no space", ORANGE, "///", -0.2))
    for kind, colour, hatch, shift in kinds:
        rows = later[later["first_piece"] == kind].set_index("strategy")
        shares = [100 * rows["wrong_share"].get(name, 0.0) for name in names]
        places = [n + shift for n in range(len(names))]
        label = f"first piece carries {kind if kind == 'no space' else 'a space'}"
        bars = axes.barh(places, shares, height=0.38, color=colour, hatch=hatch, edgecolor="white", label=label)
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlabel="wrong replies (%), turn 2 and later", xlim=(0, 112), title="What each way of cutting does to the reply"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, frameon=False)
    return figure


def plot_causes(causes: pd.DataFrame) -> Drawing:
    """Draw how many edits each cause has.

    Args:
        causes: columns ``cause`` and ``edits``, as ``DriftTally.causes`` gives them.
    """
    figure, axes = _new(height=1.2 + 0.4 * max(len(causes), 1))
    rows = causes[::-1]
    bars = axes.barh(rows["cause"], rows["edits"], color=GREEN)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set(xlabel="edits in the traced prompts", title="Why the echo differs")
    axes.margins(x=0.12)
    return figure


def plot_echo(trace: EchoTrace) -> Drawing:
    """Draw how the echo runs away from the prompt, edit by edit; each cause has its own colour and mark.

    Args:
        trace: from ``trace_echo``.
    """
    figure, axes = _new(8, 3.2)
    edits = trace.edits
    offsets = [0, *(edit.prompt_span[0] for edit in edits), len(trace.prompt)]
    drifts = list(itertools.accumulate((edit.drift for edit in edits), initial=0))
    axes.step(offsets, [*drifts, drifts[-1]], where="post", color=GREY, linewidth=1)
    styles = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "osD^", strict=True))
    for cause, (colour, mark) in zip(trace.cause_counts(), styles, strict=False):
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


def plot_buffer_trace(trace: BufferTrace) -> Drawing:
    """Draw what came in against what was decided; the gap between the two lines is what was held back.

    Args:
        trace: from ``TokFlow(…).trace(fragments)`` or ``SentenceStop(…).trace(fragments)``.

    Returns:
        A figure with one step a call. Held text stands where it was longest, characters beyond ASCII escaped,
        since a plot font may lack them.
    """
    figure, axes = _new(8, 3.2)
    calls = range(1, len(trace.steps) + 1)
    raw = [step.raw_len for step in trace.steps]
    released = [step.released_len for step in trace.steps]
    axes.step(calls, raw, where="mid", color=ORANGE, linestyle="--", label="came in")
    axes.step(calls, released, where="mid", color=BLUE, label="decided")
    axes.fill_between(calls, released, raw, step="mid", color=ORANGE, alpha=0.2, label="held back")
    following = [*(step.held for step in trace.steps[1:]), ""]
    for call, step, next_held in zip(calls, trace.steps, following, strict=True):
        if step.held and not next_held.startswith(step.held):
            label = ascii(step.held)[1:-1].replace("$", r"\$")
            axes.annotate(label, (call, step.raw_len), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        if step.stop_str is not None:
            axes.axvline(call, color="black", linestyle=":", label=f"stop {ascii(step.stop_str)}".replace("$", r"\$"))
    axes.set(xlabel="call", ylabel="characters of the raw text")
    axes.locator_params(integer=True)
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_version_matrix(matrix: VersionMatrix) -> Drawing:
    """Draw who agrees with whom: the share of probes with equal ids, each library version against each.

    Args:
        matrix: from ``compare_versions(source, versions)``. A version without an answer is an empty row that says so.
    """
    names = [f"{cell.version} ({cell.group})" for cell in matrix.cells]
    figure, axes = _new(2.6 + 0.8 * len(names), 1.6 + 0.6 * len(names))
    image = axes.imshow(matrix.agreement_frame().to_numpy(), vmin=0, vmax=1, cmap="cividis")
    for row, column in itertools.product(range(len(names)), repeat=2):
        share = matrix.agreement[row][column]
        told = "no answer" if share is None else f"{100 * share:.0f}"
        colour = "black" if share is None or share > 0.6 else "white"
        axes.text(column, row, told, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(ascii(f"{matrix.source}, {matrix.loader}")[1:-1].replace("$", r"\$"))
    figure.colorbar(image, ax=axes, label="equal ids (share of probes)")
    return figure


def plot_probe_changes(comparison: Comparison) -> Drawing:
    """Draw how many probes of each family changed: other ids, and other text from equal ids.

    Args:
        comparison: from ``compare_revisions(before, after)``.
    """
    families = comparison.families[::-1]
    figure, axes = _new(height=1.4 + 0.28 * max(len(families), 1))
    names = [f"{family.family} ({family.probe_len})" for family in families]
    ids = [100 * family.ids_changed / family.probe_len for family in families]
    texts = [100 * family.text_changed / family.probe_len for family in families]
    axes.barh(names, ids, color=ORANGE, hatch="///", edgecolor="white", label="other ids")
    axes.barh(names, texts, left=ids, color=BLUE, label="other text only")
    axes.set(xlabel="probes that changed (%)", xlim=(0, 105), title=f"{comparison.severity.label}: what changed where")
    axes.legend(loc="lower right", frameon=False)
    return figure
