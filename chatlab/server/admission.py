"""Who may run, who waits, and who is turned away: exact counts, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from chatlab.errors import ServerClosing, ServerError, SessionBusy, TooManyRequests

OnPlace = Callable[[int], Awaitable[None] | None]
"""Told the place in the queue, from 1, at first and whenever it changes."""


class _State(Enum):
    WAITING = 1
    RUNNING = 2
    RESTING = 3
    """Runs no more, and its key is still its own."""
    LEFT = 4


@dataclass(eq=False)
class _Seat:
    key: Hashable | None
    state: _State
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """How full it is."""

    running: int
    waiting: int
    max_running: int
    max_waiting: int


class Ticket:
    """A request that was let in: it runs or waits, and leaves once.

    Leaving twice does nothing; dropping the last reference leaves too, so a request that its program forgot holds nothing.
    """

    def __init__(self, admission: Admission, seat: _Seat) -> None:
        self._admission = admission
        self._seat = seat

    @property
    def place(self) -> int:
        """The place in the queue, from 1; 0 once it runs, or has left."""
        return self._admission._place_of(self._seat)

    async def wait(self, on_place: OnPlace | None = None) -> None:
        """Wait until it runs.

        Raises:
            ServerClosing: the server began to shut down before its turn came.
            ServerError: it has left.
        """
        told = 0
        while self._seat.state is _State.WAITING:
            place = self.place
            if on_place is not None and place != told:
                told = place
                said = on_place(place)
                if said is not None:
                    await said
            await self._seat.changed.wait()
            self._seat.changed.clear()
        if self._seat.state is _State.LEFT:
            self._admission._refuse_when_closing()
            raise ServerError("this request has left the queue: ask anew")

    def rest(self) -> None:
        """Free the slot, and keep the key: what the answer was for, such as a history, is still to be written down."""
        self._admission._rest(self._seat)

    def leave(self) -> None:
        """Free all it has, the slot or the place for the next one at once."""
        self._admission._leave(self._seat)

    def __del__(self) -> None:
        self.leave()


class Admission:
    """Exactly so many run and so many wait, however they come and go.

    **Law L7, this part.** At every moment at most ``running`` run and ``waiting`` wait; a request is turned away only when
    that many do; a slot is freed exactly once, by whatever way its request ends; whoever waits longest and may run is next.
    It lives in one event loop and decides without awaiting anything, so that no burst can slip between look and seat.

    >>> admission = Admission(running=1, waiting=1)
    >>> first, second = admission.ask(), admission.ask()
    >>> first.place, second.place
    (0, 1)
    >>> admission.ask()
    Traceback (most recent call last):
    chatlab.errors.TooManyRequests: 1 running and 1 waiting is all this server takes: ask again in 2 s
    >>> first.leave(), second.place
    (None, 0)
    """

    def __init__(self, running: int = 2, waiting: int = 5, *, busy: Literal["refuse", "queue"] = "refuse") -> None:
        """Set the counts.

        Args:
            running: how many may run; 1 or more.
            waiting: how many may wait; 0 turns away whoever cannot run at once.
            busy: what a second request of one key meets: a refusal, or a place in the queue behind the first.

        Raises:
            ServerError: a count is no whole number in its bounds.
        """
        for name, number, least in (("running", running, 1), ("waiting", waiting, 0)):
            if type(number) is not int or number < least:
                raise ServerError(f"{name} must be a whole number of {least} or more, not {number!r}")
        if busy not in ("refuse", "queue"):
            raise ServerError(f"busy must be 'refuse' or 'queue', not {busy!r}")
        self._max_running, self._max_waiting = running, waiting
        self.busy = busy
        """What a second request of one key meets."""
        self._running: set[_Seat] = set()
        self._waiting: list[_Seat] = []
        self._resting: set[_Seat] = set()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._mean_s = 1.0

    def ask(self, key: Hashable | None = None) -> Ticket:
        """Let a request in, to run or to wait, or turn it away; it takes no time.

        Args:
            key: one running turn for each, such as a session's id; ``None`` belongs to nobody.

        Raises:
            TooManyRequests: as many run and wait as may.
            SessionBusy: a request of this key has not left, and ``busy`` is ``"refuse"``.
            ServerClosing: the server shuts down.
        """
        self._refuse_when_closing()
        same = self.has(key)
        if same and self.busy == "refuse":
            raise SessionBusy("another answer of this session is under way: wait for its end, or stop it")
        if not same and len(self._running) < self._max_running:
            seat = _Seat(key, _State.RUNNING, since=time.monotonic())
            self._running.add(seat)
        elif len(self._waiting) < self._max_waiting:
            seat = _Seat(key, _State.WAITING)
            self._waiting.append(seat)
        else:
            raise self._too_many()
        self._idle.clear()
        return Ticket(self, seat)

    @asynccontextmanager
    async def enter(self, key: Hashable | None = None, on_place: OnPlace | None = None) -> AsyncIterator[Ticket]:
        """Run inside the block: ask, wait, and leave by whatever way the block ends; see :meth:`ask`."""
        ticket = self.ask(key)
        try:
            await ticket.wait(on_place)
            yield ticket
        finally:
            ticket.leave()

    def has(self, key: Hashable | None) -> bool:
        """Whether a request of this key runs or waits."""
        return key is not None and any(seat.key == key for seat in (*self._running, *self._waiting, *self._resting))

    def load(self) -> Load:
        """How full it is now."""
        return Load(
            running=len(self._running),
            waiting=len(self._waiting),
            max_running=self._max_running,
            max_waiting=self._max_waiting,
        )

    @property
    def closing(self) -> bool:
        """Whether it takes no more requests."""
        return self._closing

    async def close(self, grace_s: float = 0.0) -> bool:
        """Take no more requests, turn away those who wait, and give those who run so much time; tell whether all left."""
        self._closing = True
        for seat in list(self._waiting):
            self._leave(seat)
        if not self._idle.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(grace_s, 0.0)):
                    await self._idle.wait()
        return self._idle.is_set()

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise ServerClosing("this server shuts down and takes no more requests: ask again later")

    def _too_many(self) -> TooManyRequests:
        place = len(self._waiting) + 1
        retry_after = min(60.0, max(1.0, self._mean_s * place / self._max_running))
        return TooManyRequests(
            f"{len(self._running)} running and {len(self._waiting)} waiting is all this server takes: "
            f"ask again in {retry_after:.0f} s",
            place=place,
            retry_after=retry_after,
        )

    def _place_of(self, seat: _Seat) -> int:
        return self._waiting.index(seat) + 1 if seat.state is _State.WAITING else 0

    def _rest(self, seat: _Seat) -> None:
        if seat.state is _State.RUNNING:
            self._free_slot(seat)
            self._resting.add(seat)
            seat.state = _State.RESTING
            self._seat_the_next()

    def _leave(self, seat: _Seat) -> None:
        if seat.state is _State.RUNNING:
            self._free_slot(seat)
        elif seat.state is _State.WAITING:
            self._waiting.remove(seat)
        elif seat.state is _State.RESTING:
            self._resting.remove(seat)
        else:
            return
        seat.state = _State.LEFT
        seat.changed.set()
        self._seat_the_next()

    def _free_slot(self, seat: _Seat) -> None:
        self._running.remove(seat)
        self._mean_s += (time.monotonic() - seat.since - self._mean_s) / 8

    def _seat_the_next(self) -> None:
        """Whoever waits longest and whose key nobody has, for as long as there are slots; tell the others their place."""
        keys = {seat.key for seat in (*self._running, *self._resting)} - {None}
        for seat in list(self._waiting):
            if len(self._running) < self._max_running and seat.key not in keys:
                self._waiting.remove(seat)
                self._running.add(seat)
                seat.state, seat.since = _State.RUNNING, time.monotonic()
            if seat.key is not None:
                keys.add(seat.key)  # whoever waits of a key is before the next one of it
            seat.changed.set()
        if not self._running and not self._waiting and not self._resting:
            self._idle.set()
