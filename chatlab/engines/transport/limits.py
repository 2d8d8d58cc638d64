"""How much of a server's answer is taken: a stranger's server can neither fill the memory nor hold a caller for ever."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields

from chatlab.errors import EngineError, RemoteError


@dataclass(frozen=True, kw_only=True)
class RemoteLimits:
    """The most that one request takes from a server.

    Raises:
        EngineError: a limit is no number above 0.
    """

    total_s: float = 3600.0
    """Seconds from the request to the end of its answer, waits for a busy server included."""
    line_bytes: int = 1_000_000
    """Bytes of one line, and of the lines of one event together."""
    body_bytes: int = 64_000_000
    """Bytes of a whole answer, decompressed, comments and blank lines included."""
    error_bytes: int = 64_000
    """Bytes that are read of a refusal."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise EngineError(f"{field.name} must be a number above 0, not {value!r}")


class Inflater:
    """Decompress a body piece by piece, and never more of it than may be taken.

    Law: what ``put`` gives, joined, is the body, or it raises before it holds more than ``most`` bytes.
    """

    def __init__(self, encoding: str, most: int) -> None:
        """Take the ``content-encoding`` of an answer.

        Raises:
            RemoteError: it is none that was asked for.
        """
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise RemoteError(f"the server compressed its answer with {encoding!r:.80}, which was not asked for")
        self._unzip = None if encoding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._most = self._left = most

    def put(self, data: bytes) -> bytes:
        """The next bytes of the body.

        Raises:
            RemoteError: the body is longer than may be taken, or is not what its encoding says.
        """
        if self._unzip is not None:
            try:
                data = self._unzip.decompress(data, self._left + 1)
            except zlib.error as error:
                raise RemoteError(f"the server's compressed answer is damaged: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise RemoteError(f"the server's answer is longer than the {self._most:,} bytes that are taken of one")
        return data
