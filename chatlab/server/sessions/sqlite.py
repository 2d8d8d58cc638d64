"""Sessions in an SQLite file: each save is one transaction, on the disk before it returns."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatlab.errors import ServerError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.server.sessions.keeper import Revive

_PROMPT = "chat_prompt"


class SqliteSessions:
    """A store of sessions that outlives the process, and its being killed.

    One process has the file at a time, so that no two of them write one history. Kept are the prompt as its ``to_dict``
    tells it and whatever else is plain JSON; of an id, its hash, so that the file gives no session away.
    """

    def __init__(
        self, path: str | Path, *, idle_s: float = 30 * 24 * 3600, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the file, or make it.

        Args:
            path: the file.
            idle_s: seconds after which an unused session is deleted.
            clock: seconds since the epoch.

        Raises:
            ServerError: it is no such file, or another process has it.
        """
        self.revive: Revive | None = None
        self._path, self._idle_s, self._clock = Path(path), idle_s, clock
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, used REAL NOT NULL, data TEXT NOT NULL)"
            )
            self._connection.execute("DELETE FROM sessions WHERE used < ?", (self._clock() - idle_s,))
        except sqlite3.Error as error:
            self.close()
            raise ServerError(
                f"sessions cannot be kept in {self._path.name!r} ({error}): another process has it, or it is another file"
            ) from error

    def load(self, session_id: str) -> dict[str, Any] | None:
        """The data of a session; see :class:`chatlab.server.sessions.keeper.SessionStore`.

        Raises:
            ServerError: the file cannot be read.
        """
        rows = self._run(
            "SELECT data FROM sessions WHERE id = ? AND used >= ?", _hash(session_id), self._clock() - self._idle_s
        )
        return self._read(rows[0][0]) if rows else None

    def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Keep the data, wholly or not at all.

        Raises:
            ServerError: the data hold what is no JSON, or the file cannot be written.
        """
        prompt = data.get(_PROMPT)
        plain = {**data, _PROMPT: prompt.to_dict() if isinstance(prompt, AbstractChatPrompt) else None}
        try:
            text = json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ServerError(
                f"a session that is kept in a file holds JSON and its chat_prompt alone: {error}"
            ) from error
        self._run("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", _hash(session_id), self._clock(), text)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            with self._lock:
                connection.close()

    def _run(self, statement: str, *values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise ServerError(f"sessions cannot be kept in {self._path.name!r}: {error}") from error

    def _read(self, text: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(text)
        kept = data.pop(_PROMPT)
        prompt = self.revive(kept) if kept is not None and self.revive is not None else None
        if prompt is not None:
            data[_PROMPT] = prompt
        return data


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
