"""measure_turns: one row a border, the same rows whatever way was taken, and a verdict in plain words."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.errors import ChatlabError, DialogueError, GenerationError
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.tokenizers.load import as_tokenizer
from chatlab.turns.measure import iter_turns, measure_turns
from chatlab.turns.tally import TurnsTally
from chatlab.turns.trace import trace_turns
from tests.support.small_tokenizers import encodable_dialogues, small_tokenizers
from tests.support.templates import CHATML, fast_tokenizer

TALKS = [d for d in encodable_dialogues() if len(d.turns) > 1][:40]
TEXT = st.text(st.sampled_from("ab \n.<|>é日Ye"), max_size=10)
DIALOGUES = st.lists(
    st.lists(st.builds(Turn, user=TEXT, assistant=TEXT), min_size=1, max_size=4).map(
        lambda turns: Dialogue(id="d", turns=turns)
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(
    DIALOGUES,
    st.sampled_from(["byte bpe", "metaspace first", "legacy prepend", "right-stripping", "single word"]),
    st.sampled_from(["chatml", "llama2", "phi3"]),
    st.sampled_from(["verbatim", "stripped"]),
)
def test_many_at_once_are_measured_as_each_alone(talks: list[Dialogue], kind: str, form: str, stored: str) -> None:
    """The batch way encodes only what is new; the slow way asks the tokenizer for every prompt by itself."""
    known = small_tokenizers()
    tokenizer = as_tokenizer(known.get(kind) or known["byte bpe"])
    frame = measure_turns(talks, form, tokenizer, stored=stored, trace=False)
    alone = [turn for talk in talks for turn in trace_turns(tokenizer, talk, prompt_class=form, stored=stored).turns]
    for column in ("kept_len", "lost_len", "reread_len", "prompt_len"):
        assert frame[column].tolist() == [getattr(turn, column) for turn in alone], column


def test_a_row_tells_what_is_lost_why_and_what_it_costs() -> None:
    frame = measure_turns(TALKS, "chatml", small_tokenizers()["byte bpe"], stored="stripped")
    assert len(frame) == sum(len(d.turns) - 1 for d in TALKS)
    lost = frame[~frame["kept"]]
    assert 0 < len(lost) < len(frame)
    assert set(lost["layer"]) == {"program"}
    assert set(frame[frame["kept"]]["cause"]) == {""}
    assert (frame["kept_len"] + frame["lost_len"] == frame["prompt_len"] + frame["reply_len"]).all()
    assert (
        (frame["cache_lost_share"] > 0) == frame.groupby("dialogue", observed=True)["wasted_len"].transform("sum").gt(0)
    ).all()
    assert {"label_kind", "label_language", "tokenizer", "versions", "stored"} <= set(frame.columns)


def test_frames_come_batch_by_batch_and_join() -> None:
    whole = measure_turns(TALKS, "chatml", small_tokenizers()["byte bpe"])
    frames = list(iter_turns(TALKS, "chatml", small_tokenizers()["byte bpe"]))
    pd.testing.assert_frame_equal(whole, pd.concat(frames, ignore_index=True), check_categorical=False)
    assert measure_turns([], "chatml", small_tokenizers()["byte bpe"]).empty


def test_a_template_is_asked_where_no_class_is_given() -> None:
    tokenizer = fast_tokenizer("byte bpe", CHATML, bos="<s>", eos="</s>")
    frame = measure_turns(TALKS[:5], None, tokenizer, stored="stripped")
    assert set(frame["prompt_class"]) == {"chat template"}
    again = measure_turns(TALKS[:5], None, tokenizer, stored=str.strip)
    assert frame["kept_len"].tolist() == again["kept_len"].tolist()


def test_a_bad_dialogue_is_told_or_left_out() -> None:
    bad: list[ChatlabError] = []
    mixed = [
        TALKS[0],
        {"id": "x", "turns": []},
        Dialogue(id="y", turns=[Turn(user="\ud800", assistant="a"), Turn(user="b")]),
    ]
    frame = measure_turns(mixed, "chatml", small_tokenizers()["byte bpe"], on_bad=bad.append)
    assert set(frame["dialogue"]) == {TALKS[0].id}
    assert [str(error).split("'")[1] for error in bad] == ["x", "y"]
    with pytest.raises(DialogueError, match="'x'"):
        measure_turns(mixed[1:2], "chatml", small_tokenizers()["byte bpe"])
    with pytest.raises((DialogueError, GenerationError), match="stored"):
        measure_turns(TALKS[:1], "chatml", small_tokenizers()["byte bpe"], stored=lambda text: 3)


def test_the_tally_says_it_in_three_sentences() -> None:
    tokenizer = small_tokenizers()["byte bpe"]
    kept = TurnsTally(measure_turns(TALKS, "chatml", tokenizer))
    assert kept.is_kept
    assert len(kept.verdict()) == 3
    lost = TurnsTally(iter_turns(TALKS, "chatml", tokenizer, stored="stripped"))
    assert lost.border_count == kept.border_count
    assert "reply stripped before it is stored (program)" in lost.verdict()[1]
    assert "verbatim" in lost.verdict()[2]
    assert lost.by_cause()["borders"].sum() == lost.lost_count == lost.by_turn()["lost"].sum()
    assert TurnsTally().verdict() == ["No border between two calls was measured."]
    unseen = TurnsTally(measure_turns(TALKS, "chatml", tokenizer, stored="stripped", trace=False))
    assert "trace=True" in unseen.verdict()[1]
    with pytest.raises(ChatlabError, match="measure_turns"):
        TurnsTally(pd.DataFrame({"a": [1]}))


def test_a_model_tells_what_the_other_reading_costs_and_may_answer_itself() -> None:
    from chatlab.echo.generate import ModelReplies
    from chatlab.embedded import model_path
    from chatlab.engines.load import load_model
    from chatlab.tokenizers.load import load_tokenizer

    tokenizer, model = load_tokenizer(model_path(), legacy=True), load_model(model_path(), progress=False)
    frame = measure_turns(TALKS[:3], "llama2", tokenizer, stored="stripped", model=model)
    kept, lost = frame[frame["kept"]], frame[~frame["kept"]]
    assert (frame["logprob_said"] < 0).all()
    assert (kept["logprob_change"] == 0).all()
    assert len(lost)
    assert (lost["logprob_change"].abs() > 0.001).any()
    own = measure_turns(TALKS[:2], "llama2", tokenizer, reply_ids=ModelReplies(model, max_new_tokens=5))
    assert len(own)
    assert own["reply_len"].max() <= 5
