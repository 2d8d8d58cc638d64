"""astream gives what stream gives, and a cancelled task leaves nothing running."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from chatlab.errors import GenerationError
from chatlab.streaming.stream import astream, stream
from chatlab.testing import ScriptedEngine
from tests.streaming.asked import asked


def test_the_deltas_are_those_of_stream(engine) -> None:
    async def read():
        reply = astream([5], engine, seed=3, max_new_tokens=40)
        deltas = [delta async for delta in reply]
        return deltas, await reply.result()

    deltas, result = asyncio.run(read())
    sync = stream([5], engine, seed=3, max_new_tokens=40)
    assert [(d.text, d.token_ids, d.finish_reason) for d in deltas] == [
        (d.text, d.token_ids, d.finish_reason) for d in sync
    ]
    assert result.text == sync.text


def test_a_stream_may_be_made_before_the_loop_runs() -> None:
    reply = astream("x", ScriptedEngine("abc"))
    assert asyncio.run(reply.result()).text == "abc"


def test_other_tasks_run_while_a_model_works(engine) -> None:
    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await astream([5], engine, max_new_tokens=20).result()
        ticking.cancel()
        return ticks

    assert asyncio.run(both()) > 20


@pytest.mark.parametrize("leave", ["break", "with", "aclose", "stop"])
def test_a_reader_that_leaves_ends_the_generation(engine, leave: str) -> None:
    async def read():
        reply = astream([5], engine, max_new_tokens=1000)
        if leave == "with":
            async with reply:
                await anext(reply)
        elif leave == "break":
            async for _ in reply:
                break
            await asyncio.sleep(0)  # Python closes a left async generator in the loop's next round
        else:
            await anext(reply)
            await reply.aclose() if leave == "aclose" else reply.stop()
        return reply

    asyncio.run(read())
    assert engine.wait_idle(5)


def test_200_tasks_cancelled_at_random_moments_leave_an_idle_engine(engine) -> None:
    draw = random.Random(8)

    async def one(n: int) -> None:
        prompt = asked("Hi")
        reply = astream(prompt, engine, max_new_tokens=1000)
        task = asyncio.create_task(reply.result())
        await asyncio.sleep(draw.random() * 0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reply.ended
        assert prompt.get_responder_last_msg() == reply.text

    async def every() -> None:
        for n in range(0, 200, 4):
            await asyncio.gather(*(one(n + k) for k in range(4)))

    asyncio.run(every())
    assert engine.wait_idle(5)
    assert engine.active_len == 0
    assert len(stream([5], engine, max_new_tokens=5).result().token_ids) == 5


def test_a_timeout_ends_the_generation() -> None:
    engine = ScriptedEngine("abc", delay=5)

    async def read():
        reply = astream("x", engine)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reply.result(), 0.02)

    asyncio.run(read())
    assert engine.wait_idle(2)


def test_an_exception_in_the_model_arrives() -> None:
    engine = ScriptedEngine("abc", fail_at=2, error=RuntimeError("gone"))

    async def read():
        reply = astream("x", engine)
        with pytest.raises(GenerationError, match="gone") as caught:
            async for _ in reply:
                pass
        assert isinstance(caught.value.__cause__, RuntimeError)
        return reply.text

    assert asyncio.run(read()) == "ab"


def test_a_stream_closed_while_a_task_reads_stays_as_it_is() -> None:
    async def main(engine: ScriptedEngine) -> None:
        reply, deltas = astream("a", engine, max_new_tokens=2000), []

        async def read() -> None:
            while (delta := await anext(reply, None)) is not None:
                deltas.append(delta)

        reader = asyncio.create_task(read())
        while not deltas:
            await asyncio.sleep(0.001)
        await reply.aclose()
        text = reply.text
        await asyncio.wait_for(reader, 10)
        assert reply.text == text == "".join(delta.text for delta in deltas)
        assert not any(delta.finish_reason for delta in deltas)
        assert (await reply.result()).finish_reason == "cancelled"

    with ScriptedEngine("x" * 2000, delay=0.02) as engine:
        asyncio.run(main(engine))


def test_a_loop_that_ends_in_mid_stream_takes_nothing_down(engine) -> None:
    async def begin():
        reply = astream([5], engine, max_new_tokens=300)
        await anext(reply)
        return reply

    reply = asyncio.run(begin())
    assert len(stream([6], engine, max_new_tokens=5).result().token_ids) == 5
    assert engine.wait_idle(5)
    del reply


def test_dropping_the_last_reference_ends_the_generation() -> None:
    async def drop(engine: ScriptedEngine) -> None:
        reply = astream("a", engine, max_new_tokens=2000)
        await anext(reply)
        del reply
        gc.collect()
        assert engine.wait_idle(5)

    with ScriptedEngine("x" * 2000, delay=0.02) as engine:
        asyncio.run(drop(engine))


def test_two_tasks_may_read_one_stream() -> None:
    async def read(engine: ScriptedEngine) -> list[str]:
        reply = astream("a", engine)
        results = await asyncio.wait_for(asyncio.gather(reply.result(), reply.result()), 10)
        return [result.text for result in results]

    with ScriptedEngine("one and two", delay=0.01) as engine:
        assert asyncio.run(read(engine)) == ["one and two"] * 2
