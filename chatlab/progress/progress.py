"""How far long work is: a value that the counter makes and the screens draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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
