"""Law L7: an answer ends once, and whatever way its block is left, the engine stops and the slot is free."""

from __future__ import annotations

import asyncio

import pytest

from chatlab.errors import (
    ChatBusy,
    ContextLengthError,
    EngineError,
    RequestError,
    SamplingError,
    ServerClosing,
    TooManyRequests,
)
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.server.admission import Admission
from chatlab.server.delivery import AnswerBroken, Delivery
from chatlab.server.limits import Limits
from chatlab.server.serving import Serving
from chatlab.testing import ScriptedEngine


def serving(script="Hello you", running=1, waiting=0, limits=None, **engine):
    return Serving(ScriptedEngine(script, **engine), admission=Admission(running, waiting), limits=limits)


def question():
    prompt = ChatPromptVicuna()
    prompt.add_requester_msg("Hi")
    return prompt


async def _noted(answer, deltas):
    async for delta in answer:
        deltas.append(delta)
    return
    yield


async def idle(serve):
    """The engine stops within its step, and nothing is held."""
    assert await asyncio.to_thread(serve.engine.wait_idle, 5)
    assert (serve.admission.load().running, serve.admission.load().waiting) == (0, 0)


def test_an_answer_tells_what_was_read_and_said():
    async def play():
        serve, prompt = serving(), question()
        async with serve.answer(prompt, seed=3) as answer:
            deltas = [delta async for delta in answer]
        assert answer.text == "".join(d.text for d in deltas) == prompt.get_responder_last_msg() == "Hello you"
        assert [d.finish_reason for d in deltas] == [None] * (len(deltas) - 1) + ["eos"]
        assert answer.token_ids == tuple(map(ord, "Hello you"))
        assert answer.prompt_ids == tuple(serve.engine.prompts[0])
        assert (answer.finish_reason, answer.seed, answer.message()["content"]) == ("eos", 3, "Hello you")
        await idle(serve)

    asyncio.run(play())


