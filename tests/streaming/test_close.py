"""A reply that is closed while text is held: what ``text`` says, the deltas say."""

from __future__ import annotations

import asyncio
import threading

import pytest

from chatlab.streaming.many import stream_many
from chatlab.streaming.stream import astream, stream
from chatlab.testing import ScriptedEngine


@pytest.mark.parametrize("leave", ["close", "stop"])
def test_text_that_was_held_is_in_a_delta_when_another_thread_ends_it(leave: str) -> None:
    engine = ScriptedEngine("ab<" + "x" * 500, delay=0.02)
    reply = stream("x", engine, stop=["<" + "x" * 400])
    deltas = [next(reply) for _ in range(4)]
    assert deltas[-1].held == "<x"
    ending = threading.Thread(target=getattr(reply, leave))
    ending.start()
    deltas += list(reply)
    ending.join()
    assert "".join(delta.text for delta in deltas) == reply.text
    assert reply.text.startswith("ab<x")
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["cancelled"]
    assert deltas[-1].finish_reason == "cancelled"
    assert list(reply) == []


def test_text_that_was_held_is_in_a_delta_of_each_row() -> None:
    rows = stream_many(["x", "y"], ScriptedEngine("ab<" + "x" * 500, delay=0.01), stop=["<" + "x" * 400])
    deltas = [next(rows) for _ in range(8)]
    threading.Timer(0, rows.close).start()
    deltas += list(rows)
    for row, text in enumerate(rows.texts):
        own = [delta for delta in deltas if delta.row == row]
        assert "".join(delta.text for delta in own) == text
        assert own[-1].finish_reason == "cancelled"


def test_text_that_was_held_is_in_a_delta_of_an_async_reply() -> None:
    async def read() -> None:
        reply = astream("x", ScriptedEngine("ab<" + "x" * 500, delay=0.01), stop=["<" + "x" * 400])
        deltas = [await anext(reply) for _ in range(4)]
        await reply.aclose()
        deltas += [delta async for delta in reply]
        assert "".join(delta.text for delta in deltas) == reply.text
        assert deltas[-1].finish_reason == "cancelled"

    asyncio.run(read())
