"""Writers of one folder take turns; the kernel holds the order, and forgets a writer that was killed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.errors import OutputError
from chatlab.tokenizers.cache import cache_folder


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other program writes into a folder, and keep the others waiting.

    The folder itself is locked, so that nothing is left in it; where a system has no such locks, a file of the cache.

    Raises:
        OutputError: there is no such folder.
    """
    try:
        descriptor = _opened(folder)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}. Choose another place.") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    try:
        import fcntl
    except ImportError:  # Windows, where opening alone keeps others out
        place = cache_folder("writers", hashlib.sha256(str(folder.resolve()).encode()).hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        return _alone(place)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _alone(place: Path) -> int:
    import msvcrt

    descriptor = os.open(place, os.O_RDWR | os.O_CREAT)
    msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]  # only there on Windows
    return descriptor
