"""Where there is no notebook, a reply is printed as it comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatlab.render import readable
from chatlab.widgets.stream_view import FLUSH_S

if TYPE_CHECKING:
    from chatlab.streaming.result import Delta


class Printer:
    """A reply on a terminal."""

    def __init__(self) -> None:
        self._flushed = 0.0

    def put(self, new: str | Delta) -> None:
        """Print what is new; it is on screen within about 30 ms."""
        now = time.monotonic()
        late = now - self._flushed > FLUSH_S
        print(readable(new if isinstance(new, str) else new.delimiter + new.text), end="", flush=late)
        if late:
            self._flushed = now

    def finish(self, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        """Print what went wrong, if something did."""
        print(f" [{readable(error)}]" if error else "", flush=True)
