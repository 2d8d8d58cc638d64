"""``stream`` and ``astream``: from a prompt and an engine to deltas of text that can always be stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from chatlab.engines.engine import Engine, Event
from chatlab.engines.sampling import SamplingParams
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.request import Request, build_request
from chatlab.streaming.result import Delta, StreamResult
from chatlab.streaming.run import Run


def stream(
    prompt: Prompt, engine: Engine, params: SamplingParams | None = None, *, seed: int | None = None, **options: Any
) -> TextStream:
    r"""Stream the reply of a model to a prompt.

    >>> from chatlab.testing import ScriptedEngine
    >>> reply = stream("Hi", ScriptedEngine("Hello you!"), stop=["!"])
    >>> [delta.text for delta in reply][:3], reply.text, reply.result().finish_reason
    (['H', 'e', 'l'], 'Hello you', 'stop')

    Leaving the loop or the ``with`` block, ``close()``, ``stop()`` from any thread and an interrupt all end the
    generation within one step of the engine; the text so far stays.

    Args:
        prompt: a prompt class, whose open reply is filled as it streams and whose stop strings and output
            replacements apply; messages for the model's chat template; text; token ids as they are; or a
            :class:`chatlab.Conversation`, of which nothing is encoded again.
        engine: what continues the ids.
        params: how; single fields may also be given by name, as in ``temperature=0``.
        seed: stands in for ``params.seed``.
        options: ``tokenizer`` instead of the engine's own; ``add_special_tokens`` (by default: unless the text
            begins with one); ``allow_control_tokens=True`` when every message of a prompt class is trusted;
            ``replacements`` for the shown text; ``skip_special_tokens=False`` to show them;
            ``channels`` splits the reply into content, reasoning and tool calls: ``"auto"`` asks the prompt and the
            tokenizer how, or give a format's name or ``(channel, opening, closing)`` triples, and read
            ``delta.channel`` and ``reply.message()``, which a prompt that holds messages gets in its history;
            ``include_stop_str_in_output=True`` shows the stop string, too; ``overflow="drop_turns"`` to leave out the oldest turns of a prompt that is longer than the context
            allows, where the default is an error; and the fields of ``SamplingParams``.

    Raises:
        PromptError: ``prompt`` is none, or its class returns what is no text.
        SamplingError: a parameter is unknown or out of its bounds.
        ChannelError: ``channels`` are none.
        ContextLengthError: the prompt does not fit.
        RoleOrderError: the prompt class holds no question to answer.
        ChatBusy: another stream that has not ended answers the same prompt object.
        ConversationError: what stands behind the last reply of a conversation cannot be told.
        GenerationError: while iterating, after the last delta: the model or the decoder raised.
    """
    return TextStream(engine, build_request(prompt, engine, params, **options), seed)


def astream(
    prompt: Prompt, engine: Engine, params: SamplingParams | None = None, *, seed: int | None = None, **options: Any
) -> AsyncTextStream:
    """Stream the reply of a model to a prompt, for ``async for``; the arguments are those of :func:`stream`.

    A cancelled task, a left ``async with`` and ``aclose()`` end the generation within one step of the engine.
    """
    return AsyncTextStream(engine, build_request(prompt, engine, params, **options), seed)


class TextStream(Run, Iterator[Delta]):
    """An iterator of deltas; see :func:`stream`.

    Several threads may read it: each delta goes to one of them, and all see the end.
    """

    def __init__(self, engine: Engine, request: Request, seed: int | None) -> None:
        super().__init__(engine, request, seed)
        self._reading = threading.RLock()

    def __iter__(self) -> Iterator[Delta]:
        # A generator of its own, because Python closes it when the loop is left; the object itself lives on.
        try:
            yield from iter(self._next, None)
        finally:
            self.close()

    def __next__(self) -> Delta:
        delta = self._next()
        if delta is None:
            raise StopIteration
        return delta

    def close(self) -> None:
        """End the generation; the text so far stays, and what was held is one more delta. After the end it does nothing."""
        self.cut()

    def result(self) -> StreamResult:
        """Read to the end and return the whole reply.

        Raises:
            GenerationError: the model or the decoder raised; :attr:`text` still holds what came before.
        """
        while self._next() is not None:
            pass
        return self.whole()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _next(self) -> Delta | None:
        with self._reading:
            if self.ended or self.waiting:
                return self.last_or_raise()
            try:
                return self.take(next(self.events))
            except BaseException:  # an interrupt above all: nobody reads on, so nothing may run on
                self.close()
                raise


class AsyncTextStream(Run):
    """An asynchronous iterator of deltas; see :func:`astream`. It needs a running event loop from its first use.

    Several tasks of that loop may read it: each delta goes to one of them, and all see the end.
    """

    def __init__(self, engine: Engine, request: Request, seed: int | None) -> None:
        super().__init__(engine, request, seed)
        self._arrived: asyncio.Queue[Event] | None = None
        self._reading = asyncio.Lock()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        try:
            while (delta := await self._anext()) is not None:
                yield delta
        finally:
            await self.aclose()

    async def __anext__(self) -> Delta:
        delta = await self._anext()
        if delta is None:
            raise StopAsyncIteration
        return delta

    async def aclose(self) -> None:
        """End the generation; the text so far stays, and what was held is one more delta. After the end it does nothing."""
        self.cut()

    async def result(self) -> StreamResult:
        """Read to the end and return the whole reply.

        Raises:
            GenerationError: the model or the decoder raised; :attr:`text` still holds what came before.
        """
        while await self._anext() is not None:
            pass
        return self.whole()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _anext(self) -> Delta | None:
        async with self._reading:
            if self.ended or self.waiting:
                return self.last_or_raise()
            try:
                return self.take(await self._queue().get())
            except BaseException:  # a cancelled task above all
                self.cut()
                raise

    def _queue(self) -> asyncio.Queue[Event]:
        if self._arrived is None:
            loop, arrived = asyncio.get_running_loop(), asyncio.Queue[Event]()
            self._arrived = arrived
            self.events.subscribe(lambda event: loop.call_soon_threadsafe(arrived.put_nowait, event))
        return self._arrived
