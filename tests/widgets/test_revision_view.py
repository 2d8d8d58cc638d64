"""The revision view and the pickers: verdict first, chips of a probe, figures that follow the controls."""

from __future__ import annotations

import pandas as pd
import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.errors import RevisionCompareError
from chatlab.prompts.dialogue import read_dialogues
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.comparison import Comparison
from chatlab.widgets.drift_explorer import DriftExplorer
from chatlab.widgets.picker import Picker
from chatlab.widgets.revision_view import RevisionView


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))


def test_the_verdict_comes_first_then_the_tables_then_the_chips(comparison: Comparison) -> None:
    html = RevisionView(comparison).html()
    places = [html.index(words) for words in ("BREAKING", "What to do", "Findings", "Tokens; equal stretches")]
    assert places == sorted(places)


def test_the_chips_show_every_id_of_both_sides(comparison: Comparison) -> None:
    view = RevisionView(comparison, "chat/answered-1")
    assert view.explanation is not None
    html = view.html()
    for row in view.explanation.rows:
        for token_id in (*row.before_ids, *row.after_ids):
            assert f"<sub>{token_id}</sub>" in html
    assert "<del><code>" in html
    assert "<ins><code>" in html


def test_a_picker_follows_the_choice_and_keeps_a_still_form(comparison: Comparison) -> None:
    picker = RevisionView(comparison).explore()
    assert isinstance(picker, Picker)
    second = RevisionView(comparison).probe_labels[1]
    picker.choice.value = second
    assert f"Probe {second}" in picker._page.value
    bundle = picker._repr_mimebundle_()
    assert f"Probe {second}" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_comparison_from_a_file_shows_its_report_and_says_why_there_are_no_chips(comparison: Comparison) -> None:
    read = Comparison.from_dict(comparison.to_dict())
    view = RevisionView(read)
    assert "BREAKING" in view.html()
    assert "Tokens; equal" not in view.html()
    with pytest.raises(RevisionCompareError, match="no probe to pick"):
        view.explore()
    with pytest.raises(RevisionCompareError, match="compare again"):
        RevisionView(read, "chat/answered-1")


def test_equal_revisions_have_no_probe_to_draw() -> None:
    same = compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/before"))
    view = RevisionView(same)
    assert view.explanation is None
    view.figure().canvas.draw()
    assert len(view.to_frame()) == 0


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    dialogues = list(read_dialogues(dialogues_path()))[:40]
    names = ("llama2-style/legacy", "llama2-style/non-legacy")
    return {
        name: measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, load_tokenizer(tokenizer_path(name)))
        for name in names
    }


def test_the_explorer_follows_every_control(frames: dict[str, pd.DataFrame]) -> None:
    explorer = DriftExplorer(frames)
    legacy = frames["llama2-style/legacy"]
    assert len(explorer.chosen()) == len(legacy)
    before = explorer._pictures[0].value
    explorer.tokenizer.value = "llama2-style/non-legacy"
    assert explorer._pictures[0].value != before
    explorer.tokenizer.value = "llama2-style/legacy"
    explorer.strategy.value = "exact"
    assert explorer.summary().startswith("0 of ")
    explorer.strategy.value = "all"
    explorer.turn.value = "1"
    assert set(explorer.chosen()["turn"]) == {1}
    explorer.first_piece.value = "no space"
    assert not explorer.chosen()["first_piece_space"].any()
    expected = legacy[(legacy["turn"] == 1) & ~legacy["first_piece_space"]]
    assert len(explorer.chosen()) == len(expected)
    assert explorer._line.value == explorer.summary()


def test_the_explorer_stands_in_a_saved_notebook(frames: dict[str, pd.DataFrame]) -> None:
    bundle = DriftExplorer(frames["llama2-style/legacy"])._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "replies are wrong" in bundle["text/plain"]


def test_the_headline_counts_replies_and_not_rows(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["llama2-style/legacy"]
    replies, cuts = len(frame.drop_duplicates(["dialogue", "turn"])), frame["strategy"].nunique()
    explorer = DriftExplorer(frame)
    assert explorer.summary().startswith(f"{replies:,} replies, {cuts} cuts each: replies are wrong after ")
    assert "most after prompt_chars (100.0%), " in explorer.summary()
    explorer.strategy.value = "output_ids_alone"
    wrong = int(frame.wrong[frame.strategy == "output_ids_alone"].sum())
    assert (
        explorer.summary() == f"{wrong} of {replies} replies are wrong ({wrong / replies:.1%}), cut by output_ids_alone"
    )
    explorer.strategy.value = "fastchat_chatglm"
    assert explorer.summary() == "0 of 0 replies are wrong (0.0%), cut by fastchat_chatglm"
    explorer.strategy.value, explorer.turn.value = "all", "1"
    first = frame[frame.turn == 1]
    assert explorer.summary().startswith(f"{len(first) // cuts} replies, ")


def test_a_choice_without_rows_is_an_empty_figure(frames: dict[str, pd.DataFrame]) -> None:
    explorer = DriftExplorer({"few": frames["llama2-style/legacy"].head(1)})
    explorer.first_piece.value = "no space" if explorer.chosen()["first_piece_space"].all() else "space"
    assert explorer.summary() == "0 of 0 replies are wrong (0.0%)"
