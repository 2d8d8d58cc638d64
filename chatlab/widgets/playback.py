"""A stream that is read in a thread, so that the kernel stays free and Stop works."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from chatlab.streaming.result import deltas_of
from chatlab.streaming.stream import TextStream
from chatlab.widgets.arguments import check_item

if TYPE_CHECKING:
    from chatlab.streaming.result import Delta

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

    **Law.** The end always comes, and once: each sink gets one ``finish`` and after it nothing, whatever the source
    does (ends, raises, hangs in a step and is stopped) and whatever another sink does. :meth:`stop` does not wait for
    the source, so a chat can go on, or be cleared, at once.

    The thread is what lets a Stop button work while a cell waits and the kernel run other cells meanwhile. An
    interrupt of the waiting cell stops the stream too; what came stays in the sinks.
    """

    def __init__(self, source: Source, *sinks: Sink, result: Callable[[], Any] | None = None) -> None:
        """Begin at once; ``result`` makes what the waiting gives, in place of the source's own."""
        self._source = source
        self._make_result = result
        self._sinks = sinks
        self._feeding = threading.RLock()  # a sink may stop the stream that feeds it
        self._done = threading.Event()
        self.finish_reason: str | None = None
        self.error: BaseException | None = None
        """What the source raised."""
        self._chunks: list[str] = []
        self._read_len = len(source.text) if isinstance(source, TextStream) else 0  # others read that much before
        self._started = time.monotonic()
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
        """End the stream here and now, from any thread: the sinks have the end when this returns.

        A source in the midst of a step hears it when the step is over; what it says then is dropped.
        """
        with self._feeding:
            if self.finish_reason is not None:
                return
            try:
                self._end(self._cut())
            except Exception as raised:  # a prompt class of the user's may raise when its reply is filled
                self._end("error", raised)

    def finished(self, timeout: float | None = None) -> bool:
        """Wait until the last sink has the end, ``timeout`` seconds at most; tell whether it has."""
        return self._done.wait(timeout)

    def wait(self) -> Any:
        """Wait in this thread and return the result; a keyboard interrupt stops the stream and goes on its way."""
        try:
            while not self._done.wait(_POLL_S):  # one long wait would not hear the interrupt
                pass
        except BaseException:
            self.stop()  # so that the partial text stands before the traceback
            raise
        return self.result()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            while not self._done.is_set():  # a sleeping loop would not hear the kernel's interrupt
                await asyncio.sleep(_POLL_S)
        except BaseException:  # the cell was interrupted, or its task cancelled
            self.stop()
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
        return self._source.whole() if isinstance(self._source, TextStream) else self.text

    def _run(self) -> None:
        try:
            finish_reason = self._read()
        except BaseException as raised:
            self._end("error", raised)
        else:
            self._end(finish_reason)

    def _read(self) -> str:
        finish_reason = "eos"
        try:
            for new in self._source:
                check_item(new, "view.follow(item.text for item in source)")
                with self._feeding:
                    if self.finish_reason is not None:  # stopped meanwhile
                        break
                    self._put(new)
                finish_reason = getattr(new, "finish_reason", None) or finish_reason
        finally:
            if hasattr(self._source, "close"):
                self._source.close()
        return finish_reason

    def _cut(self) -> str:
        """End the source where that can be done, take what its buffer held back, and tell why it ended."""
        if not isinstance(self._source, TextStream):
            return "cancelled"
        self._source.close()
        read_len = self._read_len + len(self.text)
        if self._source.passages:
            for delta in deltas_of(self._source.passages, read_len):
                self._put(delta)
        elif rest := self._source.text[read_len:]:
            self._put(rest)
        return self._source.whole().finish_reason

    def _put(self, new: str | Delta) -> None:
        self._chunks.append(new if isinstance(new, str) else new.delimiter + new.text)
        for sink in self._sinks:
            if self.finish_reason is None:  # a sink before it may have stopped the stream
                sink.put(new)

    def _end(self, finish_reason: str, error: BaseException | None = None) -> None:
        with self._feeding:
            if self.finish_reason is not None:
                return
            self.finish_reason, self.error = finish_reason, error
            words = "" if error is None else f"{type(error).__name__}: {error}"
            try:
                for sink in self._sinks:
                    self._finish(sink, finish_reason, words)
            finally:
                self._done.set()

    def _finish(self, sink: Sink, finish_reason: str, error: str) -> None:
        try:
            sink.finish(finish_reason, error=error, seconds=time.monotonic() - self._started)
        except Exception as raised:  # the other sinks need their end, and whoever waits must hear of this one
            self.error = self.error or raised
