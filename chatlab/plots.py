"""Figures from results and DataFrames; the one owner of matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chatlab.buffering.trace import BufferTrace


def plot_buffer_trace(trace: BufferTrace) -> Figure:
    """Draw what came in against what was decided; the gap between the two lines is what was held back.

    Args:
        trace: from ``TokFlow(…).trace(fragments)`` or ``SentenceStop(…).trace(fragments)``.

    Returns:
        A figure with one step a call. Held text stands at its step, characters beyond ASCII escaped, since
        a plot font may lack them.
    """
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    plt.close(figure)  # shown once, as a cell's value
    calls = range(1, len(trace.steps) + 1)
    raw = [step.raw_len for step in trace.steps]
    released = [step.released_len for step in trace.steps]
    axes.step(calls, raw, where="mid", color="#D55E00", linestyle="--", label="came in")
    axes.step(calls, released, where="mid", color="#0072B2", label="decided")
    axes.fill_between(calls, released, raw, step="mid", color="#D55E00", alpha=0.2, label="held back")
    for call, step in zip(calls, trace.steps, strict=True):
        if step.held:
            label = ascii(step.held)[1:-1].replace("$", r"\$")
            axes.annotate(label, (call, step.raw_len), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        if step.stop_str is not None:
            axes.axvline(call, color="black", linestyle=":", label=f"stop {ascii(step.stop_str)}".replace("$", r"\$"))
    axes.set(xlabel="call", ylabel="characters of the raw text")
    axes.legend(loc="upper left", frameon=False)
    return figure
