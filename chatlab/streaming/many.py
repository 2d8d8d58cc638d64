"""Several prompts at once, each reply ending on its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Self

from chatlab.engines.engine import Engine, Event
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineError
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Reporter
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.request import Request, build_request
from chatlab.streaming.result import Delta, StreamResult
from chatlab.streaming.run import Run


def stream_many(
    prompts: Sequence[Prompt],
    engine: Engine,
    params: SamplingParams | None = None,
    *,
    seed: int | None = None,
    **options: Any,
) -> ManyStream:
    """Stream the replies to several prompts; deltas come as they are made and say which ``row`` they belong to.

    >>> from chatlab.testing import ScriptedEngine
    >>> rows = stream_many(["Hi", "Ho"], ScriptedEngine(["one", "two!"]))
    >>> [result.text for result in rows.results()]
    ['one', 'two!']

    A row is exactly what ``stream`` gives for its prompt alone, where the engine keeps law L6. A row that fails ends
    with the reason ``error``; the others go on, and its error is raised after all have ended.

    Args:
        prompts: one a row; see :func:`chatlab.streaming.stream.stream`.
        engine: what continues the ids.
        params: for all rows.
        seed: of row 0; row n takes ``seed + n``, so that equal prompts get different replies.
        options: as for ``stream``.

    Raises:
        EngineError: one prompt object stands in two rows, which cannot both be its reply.
        ChatBusy: a stream that has not ended answers one of the prompt objects.
    """
    shared = [prompt for prompt in prompts if isinstance(prompt, AbstractChatPrompt)]
    if len({id(prompt) for prompt in shared}) < len(shared):
        raise EngineError("one prompt object stands in two rows: give each row its own prompt.copy()")
    first_seed = params.seed if seed is None and isinstance(params, SamplingParams) else seed
    requests: list[Request] = []
    runs: list[Run] = []
    try:
        requests.extend(build_request(prompt, engine, params, **options) for prompt in prompts)
        for row, request in enumerate(requests):
            runs.append(Run(engine, request, None if first_seed is None else first_seed + row, row))
    except BaseException:
        for run in runs:
            run.withdraw()
        for request in requests:
            request.open_reply.withdraw()
        raise
    return ManyStream(runs)


class ManyStream(Iterator[Delta]):
    """An iterator of the deltas of several replies; see :func:`stream_many`.

    Dropping the last reference ends all rows. Several threads may read it: each delta goes to one of them, and all
    see the end.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        """Listen to all runs at once."""
        self.runs = list(runs)
        """One a row, each with its ``text`` so far and its ``stop()``."""
        self._reading = threading.RLock()
        self._row: Run | None = None  # the one whose step is read: it may have given several deltas
        self._arrived: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        for row, run in enumerate(self.runs):
            # By number: the engine holds the sink, and a sink that held the run would keep it from being dropped.
            run.events.subscribe(partial(_hand_over, self._arrived, row))

    @property
    def texts(self) -> list[str]:
        """The shown text so far, row by row."""
        return [run.text for run in self.runs]

    def __iter__(self) -> Iterator[Delta]:
        try:
            yield from iter(self._next, None)
        finally:
            self.close()

    def __next__(self) -> Delta:
        delta = self._next()
        if delta is None:
            raise StopIteration
        return delta

    def stop(self) -> None:
        """End all rows, from any thread."""
        for run in self.runs:
            run.stop()

    def close(self) -> None:
        """End all rows; the texts so far stay, and what was held is one more delta."""
        for run in self.runs:
            run.cut()

    def results(self, *, progress: bool | Reporter = False) -> list[StreamResult]:
        """Read to the end and return the whole replies, row by row.

        Args:
            progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

        Raises:
            GenerationError: a row failed; ``texts`` still holds what came.
        """
        with Meter(progress, "answering", "prompts", len(self.runs)) as meter:
            while self._next() is not None:
                meter.reach(sum(run.ended for run in self.runs))
            meter.reach(len(self.runs))
        return [run.whole() for run in self.runs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _next(self) -> Delta | None:
        with self._reading:
            try:
                if (further := self._row.take_last() if self._row and self._row.waiting else None) is not None:
                    return further
                while not all(run.ended for run in self.runs):
                    row, event = self._arrived.get()
                    self._row = self.runs[row]
                    delta = self._row.take(event)
                    if delta is not None:  # after a stop string the engine may be some tokens ahead
                        return delta
            except BaseException:
                self.close()
                raise
            for run in self.runs:
                if (last := run.take_last()) is not None:
                    return last
            for run in self.runs:
                run.raise_error()
            return None


def _hand_over(arrived: SimpleQueue[tuple[int, Event]], row: int, event: Event) -> None:
    arrived.put((row, event))
