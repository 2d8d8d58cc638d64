"""One user's data on the server, in the form that ChatStream's programs have it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SessionObject(Protocol):
    """What a session middleware puts at ``request.state.session``."""

    def get_session(self) -> dict[str, Any]:
        """The data, to read and to change."""

    def save_session(self) -> Any:
        """Keep what was changed; may be a coroutine."""


class Session:
    """A session of our own: its data, and how to keep them."""

    def __init__(self, session_id: str, data: dict[str, Any], save: Callable[[Session], Awaitable[None]]) -> None:
        self.session_id = session_id
        """256 random bits; whoever knows them is the user."""
        self._data = data
        self._save = save

    def get_session(self) -> dict[str, Any]:
        """The data, to read and to change."""
        return self._data

    async def save_session(self) -> None:
        """Keep the data."""
        await self._save(self)


def key_of(session: SessionObject | None) -> Hashable | None:
    """What makes two requests one session's: its id, or where it has none, its very data; ``None`` is nobody's."""
    if session is None:
        return None
    session_id = getattr(session, "session_id", None)
    return session_id if isinstance(session_id, str) else ("data", id(session.get_session()))
