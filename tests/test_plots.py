"""Figures: they draw what the result says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pandas as pd
import pytest

from chatlab.buffering.sentence_stop import SentenceStop
from chatlab.echo.summary import DriftTally
from chatlab.errors import ViewError
from chatlab.plots import Drawing, plot_buffer_trace, plot_causes, plot_drift_by_turn, plot_wrong_replies
from tests.conftest import ROOT


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


BY_TURN = pd.DataFrame({"turn": [1, 2, 2, 3], "echo_drift": [0, 1, -1, 2], "prompts": [1500, 700, 3, 50]})
BY_FIRST_PIECE = pd.DataFrame(
    [
        ("exact", "space", "2 or later", 10, 0, 0.0),
        ("exact", "no space", "2 or later", 8, 0, 0.0),
        ("plain_prompt_chars", "space", "2 or later", 10, 9, 0.9),
        ("plain_prompt_chars", "space", "1", 10, 10, 1.0),
        ("prompt_class_rule", "no space", "2 or later", 8, 8, 1.0),
    ],
    columns=["strategy", "first_piece", "turn", "replies", "wrong", "wrong_share"],
)
CAUSES = pd.DataFrame({"cause": ["special token removed", "normalizer $x$"], "edits": [12_345, 1], "cure": ["", ""]})
DRAWN = [(plot_drift_by_turn, BY_TURN), (plot_wrong_replies, BY_FIRST_PIECE), (plot_causes, CAUSES)]


def test_drift_by_turn_has_a_dot_a_row_and_a_count_a_turn() -> None:
    (axes,) = plot_drift_by_turn(BY_TURN).axes
    (dots,) = axes.collections
    assert dots.get_offsets().tolist() == [[1, 0], [2, 1], [2, -1], [3, 2]]
    sizes = dots.get_sizes()
    assert list(sizes.argsort()) == [2, 3, 1, 0], "the more prompts, the larger the dot"
    assert sorted(text.get_text() for text in axes.texts) == ["1,500", "50", "700"], "that of the commonest drift"
    assert list(axes.get_xticks()) == [1, 2, 3]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("turn", "echo drift (characters)")


def test_wrong_replies_show_later_turns_only_and_both_kinds_of_first_piece() -> None:
    (axes,) = plot_wrong_replies(BY_FIRST_PIECE).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "prompt_class_rule",
        "plain_prompt_chars",
        "exact",
    ]
    spaced, bare = ([bar.get_width() for bar in container] for container in axes.containers)
    assert spaced == [0, 90, 0]
    assert bare == [100, 0, 0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["first piece carries a space", "first piece carries no space"]
    assert axes.get_xlabel() == "wrong replies (%), turn 2 and later"


def test_wrong_replies_of_first_turns_alone_are_drawn() -> None:
    (axes,) = plot_wrong_replies(BY_FIRST_PIECE[BY_FIRST_PIECE["turn"] == "1"]).axes
    assert any(bar.get_width() for container in axes.containers for bar in container)
    assert axes.get_xlabel() == "wrong replies (%), turn 1"


def test_two_kinds_of_bar_are_told_apart_without_colour() -> None:
    (axes,) = plot_wrong_replies(BY_FIRST_PIECE).axes
    assert {container[0].get_hatch() for container in axes.containers} == {"", "///"}


def test_the_commonest_cause_stands_on_top() -> None:
    (axes,) = plot_causes(CAUSES).axes
    (bars,) = axes.containers
    assert [bar.get_width() for bar in bars] == [1, 12_345]
    assert [text.get_text() for text in axes.texts] == ["1", "12,345"]
    assert axes.get_xlabel() == "edits in the traced prompts"


@pytest.mark.parametrize(("plot", "frame"), DRAWN)
def test_a_figure_of_no_rows_is_drawn(plot: Callable[[pd.DataFrame], Drawing], frame: pd.DataFrame) -> None:
    figure = plot(frame.iloc[:0])
    figure.canvas.draw()
    assert figure.axes[0].get_title()
    empty = {plot_drift_by_turn: "by_turn", plot_wrong_replies: "by_first_piece", plot_causes: "causes"}[plot]
    plot(getattr(DriftTally(), empty)()).canvas.draw()


@pytest.mark.parametrize(("plot", "frame"), DRAWN)
def test_a_figure_leaves_its_table_alone_and_is_the_same_bytes_each_time(
    plot: Callable[[pd.DataFrame], Drawing], frame: pd.DataFrame
) -> None:
    before = frame.copy(deep=True)
    first, second = (plot(frame).png() for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
    pd.testing.assert_frame_equal(frame, before)


def test_no_figure_is_left_behind_in_pyplot() -> None:
    """In a process of its own: pyplot is never even loaded, so no state of it can leak and no window open."""
    code = (
        "import sys, pandas as pd\n"
        "from chatlab.plots import plot_causes\n"
        "before = dict(__import__('matplotlib').rcParams)\n"
        "plot_causes(pd.DataFrame({'cause': ['a'], 'edits': [1]})).png()\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot is loaded'\n"
        "assert dict(__import__('matplotlib').rcParams) == before, 'rcParams are changed'\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("plot", "method"),
    [(plot_drift_by_turn, "by_turn"), (plot_wrong_replies, "by_first_piece"), (plot_causes, "causes")],
)
def test_another_table_is_refused_with_the_way_to_the_right_one(plot, method: str) -> None:
    with pytest.raises(ViewError, match=rf"DriftTally\(frame\).{method}\(\) gives; DataFrame has no column"):
        plot(pd.DataFrame({"dialogue": ["d"], "turn": [1]}))
    with pytest.raises(ViewError, match="str has no column"):
        plot("drift.csv")
