"""Count long work and tell how far it is; no front end here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sized
from types import TracebackType
from typing import Literal, Self

from chatlab.progress.progress import Progress, Reporter
from chatlab.progress.screens import screen


class Meter:
    """Count long work, and tell a reporter after each step.

    **Law.** What is told of ``done`` never falls and never exceeds ``total``. The last that is told, and only that,
    is no longer ``running``: ``done``, or ``stopped`` with the count at which an interrupt or an error came.

    >>> with Meter(print, "counting", "sheep", 2) as meter:
    ...     for _ in range(2):
    ...         meter.advance()
    counting: 0 of 2 sheep
    counting: 1 of 2 sheep
    counting: 2 of 2 sheep
    counting: 2 sheep, done

    Args:
        progress: ``False`` tells nobody; ``True`` shows one line in the notebook, or on the terminal, or nowhere where
            neither is; else what is told.
        what: the work, as in "measuring".
        unit: what is counted, in the plural.
        total: how many, where that is known; a count that passes it raises it.
    """

    def __init__(self, progress: bool | Reporter, what: str, unit: str, total: int | None = None) -> None:
        self._report = screen() if progress is True else progress or None
        self._what, self._unit, self._total = what, unit, total
        self._done, self._note = 0, ""
        self._began = time.monotonic()
        self._telling = threading.RLock()  # the work may be done in several threads

    def advance(self, count: int = 1) -> None:
        """Count what was done."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """Set the count; it does not fall."""
        with self._telling:
            if done <= self._done:
                return
            self._done = done
            if self._total is not None:
                self._total = max(self._total, done)
            self._tell("running")

    def note(self, text: str) -> None:
        """Say what is being done now."""
        with self._telling:
            self._note = text
            self._tell("running")

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._tell("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._telling:
            self._tell("done" if kind is None else "stopped")

    def _tell(self, state: Literal["running", "done", "stopped"]) -> None:
        if self._report is not None:
            self._report(
                Progress(
                    what=self._what,
                    unit=self._unit,
                    done=self._done,
                    total=self._total,
                    note=self._note,
                    state=state,
                    seconds=time.monotonic() - self._began,
                )
            )


def length_of(items: Iterable[object]) -> int | None:
    """Return how many items there are, where that is known without counting."""
    return len(items) if isinstance(items, Sized) else None
