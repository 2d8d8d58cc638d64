"""The one way to a terminal: whatever text it is given is shown, and none of it is obeyed (law L8)."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
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


class _HarmlessFormatter(logging.Formatter):
    """A handler's own formatter, and the escape behind it."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, harmless."""
        return readable((self.inner or _PLAIN).format(record))


_PLAIN = logging.Formatter()
_LOGS_LOCK = threading.Lock()
_INSIDE: list[int] = []


@contextmanager
def harmless_logs() -> Iterator[None]:
    """While a library reads a stranger's files in this process, let what it logs to a stream, and warns, be shown only.

    The escape stands behind each handler's own formatter, for the streams of all loggers; files are left as they are,
    and so is everything once the last reading has ended.
    """
    with _LOGS_LOCK:
        _INSIDE.append(1)
        if len(_INSIDE) == 1:
            _set_formatters()
    try:
        yield
    finally:
        with _LOGS_LOCK:
            _INSIDE.pop()
            if not _INSIDE:
                _take_formatters_back()


def _stream_handlers() -> Iterator[logging.Handler]:
    loggers = [
        logging.root,
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    for handler in (*(handler for logger in loggers for handler in logger.handlers), logging.lastResort):
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            yield handler


_format_warning = warnings.formatwarning


def _harmless_warning(*told: Any, **options: Any) -> str:
    return readable(_format_warning(*told, **options))


def _set_formatters() -> None:
    global _format_warning
    for handler in _stream_handlers():
        if not isinstance(handler.formatter, _HarmlessFormatter):
            handler.setFormatter(_HarmlessFormatter(handler.formatter))
    _format_warning, warnings.formatwarning = warnings.formatwarning, _harmless_warning


def _take_formatters_back() -> None:
    for handler in _stream_handlers():
        if isinstance(handler.formatter, _HarmlessFormatter):
            handler.setFormatter(handler.formatter.inner)
    if warnings.formatwarning is _harmless_warning:
        warnings.formatwarning = _format_warning
