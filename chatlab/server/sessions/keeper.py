"""The sessions that live: found by their cookie, made anew, forgotten when idle or too many."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.requests import Request

from chatlab.errors import ServerError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.server.sessions.cookie import COOKIE, cookie_header, is_cookie_name, new_session_id, session_id_of
from chatlab.server.sessions.session import Session

Revive = Callable[[Mapping[str, Any]], AbstractChatPrompt | None]
"""From what a prompt's ``to_dict`` wrote to the prompt; ``None`` where it is another class's."""


class SessionStore(Protocol):
    """Where sessions outlive the process. Its methods may block: they are called in a thread."""

    revive: Revive | None
    """How a prompt is read; given by the request handler."""

    def load(self, session_id: str) -> dict[str, Any] | None:
        """The data of a session, or ``None`` where there is none, or it has expired."""

    def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Keep the data, wholly or not at all."""

    def close(self) -> None:
        """Let go of what it holds; a second call does nothing."""


class SessionKeeper:
    """Sessions by cookie.

    An id that we did not give away is never adopted, so nobody can plant one. The memory holds ``cap`` sessions; one more
    pushes out the one that was idle longest, which a store still has.
    """

    def __init__(
        self,
        store: SessionStore | None = None,
        *,
        idle_s: float = 12 * 3600,
        cap: int = 1000,
        cookie: str = COOKIE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without sessions.

        Args:
            store: where they outlive this process; without one they end with it.
            idle_s: seconds after which an unused session is forgotten.
            cap: sessions in memory.
            cookie: the cookie's name.
            clock: seconds.

        Raises:
            ServerError: a number or the name is none.
        """
        if type(cap) is not int or cap < 1 or not idle_s > 0 or not is_cookie_name(cookie):
            raise ServerError(f"sessions need cap >= 1, idle_s > 0 and a cookie's name, not {(cap, idle_s, cookie)!r}")
        self._store, self._idle_s, self._cap, self._cookie, self._clock = store, idle_s, cap, cookie, clock
        self._live: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    async def find(self, request: Request) -> Session:
        """The session of a request, or a new one, which is kept once it is saved."""
        session_id = session_id_of(request, self._cookie)
        found = None if session_id is None else await self._known(session_id)
        return found or Session(new_session_id(), {}, self._save)

    def cookie_for(self, session: Session, request: Request) -> str | None:
        """The header that gives the session away; ``None`` where the request came with it."""
        if session_id_of(request, self._cookie) == session.session_id:
            return None
        return cookie_header(session.session_id, secure=request.url.scheme == "https", name=self._cookie)

    def revive_by(self, revive: Revive) -> None:
        """Say how a prompt that the store kept is read."""
        if self._store is not None:
            self._store.revive = revive

    async def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    async def _known(self, session_id: str) -> Session | None:
        self._forget_idle()
        if session_id not in self._live and self._store is not None:
            data = await asyncio.to_thread(self._store.load, session_id)
            if data is not None and session_id not in self._live:  # another request may have been quicker
                self._keep(Session(session_id, data, self._save))
        if session_id not in self._live:
            return None
        session, _ = self._live[session_id]
        self._keep(session)
        return session

    async def _save(self, session: Session) -> None:
        if self._store is not None:
            await asyncio.to_thread(self._store.save, session.session_id, session.get_session())
        self._keep(session)

    def _keep(self, session: Session) -> None:
        self._live[session.session_id] = session, self._clock()
        self._live.move_to_end(session.session_id)
        while len(self._live) > self._cap:
            self._live.popitem(last=False)

    def _forget_idle(self) -> None:
        until = self._clock() - self._idle_s
        while self._live and next(iter(self._live.values()))[1] < until:
            self._live.popitem(last=False)
