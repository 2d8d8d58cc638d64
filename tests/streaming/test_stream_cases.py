"""The faults of other drivers, each as a case: facts/streaming.md §2, numbers 36–41, and 32 and 34."""

from __future__ import annotations

import gc
import time

import pytest

from chatlab.errors import EngineError, GenerationError, TokenIdError
from chatlab.prompts.control_tokens.encode import ControlTokenWarning
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine, tiny_tokenizer
from tests.streaming.pieces import Llama


def test_32_ids_past_a_stop_are_not_delivered_and_those_held_are() -> None:
    engine = ScriptedEngine("ab###cd")
    deltas = list(stream("x", engine, stop=["###"]))
    assert [delta.pieces for delta in deltas] == [("a",), ("b",), ("#",), ("#",), ("#",)]
    assert [delta.held for delta in deltas] == ["", "", "#", "##", ""]
    assert "".join(delta.text for delta in deltas) == "ab"


def test_34_text_the_detokenizer_holds_behind_a_stop_is_not_flushed() -> None:
    llama = Llama("▁four,", "▁five", "▁six")
    engine = ScriptedEngine(llama.ids("▁four,", "▁five", "<0xF0>", "▁six"), llama.tokenizer)
    reply = stream(llama.ids("▁four,"), engine, stop=["five"])
    assert reply.result().text == " four, "
    assert reply.result().finish_reason == "stop"


def test_36_an_exception_in_the_model_reaches_the_reader_with_all_text_before_it(engine) -> None:
    calls = 0

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("out of memory")

    handle = engine.model.register_forward_pre_hook(fail)
    reply = stream([5], engine)
    deltas = []
    with pytest.raises(GenerationError, match="out of memory") as caught:
        deltas.extend(reply)
    handle.remove()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.__cause__.__traceback__ is not None
    assert len(reply.token_ids) == 5
    assert deltas[-1].finish_reason == "error"
    assert "".join(delta.text for delta in deltas) == reply.text
    with pytest.raises(GenerationError):
        reply.result()


def test_36_text_that_was_held_is_delivered_before_the_error() -> None:
    engine = ScriptedEngine("Hello <", fail_at=7, error=RuntimeError("gone"))
    reply = stream("x", engine, stop=["</s>"])
    with pytest.raises(GenerationError):
        reply.result()
    assert reply.text == "Hello <"


@pytest.mark.parametrize("leave", ["close", "break", "with", "drop", "stop"])
def test_37_a_reader_that_leaves_ends_the_generation(engine, leave: str) -> None:
    reply = stream([5], engine, max_new_tokens=1000)
    if leave == "close":
        next(reply)
        reply.close()
    elif leave == "break":
        for _ in reply:
            break
    elif leave == "with":
        with reply:
            next(reply)
    elif leave == "stop":
        reply.stop()
    else:
        next(reply)
        del reply
        gc.collect()
    assert engine.wait_idle(5)
    assert engine.active_len == 0


def test_38_after_an_error_the_next_run_starts_clean() -> None:
    engine = ScriptedEngine(["partial answer", "fine"], fail_at=8)
    with pytest.raises(EngineError, match="fail at token 8"):
        stream("first prompt", engine).result()
    engine.fail_at = None
    assert stream("second prompt", engine).result().text == "fine"


def test_39_the_first_token_keeps_its_space() -> None:
    llama = Llama("▁Hello", "▁world")
    engine = ScriptedEngine(llama.ids("▁world"), llama.tokenizer)
    assert stream(llama.ids("▁Hello"), engine).result().text == " world"


def test_40_the_prompt_is_cut_by_tokens_and_not_by_characters() -> None:
    llama = Llama("▁Hi", "[INST]", "▁James", "▁Cameron")
    prompt = llama.ids("<s>", "[INST]", "▁Hi", "</s>", "<s>", "[INST]", "▁Hi")
    engine = ScriptedEngine(llama.ids("▁James", "▁Cameron"), llama.tokenizer)
    assert stream(prompt, engine).result().text == " James Cameron"


def test_41_the_deltas_are_the_final_text(engine) -> None:
    reply = stream([5], engine, seed=4, max_new_tokens=200)
    text = "".join(delta.text for delta in reply)
    result = reply.result()
    assert (
        text
        == result.text
        == result.raw_text
        == engine.tokenizer.decode([5, *result.token_ids])[len(engine.tokenizer.decode([5])) :]
    )


def test_a_slow_consumer_holds_nobody_up(engine) -> None:
    slow = stream([5], engine, max_new_tokens=30)
    next(slow)
    assert stream([6], engine, max_new_tokens=5).result().finish_reason == "length"
    time.sleep(0.01)
    assert slow.result().finish_reason == "length"


def test_an_id_that_no_vocabulary_has_is_the_prompt_s_fault() -> None:
    """A model's output layer is often padded beyond its vocabulary, so an engine may take such an id."""
    llama = Llama("▁four,")
    with pytest.raises(TokenIdError, match="10000"):
        stream([5, 10_000], ScriptedEngine("a"), tokenizer=llama.tokenizer)


def test_a_stop_string_is_told_and_a_warning_can_be_left_out() -> None:
    prompt = ChatPromptVicuna()
    prompt.add_requester_msg("Hi </s>")
    with ScriptedEngine([5, 6], tiny_tokenizer("byte-fallback")) as engine:
        with pytest.warns(ControlTokenWarning):
            stream(prompt.copy(), engine).result()
        stream(prompt, engine, warn=False).result()  # warnings are errors here
    reply = stream("x", ScriptedEngine("ab#c"), stop=["#"])
    assert reply.stop_str is None
    reply.result()
    assert reply.stop_str == "#"
