"""The seam between a model and everything that reads it: ids in, events out, one end."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from queue import Empty, SimpleQueue
from typing import Any, Literal, Self
from weakref import WeakSet

from chatlab.engines.sampling import MAX_SEED, SamplingParams
from chatlab.errors import ContextLengthError, EngineError, GenerationError, TokenIdError

FinishReason = Literal["stop", "eos", "length", "cancelled", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenEvent:
    """One token of the reply."""

    token_id: int
    index: int
    """Position in the reply, from 0."""
    t: float
    """Seconds since the request was submitted."""
    logprob: float | None = None
    """The model's own log probability of the token, where it was asked for."""
    top_logprobs: tuple[tuple[int, float], ...] | None = None
    """The likeliest ids with theirs, likeliest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """How likely a model finds an id after those before it."""

    token_id: int
    logprob: float | None = None
    """``None`` for the first, which nothing stands before."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest ids there with theirs, likeliest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEvent:
    """A piece of the reply from a server that gives text and no ids."""

    text: str
    index: int
    t: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EndEvent:
    """The last event of every request: it comes exactly once, however the request ends."""

    finish_reason: FinishReason
    token_len: int
    """How many events came before."""
    t: float
    error: EngineError | None = None
    """What went wrong when the reason is ``error``; its ``__cause__`` is what the model raised."""


Event = TokenEvent | TextEvent | EndEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixUse:
    """How much of a prompt was not read again, because an earlier request had read it."""

    kept_len: int
    """Ids at the prompt's beginning whose keys and values were there already."""
    lost_len: int
    """Ids of the request they are of that the prompt does not go on with: 0 where it begins with all of them."""


Scores = tuple[TokenScore, ...]
Cancelled = Callable[[], bool]
"""Asked between two steps whether to leave off."""


def never() -> bool:
    """Nobody cancels."""
    return False


class Emitter:
    """The engine's hand on a request: it stamps and delivers the events, and sees whether to go on.

    Events wait in an unbounded queue, so a consumer that never reads cannot hold the engine up; their number
    is bounded by ``max_new_tokens``.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        """Begin the clock; ``wake`` is called when a consumer cancels, for engines that wait on something."""
        self.cancelled = False
        self.token_len = 0
        self.prefix: PrefixUse | None = None
        self._wake = wake
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._sink: Callable[[Event], object] = self._queue.put
        self._lock = threading.Lock()
        self._ended = False
        self._start = time.perf_counter()

    def token(
        self, token_id: int, logprob: float | None = None, top_logprobs: tuple[tuple[int, float], ...] | None = None
    ) -> None:
        """Deliver the next token."""
        index, self.token_len = self.token_len, self.token_len + 1
        t = time.perf_counter() - self._start
        self._put(TokenEvent(token_id=token_id, index=index, t=t, logprob=logprob, top_logprobs=top_logprobs))

    def text(self, text: str) -> None:
        """Deliver the next piece of text, from a server that gives no ids."""
        index, self.token_len = self.token_len, self.token_len + 1
        self._put(TextEvent(text=text, index=index, t=time.perf_counter() - self._start))

    def end(self, finish_reason: FinishReason, error: BaseException | None = None) -> None:
        """Deliver the end; a second call is ignored, because the first one tells what happened."""
        if self._ended:
            return
        self._ended = True
        t = time.perf_counter() - self._start
        typed = None if error is None else as_engine_error(error)
        self._put(EndEvent(finish_reason=finish_reason, token_len=self.token_len, t=t, error=typed))

    def cancel(self) -> None:
        """Ask the engine to stop before its next step."""
        self.cancelled = True
        if self._wake is not None:
            self._wake()

    def get(self, timeout: float | None = None) -> Event:
        """The next event; raises ``queue.Empty`` after ``timeout`` seconds."""
        event = self._queue.get(timeout=timeout)
        if isinstance(event, EndEvent):
            self._queue.put(event)  # another thread may wait for it as well
        return event

    def subscribe(self, sink: Callable[[Event], object]) -> None:
        """Hand events to ``sink`` from now on, in the engine's thread; those that waited come first."""
        with self._lock:
            while not self._queue.empty():
                sink(self._queue.get())
            self._sink = sink

    def leave_behind(self) -> None:
        """In a forked child: end a request that goes on in the parent alone."""
        release_left_lock(self._lock)
        self.end(
            "error", EngineError("the process was forked while this streamed: it goes on in the parent, read it there")
        )

    def _put(self, event: Event) -> None:
        with self._lock:
            try:
                self._sink(event)
            except Exception:
                # The consumer is gone (a closed event loop, say): its fault must not reach the engine's other requests.
                self.cancelled, self._sink = True, _nowhere


