"""Where the notebooks lie, and a copy of them that the user may change."""

from __future__ import annotations

import os
from pathlib import Path

import chatlab
from chatlab.errors import OutputError, SourceNotFound
from chatlab.files import whole_file

_PACKAGE = Path(chatlab.__file__).parent

# A wheel carries the notebooks inside the package; a checkout has them beside it.
INSTALLED, CHECKOUT = _PACKAGE / "embedded_notebooks", _PACKAGE.parent / "notebooks"


def notebooks_path() -> Path:
    """Return the folder of the notebooks that came with this chatlab.

    Raises:
        SourceNotFound: the installation is damaged.
    """
    for folder in (INSTALLED, CHECKOUT):
        if any(folder.glob("*.ipynb")):
            return folder
    raise SourceNotFound(f"no notebooks in {INSTALLED} or {CHECKOUT}: install chatlab-research again")


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder; what a user wrote there stays, and is returned.

    A file that differs from ours may hold a user's work, or be ours of another version: nobody but its owner can
    tell, so it is never written over.

    Raises:
        OutputError: the folder cannot be made or written.
        SourceNotFound: the installation is damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot copy the notebooks to {folder}: {error.strerror}; choose another --folder"
        ) from error
    kept = []
    for notebook in sorted(notebooks_path().glob("*.ipynb")):
        ours, target = notebook.read_bytes(), folder / notebook.name
        if not os.path.lexists(target):
            with whole_file(target) as temporary:
                temporary.write_bytes(ours)
        elif not target.is_file() or target.read_bytes() != ours:
            kept.append(target)
    return kept
