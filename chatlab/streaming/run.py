"""One request under way, and the reply that grows from it: the part that needs no waiting."""

from __future__ import annotations

import threading

from chatlab.engines.engine import EndEvent, Engine, Event, TokenStream
from chatlab.errors import EngineError
from chatlab.streaming.reply import Delta, Reply, StreamResult
from chatlab.streaming.request import Request


class Run:
    """What every kind of stream is made of: a request under way, and the reply that grows from it.

    Dropping the last reference cancels the request, so nothing generates for nobody.
    """

    events: TokenStream

    def __init__(self, engine: Engine, request: Request, seed: int | None, row: int = 0) -> None:
        """Submit the request; one that the engine refuses is withdrawn."""
        self.request = request
        self.error: EngineError | None = None
        """What ended the reply, when the reason is ``error``."""
        self._last: Delta | None = None
        self._writing = threading.RLock()  # one thread may close what another one reads
        with request.open_reply:
            self._reply: Reply = request.new_reply(row)
            self.events = (
                engine.submit(request.prompt_ids, request.params, seed=seed)
                if request.prompt_text is None
                else engine.submit_text(request.prompt_text, request.prompt_ids, request.params, seed=seed)
            )

    def __del__(self) -> None:
        # Not left to the events' own: while they are subscribed to, the engine keeps them alive.
        if hasattr(self, "events"):
            self.events.cancel()

    @property
    def text(self) -> str:
        """The shown text so far."""
        return self._reply.text

    @property
    def raw_text(self) -> str:
        """The model's own text so far."""
        return self._reply.raw_text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The ids so far."""
        return tuple(self._reply.token_ids)

    @property
    def ended(self) -> bool:
        """Whether the last delta is out."""
        return self._reply.finish_reason is not None

    def stop(self) -> None:
        """End the generation, from any thread; the reader gets what is held and the reason ``cancelled``."""
        self.events.cancel()

    def take(self, event: Event) -> Delta | None:
        """The delta of an event; the last one also ends the request, and after the end there is none."""
        with self._writing:
            if self.ended:
                return self.take_last()
            try:
                delta = self._reply.put(event)
            except EngineError as error:
                self.error = error
                delta = self._reply.finish("error")
            if isinstance(event, EndEvent) and event.error is not None and delta.finish_reason == "error":
                self.error = event.error
            if delta.finish_reason is not None:
                self.events.cancel()
            self._remember(delta)
            return delta

    def withdraw(self) -> None:
        """Cancel a request that nobody will read, and take its reply back."""
        self.events.cancel()
        self.request.open_reply.withdraw()

    def _remember(self, delta: Delta) -> None:
        if delta.text or delta.finish_reason is not None:
            self.request.open_reply.fill(self._reply.text)
        if delta.finish_reason is not None:
            self.request.open_reply.end()

    def cut(self) -> None:
        """End here and now: what comes later is not read, and what is held makes the last delta."""
        self.events.cancel()
        with self._writing:
            if not self.ended:
                last = self._reply.finish("cancelled")
                self._remember(last)
                self._last = last if last.text else None

    def take_last(self) -> Delta | None:
        """The text that was held when the reply was cut, as its last delta: for the one who reads on, and once."""
        with self._writing:
            last, self._last = self._last, None
            return last

    def last_or_raise(self) -> Delta | None:
        """What a reader gets after the end: the last delta if nobody had it, or the error, or nothing."""
        last = self.take_last()
        if last is None:
            self.raise_error()
        return last

    def raise_error(self) -> None:
        """Raise what ended the reply, if something did."""
        if self.error is not None:
            raise self.error

    def whole(self) -> StreamResult:
        """The whole reply; raises what ended it, if something did."""
        self.raise_error()
        return self._reply.result(
            prompt_len=self.events.prompt_len, seed=self.events.seed, dropped_turns=self.request.dropped_turns
        )
