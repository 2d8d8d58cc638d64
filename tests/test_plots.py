"""Figures: they draw what the result says."""

from __future__ import annotations

from chatlab.buffering.sentence_stop import SentenceStop
from chatlab.plots import plot_buffer_trace


def test_a_buffer_trace_shows_both_lines_what_is_held_and_the_stop() -> None:
    trace = SentenceStop(["<NL>"]).trace(["はい", "$<", "N", "L>x"])
    figure = plot_buffer_trace(trace)
    (axes,) = figure.axes
    came_in, decided = axes.lines[:2]
    assert list(came_in.get_ydata()) == [2, 4, 5, 8]
    assert list(decided.get_ydata()) == [2, 3, 3, 3]
    assert [text.get_text() for text in axes.texts] == ["<N"]
    assert "stop '<NL>'" in [text.get_text() for text in axes.get_legend().get_texts()]
    figure.canvas.draw()


def test_an_empty_buffer_trace_is_an_empty_figure() -> None:
    figure = plot_buffer_trace(SentenceStop(["."]).trace([]))
    figure.canvas.draw()
