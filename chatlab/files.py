"""Write whole files: to a temporary name first, then renamed, so that no reader meets half of one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, EISDIR, ENOSPC
from pathlib import Path

from chatlab.errors import OutputError

_FULL = {ENOSPC, EDQUOT, EFBIG, EIO}


def prepare_folder(folder: Path) -> Path:
    """Make ``folder`` and prove that it can be written, before any work is done for it.

    Raises:
        OutputError: it is no folder, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}. Choose another --out.") from error
    return folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path; what was written there takes the name ``path`` when the block ends well.

    A link is followed, so that it stays and its target changes. What is no regular file (``/dev/stdout``, a pipe) is
    written through at the end, never replaced. However the block ends, no temporary file is left.

    Raises:
        OutputError: there is no such folder, the name is taken by one, or the disk is full.
    """
    with _typed(path):
        target = path.resolve()
        through = target.exists() and not target.is_file()
        if target.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        folder = None if through else target.parent
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=folder)
        os.close(descriptor)
    temporary = Path(name)
    try:
        with _full_disk(path):
            yield temporary
        with _typed(path):
            if through:
                with temporary.open("rb") as whole, target.open("wb", buffering=0) as out:
                    shutil.copyfileobj(whole, out)
            else:
                temporary.chmod(_mode(target))
                temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    with whole_file(path) as temporary, _typed(path):
        temporary.write_text(text, encoding="utf-8")


def _mode(target: Path) -> int:
    """Return the mode of the file that was there, else what any new file of its user has: mkstemp makes private ones."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        told = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path}: {told}. Choose another place.") from error


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Turn only what says that no more can be written into our error: a block may fail for reasons of its own."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError) or error.errno not in _FULL:
            raise
        raise OutputError(
            f"cannot write {path}: {os.strerror(error.errno)}. Nothing was written; make room, or choose another place."
        ) from error
