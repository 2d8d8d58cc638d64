"""Count long work and tell how far it is; no front end here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from chatlab.progress.screens import screen
from chatlab.render import readable


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one piece of work is; its ``str`` is one line that is the same in every run.

    >>> print(Progress(what="measuring", unit="dialogues", done=512, total=1570))
    measuring: 512 of 1,570 dialogues
    """

    what: str
    unit: str
    """In the plural."""
    done: int
    total: int | None = None
    """``None`` where nobody knows before the end."""
    note: str = ""
    """What is being done now, such as the name of a commit."""
    state: Literal["running", "done", "stopped"] = "running"
    seconds: float = 0.0
    """Since the work began."""

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; ``None`` where that says nothing."""
        if self.state != "running" or not self.total or not self.done:
            return None
        return self.seconds / self.done * (self.total - self.done)

    def __str__(self) -> str:
        of = "" if self.total is None or (self.state == "done" and self.done == self.total) else f" of {self.total:,}"
        count = f"{self.done:,}{of} {self.unit}"
        line = {"running": count, "done": f"{count}, done", "stopped": f"stopped at {count}"}[self.state]
        note = f": {self.note}" if self.note and self.state == "running" else ""
        # A note may be a stranger's text, such as the title of a commit.
        return " ".join(readable(f"{self.what}: {line}{note}").split())


Reporter = Callable[[Progress], object]
"""What is told; a bar of your own, or ``print``."""


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
