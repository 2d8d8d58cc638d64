"""stream_many: every row is what it would be alone, and ends on its own."""

from __future__ import annotations

import gc
import threading

import pytest

from chatlab.engines.local import LocalEngine
from chatlab.errors import ContextLengthError, EncodeError, EngineError, GenerationError
from chatlab.streaming.many import stream_many
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine
from tests.streaming.asked import asked


def test_a_row_is_a_single_run(engine) -> None:
    """Invariant I7, sampled: rows of several lengths together and alone."""
    prompts = [[5], [6] * 30, [7] * 300, [8, 9]]
    rows = stream_many(prompts, engine, seed=10, max_new_tokens=25, temperature=1.5)
    texts = ["", "", "", ""]
    for delta in rows:
        texts[delta.row] += delta.text
    assert texts == rows.texts
    for row, prompt in enumerate(prompts):
        alone = stream(prompt, engine, seed=10 + row, max_new_tokens=25, temperature=1.5).result()
        assert rows.results()[row].token_ids == alone.token_ids
        assert texts[row] == alone.text


def test_rows_end_on_their_own() -> None:
    rows = stream_many(["a", "b", "c"], ScriptedEngine(["one", "two, and more", "x#y"]), stop=["#"])
    ends = [(delta.row, delta.finish_reason) for delta in rows if delta.finish_reason]
    assert sorted(ends) == [(0, "eos"), (1, "eos"), (2, "stop")]
    assert [result.text for result in rows.results()] == ["one", "two, and more", "x"]


def test_a_row_that_fails_leaves_the_others_whole_and_is_not_forgotten(model) -> None:
    calls = 0

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise RuntimeError("injected")

    with LocalEngine(model, ScriptedEngine("").tokenizer, eos_ids=()) as engine:
        handle = model.register_forward_pre_hook(fail)
        rows = stream_many([[5], [6], [7]], engine, max_new_tokens=10)
        with pytest.raises(GenerationError, match="injected"):
            for _ in rows:
                pass
        handle.remove()
    assert sorted(len(run.token_ids) for run in rows.runs)[1:] == [10, 10]
    assert [run.error is not None for run in rows.runs].count(True) == 1
    with pytest.raises(GenerationError):
        rows.results()


@pytest.mark.parametrize("leave", ["break", "with", "stop"])
def test_leaving_ends_all_rows(engine, leave: str) -> None:
    rows = stream_many([[5], [6], [7]], engine, max_new_tokens=1000)
    if leave == "break":
        for _ in rows:
            break
    elif leave == "with":
        with rows:
            next(rows)
    else:
        rows.stop()
        list(rows)
    assert engine.wait_idle(5)
    assert all(run.ended for run in rows.runs)


def test_one_row_can_be_stopped_alone(engine) -> None:
    rows = stream_many([[5], [6]], engine, max_new_tokens=50)
    next(rows)
    rows.runs[0].stop()
    assert [result.finish_reason for result in rows.results()] == ["cancelled", "length"]


def test_one_prompt_object_cannot_be_two_rows() -> None:
    prompt = asked("Hi")
    with pytest.raises(EngineError, match=r"copy\(\)"):
        stream_many([prompt, prompt], ScriptedEngine("x"))
    prompts = [prompt, prompt.copy()]
    stream_many(prompts, ScriptedEngine(["one", "two"])).results()
    assert [p.get_responder_last_msg() for p in prompts] == ["one", "two"]


def test_a_prompt_that_does_not_fit_starts_no_row(engine) -> None:
    with pytest.raises(ContextLengthError):
        stream_many([[5], [6] * 5000], engine)
    assert engine.wait_idle(5)
    assert engine.active_len == 0


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("refused_by", ["engine", "tokenizer"])
def test_a_refused_row_leaves_every_history_as_it_was(bad: int, refused_by: str) -> None:
    prompts = [asked("Hi") for _ in range(3)]
    prompts[bad].remove_last_message()
    prompts[bad].add_requester_msg("x" * 5000 if refused_by == "engine" else "\ud800")
    with pytest.raises(ContextLengthError if refused_by == "engine" else EncodeError):
        stream_many(prompts, ScriptedEngine("x", delay=0.01))
    assert [len(prompt.get_history()) for prompt in prompts] == [1, 1, 1]


def test_no_prompts_give_no_deltas(engine) -> None:
    assert list(stream_many([], engine)) == []


def test_dropping_the_last_reference_ends_all_rows() -> None:
    with ScriptedEngine("x" * 2000, delay=0.02) as engine:
        rows = stream_many(["a", "b"], engine, max_new_tokens=2000)
        next(rows)
        del rows
        gc.collect()
        assert engine.wait_idle(5)


@pytest.mark.parametrize(
    ("begin", "texts"),
    [
        (lambda engine: stream("a", engine).result, lambda result: [result.text]),
        (lambda engine: stream_many(["a", "b"], engine).results, lambda results: [r.text for r in results]),
    ],
)
def test_two_threads_may_read_one_stream(begin, texts) -> None:
    with ScriptedEngine("one and two", delay=0.01) as engine:
        read, found = begin(engine), []
        readers = [threading.Thread(target=lambda: found.append(texts(read())), daemon=True) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(10)
    assert len(found) == 2
    assert {text for result in found for text in result} == {"one and two"}