def _nowhere(event: Event) -> None:
    pass


class TokenStream:
    """The consumer's hand on a request: an iterator of its events that ends after the ``EndEvent``.

    Dropping the last reference cancels the request, so nothing generates for nobody; one that hands its events to a
    callback lives until its end.
    """

    def __init__(self, emitter: Emitter, *, prompt_len: int, seed: int | None) -> None:
        self._emitter = emitter
        self.prompt_len = prompt_len
        """Ids of the prompt."""
        self.seed = seed
        """The seed that was used, also when none was given; ``None`` where none could repeat the reply."""
        self.end: EndEvent | None = None
        """The last event, once it was read."""

    @property
    def prefix(self) -> PrefixUse | None:
        """How much of the prompt was read before, from the first event on; ``None`` where the engine does not tell."""
        return self._emitter.prefix

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self.end is not None:
            raise StopIteration
        return self._seen(self._emitter.get())

    def get(self, timeout: float) -> Event:
        """The next event.

        Raises:
            TimeoutError: none came within ``timeout`` seconds. The request goes on.
        """
        try:
            return self._seen(self._emitter.get(timeout))
        except Empty:
            raise TimeoutError(f"no event within {timeout} s: the engine is busy, or wait longer") from None

    def subscribe(self, callback: Callable[[Event], object]) -> None:
        """Be called with each event, in the engine's thread, instead of reading them here.

        The callback must return soon and must not raise; asyncio hands over with ``call_soon_threadsafe``.
        """
        self._emitter.subscribe(lambda event: callback(self._seen(event)))

    def cancel(self) -> None:
        """Ask the engine to stop; it takes effect within one step, and the ``EndEvent`` still comes."""
        self._emitter.cancel()

    def __del__(self) -> None:
        self._emitter.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()

    def _seen(self, event: Event) -> Event:
        if isinstance(event, EndEvent):
            self.end = event
        return event


_OPEN: WeakSet[Engine] = WeakSet()


@atexit.register
def _close_open_engines() -> None:
    """End what still runs: a worker inside torch that the interpreter kills at its exit takes the process with it."""
    for engine in list(_OPEN):
        with suppress(Exception):  # an engine that its constructor refused has nothing to close; the others have
            engine.close()


def _begin_anew() -> None:
    for engine in list(_OPEN):
        with suppress(AttributeError):  # one that its constructor refused
            engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def release_left_lock(lock: threading.Lock) -> None:
    """Free a lock in a forked child, where the thread that held it does not live."""
    if lock.locked():
        lock.release()


