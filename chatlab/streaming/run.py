"""One request under way, and the reply that grows from it: the part that needs no waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from chatlab.engines.engine import EndEvent, Engine, Event, PrefixUse, TokenStream
from chatlab.errors import EngineError
from chatlab.streaming.channels import Channels, Passage
from chatlab.streaming.reply import Reply
from chatlab.streaming.request import Request
from chatlab.streaming.result import Delta, StreamResult


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
        self.waiting: deque[Delta] = deque()
        """Deltas that are made and not read: the further ones of a step, and what was held when the reply was cut."""
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
    def rest(self) -> str:
        """What the model wrote behind the stop string, as far as it came with it."""
        return self._reply.rest

    @property
    def prefix(self) -> PrefixUse | None:
        """How much of the prompt was read before, from the first delta on; ``None`` where the engine does not tell."""
        return self.events.prefix

    @property
    def stop_str(self) -> str | None:
        """The stop string that was found."""
        return self._reply.stop

    @property
    def channels(self) -> Channels | None:
        """How the reply is split; ``None`` where it is not."""
        return self._reply.channels

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The channels of the shown text so far, delimiters included; none where they were not asked for."""
        return self._reply.passages

    def message(self, tools: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The reply so far as OpenAI's interface has a message.

        See :func:`chatlab.streaming.channel_formats.message.message_of`, which also says what becomes of a tool call that
        cannot be read. Without ``channels`` all is content.
        """
        return self._reply.message(tools)

    @property
    def ended(self) -> bool:
        """Whether the last delta is made."""
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
            if isinstance(event, EndEvent) and event.error is not None and self._reply.finish_reason == "error":
                self.error = event.error
            if self._reply.finish_reason is not None:
                self.events.cancel()
            self._remember(delta)
            if self._reply.following:
                self.waiting += self._further()
            return delta

    def _further(self) -> list[Delta]:
        further, self._reply.following = self._reply.following, []
        return further

    def withdraw(self) -> None:
        """Cancel a request that nobody will read, and take its reply back."""
        self.events.cancel()
        self.request.open_reply.withdraw()

    def _remember(self, delta: Delta) -> None:
        if delta.text or delta.delimiter or self.ended:
            self.request.open_reply.fill(self._reply.text)
        if self.ended:
            self.request.open_reply.end(None if self.request.channels is None else self._reply.message())
            self.request.keep(self._reply)

    def cut(self) -> None:
        """End here and now: what comes later is not read, and what is held makes the last delta."""
        self.events.cancel()
        with self._writing:
            if not self.ended:
                last = self._reply.finish("cancelled")
                self._remember(last)
                deltas = [last, *self._further()]
                self.waiting += deltas if any(delta.text or delta.delimiter for delta in deltas) else ()

    def take_last(self) -> Delta | None:
        """The next delta that is made already, for the one who reads on, and once."""
        with self._writing:
            return self.waiting.popleft() if self.waiting else None

    def last_or_raise(self) -> Delta | None:
        """What a reader gets that needs no waiting: a delta that nobody had, after the end the error, or nothing."""
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
