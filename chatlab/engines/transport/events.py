"""From the bytes of an answer to the data of its events: server-sent events, lines of JSON, or one JSON value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from chatlab.engines.dialects.values import shown
from chatlab.errors import RemoteCut, RemoteError

_FIELDS = ("data", "event", "id", "retry", "error")
"""The last one is no field of the standard: llama.cpp before 2025 told of failures in it."""
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class EventReader:
    r"""Cut a body into events, however it arrives.

    Law: for every chunking the same events come. A line that is neither part of an event nor a comment raises with
    its words, since it may be a damaged piece of the reply; an event that never ends is not given.

    >>> reader = EventReader(line_bytes=1000)
    >>> list(reader.put(b'data: {"a"')), list(reader.put(b': 1}\r\n\r\n: still here\n\n'))
    ([], ['{"a": 1}'])
    """

    def __init__(self, *, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._waiting = b""
        self._searched = 0
        self._data: list[str] = []
        self._size = 0
        self._json: bool | None = None
        self._start = True

    def put(self, piece: bytes) -> Iterator[str]:
        """The data of each event that ``piece`` completes.

        Raises:
            RemoteError: a line or event is too long, no UTF-8, or no part of an event stream.
        """
        for line in self._lines(piece):
            yield from self._line(line)
        if len(self._waiting) + (0 if self._json else self._size) > self._line_bytes:
            raise RemoteError(
                f"the server sent an event of more than the {self._line_bytes:,} bytes that are taken of one"
            )

    def flush(self) -> Iterator[str]:
        """The data of the last event, where the body is JSON, or where it is the mark of the end.

        Raises:
            RemoteCut: the body ends inside a JSON value.
            RemoteError: its last line is no part of an event stream.
        """
        line, self._waiting = self._waiting.removesuffix(b"\r"), b""
        if line and not _is_beginning(line):
            yield from self._line(line)
        rest = "\n".join(self._data)
        if self._json and rest:
            raise RemoteCut(f"the server's answer broke off inside a JSON value: {shown(rest[-300:])}")
        if rest.strip() == "[DONE]":
            yield rest

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        """Each line that is whole, without its end; after a lone carriage return a newline may still follow."""
        waiting, start = self._waiting + piece, 0
        self._waiting = b""
        for end in _LINE_END.finditer(waiting, self._searched):
            yield waiting[start : end.start()]
            start = end.end()
        self._waiting = waiting[start:]
        self._searched = max(0, len(self._waiting) - 1)

    def _line(self, raw: bytes) -> Iterator[str]:
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise RemoteError(f"the server sent what is no UTF-8: {shown(raw)}") from error
        if self._start:
            line = line.removeprefix("\ufeff")
        if self._json is None and line.strip():
            self._json = line.lstrip()[0] in "{["
        self._start = False
        yield from self._json_line(line) if self._json else self._sse_line(line)

    def _json_line(self, line: str) -> Iterator[str]:
        """A line that is JSON by itself is an event; a value that spans lines is one at its last closing brace."""
        if not line.strip():
            return
        self._data.append(line)
        if len(self._data) > 1 and line.rstrip() not in ("}", "]"):
            return
        whole = "\n".join(self._data)
        try:
            json.loads(whole)
        except (ValueError, RecursionError):
            return
        self._data.clear()
        yield whole

    def _sse_line(self, line: str) -> Iterator[str]:
        if not line:
            data, self._data, self._size = self._data, [], 0
            if data:
                yield "\n".join(data)
            return
        name, _, value = line.partition(":")
        if name in ("data", "error"):
            self._data.append(value.removeprefix(" "))
            self._size += len(line)
        elif name.strip() and name not in _FIELDS:
            raise RemoteError(f"the server sent a line that is no event: {shown(line)}")


def _is_beginning(line: bytes) -> bool:
    """Whether an unfinished line is a part of an event that was cut, which is not given; the mark of the end is whole."""
    if line.removeprefix(b"data:").strip() == b"[DONE]":
        return False
    return any(line.startswith(name := f"{field}:".encode()) or name.startswith(line) for field in _FIELDS)