class Engine(ABC):
    """Something that continues token ids.

    **Law L6.** Same ids, same seed, same params give the same ids, alone or among others, where the engine says
    so. A cancel takes effect within one step. An exception reaches the consumer within one step, as the typed
    error of the one ``EndEvent`` that every accepted request gets.
    """

    tokenizer: Any = None
    """The tokenizer of the model, for those who come with text; ``None`` where only ids go in."""
    eos_ids: frozenset[int] = frozenset()
    """Ids that end a reply."""
    can_score: bool = False
    """Whether it has :meth:`score`."""
    reads_text: bool = False
    """Whether the prompt goes on as text, so that :meth:`submit_text` knows better than :meth:`submit`."""
    tells_ids: bool = True
    """Whether a reply comes as ids, all of them, and not as text."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Keep track of every engine, so that none outlives the program."""
        engine = super().__new__(cls)
        _OPEN.add(engine)
        return engine

    @abstractmethod
    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request and return its events.

        Args:
            prompt_ids: what the model reads; one id or more.
            params: how to go on; the defaults of :class:`SamplingParams` when left out. Stop *strings* are the
                business of :func:`chatlab.streaming.stream.stream`, which knows text.
            seed: stands in for ``params.seed``.

        Raises:
            ContextLengthError: the prompt fills the context.
            TokenIdError: an id is no integer or outside the vocabulary, or there is none.
            EngineClosed: the engine was closed.
        """

    def submit_text(
        self, text: str, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request whose text is known beside its ids; an engine that reads ids goes by those."""
        return self.submit(prompt_ids, params, seed=seed)

    def score(self, token_ids: Sequence[int], *, top_len: int = 0, cancelled: Cancelled = never) -> Scores | None:
        """How likely the model finds each of these ids after those before it; ``None`` where it was ``cancelled``.

        Raises:
            EngineError: the engine does not score ids.
        """
        raise EngineError(f"a {type(self).__name__} does not score ids: use a LocalEngine")

    def after_fork(self) -> None:  # noqa: B027 - an engine without threads has nothing to forget
        """Begin anew in a forked child, where no thread of the parent's lives: an engine with a worker forgets it."""

    @property
    @abstractmethod
    def active_len(self) -> int:
        """How many requests have not ended."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what runs and take no more requests; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_prompt(prompt_ids: Sequence[int], *, vocab_len: int | None, context_len: int) -> list[int]:
    """The ids as a list, when a model can take them.

    Raises:
        TokenIdError: there is no id, or one is no integer or not in ``0 <= id < vocab_len``.
        ContextLengthError: they leave no room for one more token.
    """
    if isinstance(prompt_ids, (str, bytes)):
        raise TokenIdError(f"a prompt is a list of token ids here, not {type(prompt_ids).__name__}: encode it first")
    try:
        token_ids = [index(token_id) for token_id in prompt_ids]  # NumPy's and torch's integers are integers, too
    except TypeError as error:
        raise TokenIdError(f"a prompt of token ids holds something that is no integer: {error}") from error
    if not token_ids:
        raise TokenIdError("the prompt has no token ids: a model needs at least one, such as its <s>")
    if (low := min(token_ids)) < 0 or (vocab_len is not None and max(token_ids) >= vocab_len):
        wrong = low if low < 0 else max(token_ids)
        raise TokenIdError(f"token id {wrong} is outside the vocabulary (0 <= id < {vocab_len or 'its length'})")
    if len(token_ids) >= context_len:
        raise ContextLengthError(
            f"the prompt has {len(token_ids)} tokens and the context {context_len}: no room for a reply. "
            "Shorten it, raise context_len where the model allows, or let stream(..., overflow='drop_turns') leave "
            "out the oldest turns."
        )
    return token_ids


def pick_seed(params: SamplingParams, seed: int | None) -> int:
    """The seed of a request: the one given, else the parameters' own, else a new one."""
    if seed is not None:
        return SamplingParams(seed=seed).seed or 0
    return secrets.randbelow(MAX_SEED) if params.seed is None else params.seed


def hidden_ids(engine: Engine, params: SamplingParams, special_ids: Collection[int]) -> frozenset[int]:
    """Ids that are never shown: special tokens, and whatever ends a reply."""
    return frozenset(special_ids) | engine.eos_ids | frozenset(params.stop_ids)


def as_engine_error(error: BaseException) -> EngineError:
    """``error`` itself when it is typed, else a ``GenerationError`` that has it as ``__cause__``."""
    if isinstance(error, EngineError):
        return error
    typed = GenerationError(f"generation failed: {type(error).__name__}: {error}")
    typed.__cause__ = error
    return typed
