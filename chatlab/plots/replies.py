"""Figures of streamed texts: what was held back, how sure the model was, who said how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from chatlab.plots.drawing import BLUE, GREEN, GREY, ORANGE, Drawing, label, new_drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SURE = 3
"""Tokens named in a figure."""


class _Step(Protocol):
    """What is drawn of a ``BufferStep``."""

    @property
    def raw_len(self) -> int: ...
    @property
    def released_len(self) -> int: ...
    @property
    def held(self) -> str: ...
    @property
    def stop_str(self) -> str | None: ...


class _Steps(Protocol):
    """What is drawn of a ``BufferTrace``."""

    @property
    def steps(self) -> Sequence[_Step]: ...


def plot_buffer_trace(trace: _Steps) -> Drawing:
    """Draw what came in against what was decided; the gap between the two lines is what was held back.

    Args:
        trace: a ``BufferTrace``, from ``TokFlow(…).trace(fragments)`` or ``SentenceStop(…).trace(fragments)``.

    Returns:
        A figure with one step a call. Held text stands where it was longest, characters beyond ASCII escaped,
        since a plot font may lack them.
    """
    figure, axes = new_drawing(8, 3.2)
    raw = [step.raw_len for step in trace.steps]
    _draw_held(axes, raw, [step.released_len for step in trace.steps], [step.held for step in trace.steps])
    for call, step in enumerate(trace.steps, 1):
        if step.stop_str is not None:
            axes.axvline(call, color="black", linestyle=":", label=f"stop '{label(step.stop_str)}'")
    axes.set(xlabel="call", ylabel="characters of the raw text", title="What the buffer held back")
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_steps(raw_lens: Sequence[int], held: Sequence[str], role: str) -> Drawing:
    """Draw how a text came and went out, step by step.

    Args:
        raw_lens: characters of the raw text after each step.
        held: the raw text kept back after each step.
        role: who wrote it.
    """
    figure, axes = new_drawing(8, 3.2)
    raw_lens, held = [0, *raw_lens], ["", *held]
    released = [raw - len(kept) for raw, kept in zip(raw_lens, held, strict=True)]
    _draw_held(axes, raw_lens, released, held, first=0)
    axes.set(
        xlabel="step",
        ylabel="characters of the raw text",
        title=_title(f"How the text of {label(role)} came", raw_lens[1:]),
    )
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_logprobs(logprobs: Sequence[float | None], pieces: Sequence[str] = ()) -> Drawing:
    """Draw how sure the model was of each token; the least sure ones are named.

    Args:
        logprobs: natural logarithms, ``None`` where there is none.
        pieces: the tokens' vocabulary entries; left out, they are named by number.
    """
    figure, axes = new_drawing(8, 3.2)
    known = [(n, logprob) for n, logprob in enumerate(logprobs) if logprob is not None]
    axes.vlines([n for n, _ in known], 0, [logprob for _, logprob in known], color=GREY, linewidth=0.8)
    axes.plot(*zip(*known, strict=True), "o", color=BLUE, markersize=4) if known else None
    for n, logprob in sorted(known, key=lambda pair: pair[1])[:LEAST_SURE]:
        name = label(pieces[n], 20) if n < len(pieces) else str(n)
        axes.annotate(name, (n, logprob), (4, -4), textcoords="offset points", va="top", fontsize=8)
    axes.axhline(0, color=GREY, linewidth=0.6)
    title = _title("How sure the model was of each token; the least sure are named", known)
    axes.set(xlabel="token of the reply", ylabel="log probability (nats)", title=title)
    axes.locator_params(axis="x", integer=True)
    lowest = min((logprob for _, logprob in known), default=0.0)
    axes.set_ylim(1.2 * min(lowest, -0.5), None)
    return figure


def plot_reply_time(prompt_len: int, token_len: int, ttft_s: float | None, total_s: float) -> Drawing:
    """Draw what a reply was made of: tokens read and written, seconds waited and written.

    Args:
        prompt_len: tokens of the prompt.
        token_len: tokens of the reply.
        ttft_s: seconds to the first token, ``None`` when there was none.
        total_s: seconds to the last token.
    """
    figure = Drawing(figsize=(8, 2.6), layout="constrained")
    waited = total_s if ttft_s is None else ttft_s
    rows = (
        ("tokens", ("prompt", prompt_len), ("reply", token_len), "{:,.0f}"),
        ("seconds", ("to the first token", waited), ("to the last", total_s - waited), "{:.3g}"),
    )
    for axes, (unit, first, second, number) in zip(figure.subplots(2, 1), rows, strict=True):
        left = 0.0
        for (name, length), colour, hatch in zip((first, second), (ORANGE, BLUE), ("///", ""), strict=True):
            told = f"{name}: {number.format(length)}"
            axes.barh([0], [length], left=left, color=colour, hatch=hatch, edgecolor="white", label=told)
            left += length
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_yticks([])
        axes.set_xlabel(unit)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.suptitle("What the reply took")
    return figure


def plot_messages(roles: Sequence[str], text_lens: Sequence[int], token_lens: Sequence[int]) -> Drawing:
    """Draw the length of each message of a dialogue, the first on top; steps stand beside what was streamed.

    Args:
        roles: who said each message.
        text_lens: characters of each.
        token_lens: streamed tokens of each; 0 where nothing was streamed.
    """
    figure, axes = new_drawing(height=1.4 + 0.3 * max(len(roles), 1))
    styles = zip(dict.fromkeys(roles), ((BLUE, ""), (ORANGE, "///"), (GREEN, "..")) * len(roles), strict=False)
    for role, (colour, hatch) in styles:
        said = [n for n, other in enumerate(roles) if other == role]
        bars = axes.barh(
            said, [text_lens[n] for n in said], color=colour, hatch=hatch, edgecolor="white", label=label(role)
        )
        axes.bar_label(bars, [f"{token_lens[n]} tokens" if token_lens[n] else "" for n in said], padding=3, fontsize=8)
    axes.set_yticks(range(len(roles)), [str(n + 1) for n in range(len(roles))])
    axes.invert_yaxis()
    axes.set(xlabel="length (characters)", ylabel="message", title=_title("How much each message says", roles))
    axes.margins(x=0.15)
    if roles:
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_held(axes: Axes, raw: Sequence[int], released: Sequence[int], held: Sequence[str], first: int = 1) -> None:
    """Draw both lines and the gap between them, and name what was held where it was longest."""
    calls = range(first, len(raw) + first)
    axes.step(calls, raw, where="mid", color=ORANGE, linestyle="--", label="came in")
    axes.step(calls, released, where="mid", color=BLUE, label="decided")
    axes.fill_between(calls, released, raw, step="mid", color=ORANGE, alpha=0.2, label="held back")
    for call, length, kept, following in zip(calls, raw, held, [*held, ""][1:], strict=True):
        if kept and not following.startswith(kept):
            axes.annotate(label(kept), (call, length), (0, 4), textcoords="offset points", ha="center", fontsize=8)
    axes.locator_params(integer=True)


def _title(title: str, shown: Sequence[object]) -> str:
    return title if shown else "nothing was streamed"
