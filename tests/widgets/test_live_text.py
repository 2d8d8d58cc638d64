"""The law of a text that grows in a browser: whatever is lost on the way, the reader ends with the kernel's text."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine, tiny_tokenizer
from chatlab.widgets.live_text import STEP_CAP, TEXT_CAP, LiveText, packed


class Reader:
    """The browser's side in a few obvious lines; ``log.js`` is held to the same by tests/browser."""

    def __init__(self) -> None:
        self.text = ""
        self.steps: list[Any] = []
        self.asks = False

    def take_full(self, full: dict[str, Any]) -> None:
        self.text = " " * full["start"] + full["text"]
        self.steps = [None] * full["steps_start"] + full["steps"]
        self.asks = False

    def take_delta(self, delta: dict[str, Any]) -> None:
        if delta["start"] > len(self.text) or delta["steps_start"] > len(self.steps):
            self.asks = True
            return
        self.text += delta["text"][len(self.text) - delta["start"] :]
        self.steps += delta["steps"][len(self.steps) - delta["steps_start"] :]


Actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.text(max_size=6)),
        st.tuples(st.just("flush"), st.booleans()),  # whether the message arrives
        st.tuples(st.just("answer"), st.booleans()),
    ),
    max_size=40,
)


@given(Actions, st.booleans())
@settings(max_examples=500)
def test_the_reader_ends_with_the_text_whatever_was_lost(actions: list[tuple[str, Any]], with_steps: bool) -> None:
    text, reader = LiveText(1, "assistant"), Reader()
    reader.take_full(text.full(with_steps=with_steps))
    whole = ""
    for action, value in actions:
        if action == "put":
            text.put(value)
            whole += value
        elif action == "flush":
            message = text.delta(with_steps=with_steps)
            if message is not None and value:
                reader.take_delta(message)
        elif value and reader.asks:
            reader.take_full(text.full(with_steps=with_steps))
        if not reader.asks:
            assert whole.startswith(reader.text)
    text.finish("eos")
    reader.take_full(text.full(with_steps=with_steps))
    assert reader.text == text.text == whole
    assert len(reader.steps) == (len([1 for action, _ in actions if action == "put"]))


@given(st.lists(st.text(max_size=4), max_size=20))
def test_joined_deltas_are_the_text_and_name_their_place(fragments: list[str]) -> None:
    text, joined = LiveText(1, "assistant"), ""
    for fragment in fragments:
        text.put(fragment)
        message = text.delta()
        assert message is not None
        assert message["start"] == len(joined)
        joined += message["text"]
    assert joined == "".join(fragments)
    assert text.delta() is None


def test_a_full_holds_no_more_than_the_screen() -> None:
    text = LiveText(1, "assistant")
    for n in range(STEP_CAP + 100):
        text.put(f"{n:0150}")
    full = text.full(with_steps=True)
    assert len(full["text"]) == TEXT_CAP
    assert full["start"] == len(text.text) - TEXT_CAP
    assert len(full["steps"]) == STEP_CAP
    assert full["steps_start"] == 100


def test_a_lone_surrogate_becomes_a_question_mark_and_every_offset_stands() -> None:
    text = LiveText(1, "assistant")
    text.put("a\ud800b")
    assert json.loads(zlib.decompress(packed(text.full())))["text"] == text.text == "a?b"


def test_a_finished_text_keeps_its_first_reason_and_holds_nothing() -> None:
    text = LiveText(1, "assistant")
    text.finish("cancelled", seconds=1.5)
    text.finish("eos")
    full = text.full()
    assert (full["why"], full["seconds"], full["held"]) == ("cancelled", 1.5, "")


def test_deltas_of_a_stream_say_which_token_waits_and_why() -> None:
    tokenizer = tiny_tokenizer("byte-level")
    source = stream("x", ScriptedEngine("Hi 😀<|t</s>", tokenizer), replacements=[("<|tag|>", "")], logprobs=0)
    text = LiveText(1, "assistant", replacements=source.request.replacements, special_ids=source.request.special_ids)
    for delta in source:
        text.put(delta)
    steps = text.steps()
    waiting = [step.waiting for step in steps]
    assert "part of a character" in waiting
    assert "may begin <|tag|>" in waiting
    special = [step for step in steps if step.special]
    assert [step.piece for step in special] == ["</s>"]
    assert all(step.logprob == 0.0 for step in steps if step.token_id is not None)
    assert "".join(step.text for step in steps) == text.text == "Hi 😀<|t"
    assert text.token_len == len(source.token_ids)


@pytest.mark.parametrize("with_steps", [False, True])
@pytest.mark.parametrize("kind", ["full", "delta"])
def test_what_is_put_while_a_message_is_made_belongs_to_the_next_one(kind: str, with_steps: bool, monkeypatch) -> None:
    text = LiveText(1, "assistant")
    held = LiveText._held

    def held_while_more_comes(self: LiveText) -> tuple[str, str]:
        self.put("late")
        return held(self)

    monkeypatch.setattr(LiveText, "_held", held_while_more_comes)
    text.put("early")
    first = getattr(text, kind)(with_steps=with_steps)
    assert (first["text"], first["tokens"]) == ("early", 0)  # a fragment is no token
    assert [step.text for step in first["steps"]] == ["early"] * with_steps
    second = text.delta(with_steps=with_steps)
    assert (second["start"], second["text"][:4], second["steps_start"]) == (5, "late", 1)
