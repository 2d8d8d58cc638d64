"""The one way to a terminal: whatever text it is given is shown, and none of it is obeyed (law L8)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from chatlab.render import readable


class Terminal(Console):
    r"""A console of rich that reads no markup in text, and writes signs for what would steer the terminal.

    The escape stands where segments leave for the screen, below every table, panel and caller.

    >>> Terminal(file=sys.stdout).print("[red]\x1b[31m:smile:")
    [red]\x1b[31m:smile:
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    @property
    def file(self) -> IO[str]:
        """The stream itself: what is written there has passed here."""
        found = super().file
        return found.stream if isinstance(found, _Harmless) else found

    @file.setter
    def file(self, stream: IO[str]) -> None:
        Console.file.fset(self, stream)  # type: ignore[attr-defined]  # mypy takes the property for its value

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments of anything, their text harmless."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=readable(segment.text))

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text that is measured as it will be shown."""
        return super().render_str(readable(text), **options)

    def write(self, text: str) -> None:
        """Write lines as they are, unwrapped and harmless."""
        self.file.write(readable(text) + "\n")


class _Harmless:
    """A text stream that shows what it is given; a carriage return may take a line back, as bars of libraries do."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write("\r".join(map(readable, text.split("\r"))))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def harmless_streams() -> Iterator[None]:
    """Let everything that libraries, warnings, logs and tracebacks print pass the same escape, for a whole program."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Harmless, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
