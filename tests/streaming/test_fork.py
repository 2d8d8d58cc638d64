"""A process that forks while a stream runs: the child streams on its own, and the parent's reply is untouched."""

from __future__ import annotations

import pytest

from chatlab.errors import EngineError
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine
from tests.support.forked import in_child, needs_fork

pytestmark = needs_fork


def test_a_child_streams_on_the_engine_that_its_parent_is_using(engine) -> None:
    reply = stream([5], engine, max_new_tokens=200, seed=1)
    expected = stream([6], engine, max_new_tokens=4, temperature=0).result().token_ids
    for _ in range(3):
        next(reply)

    def work() -> None:
        assert stream([6], engine, max_new_tokens=4, temperature=0).result().token_ids == expected
        with pytest.raises(EngineError, match="goes on in the parent"):
            reply.result()

    in_child(work)
    assert reply.result().finish_reason == "length"


def test_a_child_answers_the_prompt_that_its_parent_is_answering() -> None:
    prompt = ChatPromptVicuna()
    prompt.add_requester_msg("Hi")
    engine = ScriptedEngine(["x" * 50, "child"], delay=0.005)
    reply = stream(prompt, engine)
    next(reply)

    def work() -> None:
        own = prompt.copy()
        own.clear_last_message()
        assert stream(own, engine).result().text == "child"
        prompt.clear_last_message()
        assert stream(prompt, engine).result().text == "x" * 50

    in_child(work)
    assert reply.result().text == "x" * 50
