"""One request under way, and the reply that grows from it: the part that needs no waiting."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from chatlab.engines.engine import EndEvent, Engine, Event, TokenStream
from chatlab.errors import ChatBusy, EngineError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.streaming.reply import Delta, Reply, StreamResult
from chatlab.streaming.request import Prompt, Request, close_reply

# A run keeps its prompt, so no other prompt can have its id while the run is here.
_ANSWERED: WeakValueDictionary[int, Run] = WeakValueDictionary()
_ANSWERED_LOCK = threading.Lock()


class Run:
    """What every kind of stream is made of: a request under way, and the reply that grows from it.

    Dropping the last reference cancels the request, so nothing generates for nobody.
    """

    events: TokenStream

    def __init__(self, prompt: Prompt, engine: Engine, request: Request, seed: int | None, row: int = 0) -> None:
        """Submit the request.

        Raises:
            ChatBusy: another stream that has not ended answers the same prompt object.
        """
        self.request = request
        self.error: EngineError | None = None
        """What ended the reply, when the reason is ``error``."""
        self._prompt = prompt if isinstance(prompt, AbstractChatPrompt) else None
        self._writing = threading.RLock()  # one thread may close what another one reads
        try:
            self._reply: Reply = request.reply(row)
            self._claim_prompt()
            self.events = (
                engine.submit(request.prompt_ids, request.params, seed=seed)
                if request.prompt_text is None
                else engine.submit_text(request.prompt_text, request.prompt_ids, request.params, seed=seed)
            )
        except BaseException:
            self.withdraw()
            close_reply(prompt, request.opened_reply)
            raise

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
                return None
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

    def _claim_prompt(self) -> None:
        """See to it that no other stream writes its reply into the same prompt."""
        if self._prompt is None:
            return
        with _ANSWERED_LOCK:
            other = _ANSWERED.get(id(self._prompt))
            if other is not None and not other.ended:
                raise ChatBusy(
                    "another stream answers this prompt: read it to its end or close() it, or give prompt.copy()"
                )
            _ANSWERED[id(self._prompt)] = self

    def withdraw(self) -> None:
        """Cancel a request that nobody will read, and let go of its prompt as it is."""
        if hasattr(self, "events"):
            self.events.cancel()
        with _ANSWERED_LOCK:
            if self._prompt is not None and _ANSWERED.get(id(self._prompt)) is self:
                del _ANSWERED[id(self._prompt)]

    def _remember(self, delta: Delta) -> None:
        if self._prompt is not None and (delta.text or delta.finish_reason is not None):
            self._prompt.set_responder_last_msg(self._reply.text)

    def cut(self) -> None:
        """End here and now: what comes later is not read."""
        self.events.cancel()
        with self._writing:
            if not self.ended:
                self._remember(self._reply.finish("cancelled"))

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
