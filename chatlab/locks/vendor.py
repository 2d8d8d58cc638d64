"""Copies of locked files beside the lock file, so that a deleted repository or a force push cannot take them.

**Law.** A lock and its copy change together or not at all, whenever a writer ends: a copy has a folder of its own,
named by what is in it, the lock file is renamed into place after it, and only then goes a copy that no entry names.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chatlab.errors import OutputError

FOLDER = "chatlab.lock.d"
_PART = ".part-"


def copy_place(root: Path, alias: str, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Return where the copy of files with these hashes lies."""
    told = "\n".join(f"{name} {file['sha256']}" for name, file in sorted(files.items()))
    return root / FOLDER / f"{alias}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def copy_files(files: Mapping[str, Path], target: Path) -> None:
    """Copy files to a folder, whole or not at all; a whole copy that is there already stays.

    Raises:
        OutputError: they cannot be written there.
    """
    if target.is_dir() and all(_same(file, target / name) for name, file in files.items()):
        return
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=target.parent))
        for name, file in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(file, part / name)
        if target.exists():
            os.replace(target, Path(tempfile.mkdtemp(prefix=_PART, dir=target.parent)) / "old")
        os.replace(part, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}. Nothing was locked.") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and not other.is_symlink() and filecmp.cmp(one, other, shallow=False)


def _copy(file: Path, target: Path) -> None:
    with file.open("rb") as whole, target.open("wb") as out:
        shutil.copyfileobj(whole, out)
        out.flush()
        os.fsync(out.fileno())


def drop_copies(root: Path, places: Iterable[str]) -> None:
    """Remove the copies that no entry names, and what a killed writer left."""
    folder = root / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return
    kept = {Path(place).name for place in places if Path(place).parent == Path(FOLDER)}
    for copy in folder.iterdir():
        if copy.name not in kept and copy.is_dir() and not copy.is_symlink():
            shutil.rmtree(copy, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()
