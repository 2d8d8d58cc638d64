"""Write whole files: to a temporary name first, then renamed, so that no reader meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.errors import OutputError


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
    """Give a temporary path beside ``path``; it takes its name when the block ends well, and is removed otherwise.

    Raises:
        OutputError: there is no such folder, or the name is taken by one.
    """
    with _typed(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any file its user writes.
        umask = os.umask(0)
        os.umask(umask)
        with _typed(path):
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    with whole_file(path) as temporary, _typed(path):
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. Choose another place.") from error
