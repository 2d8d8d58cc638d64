"""A trace tells each call's story, and draws it without letting text become HTML."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from IPython.lib.pretty import pretty

from chatlab.buffering.reference import replace_all
from chatlab.buffering.sentence_stop import SentenceStop
from chatlab.buffering.tokflow import TokFlow
from chatlab.buffering.trace import BufferTrace
from tests.buffering.strategies import cuts, patterns, texts

STORY = TokFlow([("<NL>", "\n")]).trace(["Hi!<", "N", "L>you", " <3", "<"])


def test_each_put_says_what_came_in_what_went_out_and_what_is_held_and_why() -> None:
    assert [(s.call, s.fragment, s.delta, s.held, s.waiting_for) for s in STORY.steps] == [
        ("put", "Hi!<", "Hi!", "<", ("<NL>",)),
        ("put", "N", "", "<N", ("<NL>",)),
        ("put", "L>you", "\nyou", "", ()),
        ("put", " <3", " <3", "", ()),
        ("put", "<", "", "<", ("<NL>",)),
        ("flush", "", "<", "", ()),
    ]
    assert STORY.text == "Hi!\nyou <3<"


@given(st.data())
def test_a_trace_gives_the_replaced_text_and_counts_every_character(data: st.DataObject) -> None:
    searches = data.draw(patterns())
    text = data.draw(texts(searches))
    rules = {search: f"[{i}]" for i, search in enumerate(searches)}
    trace = TokFlow(rules).trace(data.draw(cuts(text)))
    assert trace.text == replace_all(text, rules)
    assert "".join(step.fragment for step in trace.steps) == text
    raw = shown = 0
    for step in trace.steps:
        raw += len(step.fragment)
        shown += len(step.delta)
        assert (step.raw_len, step.shown_len, step.released_len) == (raw, shown, raw - len(step.held))
        assert bool(step.held) == bool(step.waiting_for)


def test_full_inputs_are_traced_by_their_new_part() -> None:
    full = {"in_type": "full", "out_type": "full"}
    assert (
        TokFlow([("<NL>", "\n")]).trace(["Hi!<", "Hi!<N", "Hi!<NL>you", "Hi!<NL>you <3", "Hi!<NL>you <3<"], full)
        == STORY
    )


def test_a_stop_ends_the_trace() -> None:
    sentence = SentenceStop(["<NL>"])
    trace = sentence.trace(["a", "<N", "L>b", "c"])
    assert [s.stop_str for s in trace.steps] == [None, None, "<NL>"]
    assert (trace.text, trace.stop_str, trace.steps[-1].released_len) == ("a", "<NL>", 1)
    assert sentence.put("b")["text"] == "b"


def test_a_frame_has_one_row_a_call() -> None:
    frame = STORY.to_frame()
    assert list(frame["held"]) == ["<", "<N", "", "", "<", ""]
    assert list(frame["waiting_for"][:3]) == [("<NL>",), ("<NL>",), ()]
    assert list(BufferTrace(steps=()).to_frame().columns) == list(frame.columns)


def test_a_trace_round_trips_through_json() -> None:
    assert BufferTrace.from_dict(json.loads(json.dumps(STORY.to_dict()))) == STORY


def test_the_drawing_makes_white_space_visible_and_lines_up_wide_characters() -> None:
    trace = SentenceStop(["。\n"]).trace(["はい", "。", " x\t"])
    assert str(trace).splitlines() == [
        "call   in    out    held  waiting for",
        "put    はい  はい",
        "put    。           。    。⏎",
        "put    ·x⇥   。·x⇥",
        "flush",
    ]


def test_a_notebook_without_html_shows_the_drawing() -> None:
    assert pretty(STORY) == str(STORY)


PAYLOAD = '<img src=x onerror="alert(1)"><script>alert(2)</script>&amp;'


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert "\x1b" not in str(TokFlow([("\x1b[0m", "")]).trace(["\x1b[31m", "\x1b["]))


def test_no_text_becomes_html() -> None:
    for trace in (
        TokFlow([(PAYLOAD, PAYLOAD)]).trace([PAYLOAD, PAYLOAD[:-1]]),
        SentenceStop([PAYLOAD]).trace([PAYLOAD[:5], PAYLOAD[5:]]),
    ):
        html = trace._repr_html_()
        assert "<img" not in html
        assert "<script" not in html
        assert "&lt;img" in html
        assert "&amp;amp;" in html
