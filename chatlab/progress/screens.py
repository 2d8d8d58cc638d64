"""Where progress is seen: one output in a notebook, one line in a terminal.

In a notebook the output is plain text and HTML that is drawn anew, not a widget: what stands there when the work
ends, is interrupted or loses its kernel is also what the saved file shows.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from chatlab.place import Place, in_kernel
from chatlab.progress.progress import Progress
from chatlab.render import bar_html, paragraph_html, readable

INTERVAL_S = 0.2
"""Seconds between two drawings of a count at least; the first and the last are always drawn."""


def screen() -> Callable[[Progress], None] | None:
    """Return what shows progress here; ``None`` where nobody would see it."""
    if in_kernel():
        return NotebookLine()
    return TerminalLine(sys.stderr) if sys.stderr.isatty() else None


class _Line:
    """Draws no more often than an eye can follow; a new note may announce a long wait, so it is drawn at once."""

    def __init__(self) -> None:
        self._drawn_at, self._note = float("-inf"), ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.state != "running" or progress.note != self._note or now - self._drawn_at >= INTERVAL_S:
            self._drawn_at, self._note = now, progress.note
            self._draw(progress)

    def _draw(self, progress: Progress) -> None:
        raise NotImplementedError


class NotebookLine(_Line):
    """One cell output: a bar and a line while the work runs, the line alone at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._place: Place | None = None

    def _draw(self, progress: Progress) -> None:
        line = _live(progress)
        bar = bar_html(progress.done, progress.total) if progress.state == "running" and progress.total else ""
        bundle = {"text/plain": line, "text/html": bar + paragraph_html(line)}
        if self._place is None:
            self._place = Place(bundle)
        else:
            self._place.replace(bundle)


class TerminalLine(_Line):
    """One line that is written over; the last one stays."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def _draw(self, progress: Progress) -> None:
        # A line that wraps could not be taken back.
        width = shutil.get_terminal_size().columns - 1
        end = "" if progress.state == "running" else "\n"
        self._stream.write(f"\r\x1b[K{_cut(readable(_live(progress)), width)}{end}")
        self._stream.flush()


def _live(progress: Progress) -> str:
    left = progress.seconds_left
    if left is None or left < 1:
        return str(progress)
    return f"{progress}, about {f'{left:.0f} s' if left < 120 else f'{left / 60:.0f} min'} left"


def _cut(line: str, width: int) -> str:
    """Cut to a terminal's width, where some characters take two columns."""
    from rich.cells import set_cell_size

    return set_cell_size(line, width).rstrip()