@pytest.mark.parametrize("cancel_at", range(0, 40, 3))
def test_a_cancel_at_any_step_of_the_loop_frees_the_slot(cancel_at):
    """Queued, while encoding, while the engine begins, in the middle: the history holds what came."""

    async def play():
        serve, prompt = serving("Hello " * 50, delay=0.001), question()

        async def ask():
            async with serve.answer(prompt) as answer:
                async for _ in answer:
                    pass

        task = asyncio.create_task(ask())
        for _ in range(cancel_at):
            await asyncio.sleep(0 if cancel_at < 20 else 0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(serve)
        async with serve.answer(question()):  # and the next is let in
            pass
        said = prompt.get_responder_last_msg()
        assert said is None or ("Hello " * 50).startswith(said)
        prompt.clear_history()  # nobody claims it any more
        prompt.add_requester_msg("Again")
        async with serve.answer(prompt):
            pass

    asyncio.run(play())


def test_a_fault_comes_after_the_last_delta_and_frees_the_slot():
    async def play():
        serve, deltas = serving(fail_at=3), []
        async with serve.answer("Hi") as answer:
            with pytest.raises(EngineError, match="fail at token 3"):
                deltas.extend([delta async for delta in _noted(answer, deltas)])
        assert "".join(d.text for d in deltas) == "Hel"
        assert deltas[-1].finish_reason == answer.finish_reason == "error"
        await idle(serve)

    asyncio.run(play())


def test_what_is_wrong_with_a_prompt_is_told_before_its_turn_comes():
    async def play():
        serve = serving(waiting=1, limits=Limits(max_new_tokens=10))
        running = serve.admission.ask()
        for prompt, options, error in [
            ("x" * 99, {"context_len": 50, "max_new_tokens": 5}, ContextLengthError),
            ("x", {"temperature": -1, "max_new_tokens": 5}, SamplingError),
            ("x", {"max_new_tokens": 11}, RequestError),
        ]:
            with pytest.raises(error):
                async with serve.answer(prompt, **options):
                    pass
        assert serve.admission.load().waiting == 0
        running.leave()

    asyncio.run(play())


def test_a_prompt_that_is_refused_or_left_while_waiting_is_as_it_was():
    async def play():
        serve, prompt = serving(waiting=1), question()
        running = serve.admission.ask()

        async def ask():
            async with serve.answer(prompt):
                pass

        task = asyncio.create_task(ask())
        while not prompt.get_history()[-1].role_name.startswith("ASSISTANT"):
            await asyncio.sleep(0.001)
        with pytest.raises(TooManyRequests):
            async with serve.answer("Hi"):
                pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(prompt.get_history()) == 1
        running.leave()
        async with serve.answer(prompt) as answer:
            assert "".join([d.text async for d in answer]) == "Hello you"

    asyncio.run(play())


def test_two_answers_to_one_prompt_are_busy():
    async def play():
        serve, prompt = serving(running=2, delay=0.01), question()
        async with serve.answer(prompt):
            with pytest.raises(ChatBusy):
                async with serve.answer(prompt):
                    pass
            assert serve.admission.load().running == 1

    asyncio.run(play())


def test_a_function_is_asked_for_its_prompt_once_the_slot_is_there():
    async def play():
        serve, asked = serving(waiting=1), []
        first = serve.admission.ask()

        async def make():
            asked.append(1)
            return "Hi"

        async def ask():
            async with serve.answer(make) as answer:
                return [d.text async for d in answer]

        second = asyncio.create_task(ask())
        await asyncio.sleep(0.01)
        assert not asked
        first.leave()
        assert "".join(await second) == "Hello you"
        assert asked == [1]

    asyncio.run(play())


def test_closing_lets_the_quick_finish_and_ends_the_slow_with_a_typed_end():
    async def play():
        serve = serving("Hello " * 99, running=2, delay=0.01)
        quick = Serving(ScriptedEngine("Hi"), admission=serve.admission)

        async def read(server):
            async with server.answer("Hi") as answer:
                return [delta.finish_reason async for delta in answer][-1]

        slow, fast = asyncio.create_task(read(serve)), asyncio.create_task(read(quick))
        await asyncio.sleep(0.05)
        assert not await serve.close(0.1)
        assert await fast == "eos"
        with pytest.raises(ServerClosing):
            await slow
        with pytest.raises(ServerClosing):
            await read(quick)
        await idle(serve)

    asyncio.run(play())


class Client:
    """An ASGI client that reads so many pieces, then goes, or stays and reads nothing."""

    def __init__(self, *, goes_after=None, stalls=False):
        self.sent, self.goes_after, self.stalls = [], goes_after, stalls
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        if self.goes_after is not None and len(self.sent) > self.goes_after:
            self.gone.set()
        if self.stalls:
            await asyncio.sleep(60)

    async def take(self, response):
        await response({"type": "http"}, self.receive, self.send)


def response_of(serve, limits=None):
    async def pieces():
        async with serve.answer("Hi") as answer:
            async for delta in answer:
                yield delta.text.encode()

    return Delivery(pieces(), limits=limits)


@pytest.mark.parametrize("goes_after", range(8))
def test_a_client_that_goes_frees_the_slot_before_the_response_returns(goes_after):
    async def play():
        serve = serving("Hello " * 99, delay=0.002)
        await Client(goes_after=goes_after).take(response_of(serve))
        await idle(serve)

    asyncio.run(play())


def test_a_client_that_reads_nothing_is_given_up():
    async def play():
        serve = serving("Hello " * 99)
        with pytest.raises(AnswerBroken):
            await Client(stalls=True).take(response_of(serve, Limits(write_stall_s=0.02)))
        await idle(serve)

    asyncio.run(play())


def test_a_fault_cuts_the_answer_instead_of_ending_it_well():
    async def play():
        serve, client = serving(fail_at=3), Client()
        with pytest.raises(EngineError):
            await client.take(response_of(serve))
        assert all(message.get("more_body", True) for message in client.sent)
        await idle(serve)

    asyncio.run(play())


def test_a_response_that_nobody_sends_holds_nothing():
    async def play():
        serve = serving()
        response_of(serve)
        await idle(serve)

    asyncio.run(play())
