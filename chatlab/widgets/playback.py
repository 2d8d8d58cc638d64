"""A stream that is read in a thread, so that the kernel stays free and Stop works."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from chatlab.errors import ViewError

if TYPE_CHECKING:
    from chatlab.streaming.reply import Delta

Source = Iterable["str | Delta"]
"""What can be played: ``chatlab.stream(...)``, or any iterable of text fragments."""
_POLL_S = 0.03


class Sink(Protocol):
    """What a playback feeds."""

    def put(self, new: str | Delta) -> None:
        """Take what is new."""

    def finish(self, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        """Take the end."""


class Playback:
    """Read a source in a thread and feed it to sinks; wait with ``await`` in a cell, or with :meth:`wait`.

    The thread and an event are the one pair with which a Stop button works while a cell waits and the kernel can
    run other cells meanwhile. An interrupt of the waiting cell stops the stream too; what came stays in the sinks.
    """

    def __init__(self, source: Source, *sinks: Sink, result: Callable[[], Any] | None = None) -> None:
        """Begin at once; ``result`` makes what the waiting gives, in place of the source's own."""
        self._source = source
        self._make_result = result
        self._sinks = sinks
        self._stopped = threading.Event()
        self._done = threading.Event()
        self.finish_reason: str | None = None
        self.error: BaseException | None = None
        """What the source raised."""
        self._chunks: list[str] = []
        threading.Thread(target=self._run, name="chatlab-playback", daemon=True).start()

    def __repr__(self) -> str:
        """Say what to do with it; a cell that ends in one shows this."""
        if self.done:
            return f"<{type(self).__name__}, {self.finish_reason}: .result() has the reply>"
        return f"<{type(self).__name__}, running: await it for the reply>"

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._chunks)

    @property
    def done(self) -> bool:
        """Whether the last sink has the end."""
        return self._done.is_set()

    def stop(self) -> None:
        """End the stream, from any thread; returns at once."""
        self._stopped.set()
        if hasattr(self._source, "stop"):
            self._source.stop()  # an engine that has not said its first token must hear it too

    def finished(self, timeout: float | None = None) -> bool:
        """Wait until the last sink has the end, ``timeout`` seconds at most; tell whether it has."""
        return self._done.wait(timeout)

    def wait(self) -> Any:
        """Wait in this thread and return the result; a keyboard interrupt stops the stream and goes on its way."""
        try:
            while not self._done.wait(_POLL_S):  # one long wait would not hear the interrupt
                pass
        except BaseException:
            self._end_now()
            raise
        return self.result()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            while not self._done.is_set():  # a sleeping loop would not hear the kernel's interrupt
                await asyncio.sleep(_POLL_S)
        except BaseException:  # the cell was interrupted, or its task cancelled
            self._end_now()
            raise
        return self.result()

    def result(self) -> Any:
        """Return the whole reply: the source's own result, or the text.

        Raises:
            Exception: what the source raised; :attr:`text` still holds what came before.
        """
        if self.error is not None:
            raise self.error
        if self._make_result is not None:
            return self._make_result()
        return self._source.result() if hasattr(self._source, "result") else self.text

    def _end_now(self) -> None:
        self.stop()
        self.finished(1.0)  # so that the partial text stands before the traceback

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self.finish_reason = self._read()
        except BaseException as raised:
            self.finish_reason, self.error = "error", raised
        error = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        try:
            for sink in self._sinks:
                sink.finish(self.finish_reason, error=error, seconds=time.monotonic() - started)
        except Exception as raised:  # whoever waits must hear of it
            self.error = self.error or raised
        finally:
            self._done.set()

    def _read(self) -> str:
        finish_reason = "eos"
        try:
            for new in self._source:
                if not isinstance(new, str) and not hasattr(new, "token_ids"):
                    raise ViewError(
                        f"a view shows text or the deltas of chatlab.stream, not {type(new).__name__}: give it each "
                        "item's text, as in view.follow(item.text for item in source)"
                    )
                for sink in self._sinks:
                    sink.put(new)
                self._chunks.append(new if isinstance(new, str) else new.text)
                finish_reason = getattr(new, "finish_reason", None) or finish_reason
                if self._stopped.is_set() and not hasattr(self._source, "stop"):
                    return "cancelled"
        finally:
            if hasattr(self._source, "close"):
                self._source.close()
        return finish_reason
