"""The one door to the files of a folder from elsewhere: regular files, inside the folder, of a bounded size.

A downloaded folder is data (law L8).  A link in it may point at a key in the home of whoever opens it, a FIFO never
ends, a device is no file, and a hub can promise a small file and hold a big one.  Libraries open files on their own,
so :func:`check_folder` looks at all of them before a library is let in.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatlab.errors import SourceNotFound, TokenizerLoadError, harmless

SIZE_LIMIT = 128 * 2**20
"""Bytes of one file that counts; the biggest tokenizer.json in use has about 35 million."""

JSON_LIMIT = 16 * 2**20
"""Bytes of a configuration that is read here; as Python's values it takes twenty times as much memory."""

VALUES_LIMIT = 2**19
"""Commas and brackets of a configuration, and so about as many values: libraries copy them all, and slowly."""

TABLE_LIMIT = 2**22
"""Those of any other JSON; a vocabulary of a million pieces with their scores has 2.7 million."""

CONFIGURATIONS = frozenset(
    f"{name}.json"
    for name in (
        "config",
        "generation_config",
        "tokenizer_config",
        "special_tokens_map",
        "added_tokens",
        "processor_config",
    )
)

READ_BY_LIBRARIES = frozenset(
    (".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".vocab", ".bpe", ".codes", ".py")
)
"""Endings of files that some tokenizer class may open by itself."""


def check_folder(folder: Path, counts: Callable[[str], bool] = lambda name: False) -> None:
    """Refuse a folder that holds, under a name that some tokenizer reads, anything but a plain file of its own.

    Args:
        folder: the folder; it may itself be a link, since its user named it.
        counts: tells by a file's name within the folder whether it counts, whatever its ending.

    Raises:
        TokenizerLoadError: a link leaves the folder, or an entry is a FIFO or device, or too big; the name is told.
        SourceNotFound: there is no such folder.
    """
    try:
        entries = sorted(p for pattern in ("*", "additional_chat_templates/*") for p in folder.glob(pattern))
    except OSError as error:
        raise SourceNotFound(f"{folder} cannot be listed: {error.strerror}") from error
    for path in entries:
        name = path.relative_to(folder).as_posix()
        if path.suffix in READ_BY_LIBRARIES or counts(name):
            require_plain(path, within=folder)
            require_few_values(path, within=folder)
        if name in CONFIGURATIONS:
            _refuse_other_files(path, folder)


def require_few_values(path: Path, *, within: Path | None = None) -> None:
    """Refuse a JSON file of so many values that whoever reads it runs out of memory, before anybody does.

    Raises:
        TokenizerLoadError: it is one, or cannot be read.
    """
    if path.suffix == ".json" and path.is_file():
        configuration = path.name in CONFIGURATIONS
        data = read_bytes(path, within=within, limit=JSON_LIMIT if configuration else SIZE_LIMIT)
        _require_few(path, data, VALUES_LIMIT if configuration else TABLE_LIMIT)


def _require_few(path: Path, data: bytes, limit: int) -> None:
    if sum(map(data.count, (b",", b"[", b"{"))) > limit:
        raise TokenizerLoadError(f"{path} has more than {limit} values, and that is the most that is read")


def _refuse_other_files(path: Path, folder: Path) -> None:
    """Refuse a configuration that names a file of somewhere else, which a class would open as its vocabulary."""
    try:
        fields = read_json(path, within=folder)
    except TokenizerLoadError:  # whoever loads it tells what is wrong with it
        return
    for key, value in fields.items() if isinstance(fields, dict) else ():
        if not _NAMES_A_FILE.search(key) or key in _NEVER_OPENED:
            continue
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (found := _file_elsewhere(text, folder)):
                raise TokenizerLoadError(
                    f"{path} names a file outside of its folder as its {key}, {found}: put a copy beside it, or leave the field out"
                )


_NAMES_A_FILE = re.compile(r"(file|files|path|vocab|merges|spm|model|emoji|map)$", re.IGNORECASE)
_NEVER_OPENED = frozenset(("name_or_path", "_name_or_path", "special_tokens_map_file"))
"""Where a program that saved a folder leaves a path of its own machine."""


def _file_elsewhere(text: str, folder: Path) -> Path | None:
    """Return the file that a text names, as seen from here or from the folder, if it is one outside of the folder."""
    for place in (Path(text), folder / text):
        try:
            target = place.expanduser().resolve()
            if target.is_file() and not _belongs(target, folder.resolve()):
                return place
        except (OSError, ValueError, RuntimeError):  # no path at all
            continue
    return None


def require_plain(path: Path, *, within: Path | None = None, limit: int | None = SIZE_LIMIT) -> Path:
    """Return ``path`` if it is a plain file, and, with ``within``, one that stays inside that folder.

    A link may only lead to another file of the folder, or from the hub's cache into its own ``blobs``.

    Raises:
        TokenizerLoadError: it is none.
        SourceNotFound: there is nothing.
    """
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except FileNotFoundError as error:
        raise SourceNotFound(f"no {path.name} in {path.parent}") from error
    except (OSError, RuntimeError) as error:  # a loop of links
        raise TokenizerLoadError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if within is not None and not _belongs(target, within.resolve()):
        raise TokenizerLoadError(
            f"{path} is a link out of its folder, and no link out of a folder is followed: put a copy in its place"
        )
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) and within is not None):
        raise TokenizerLoadError(f"{path} is no regular file, and nothing else is opened")
    if limit is not None and stat.S_ISREG(status.st_mode) and status.st_size > limit:
        raise TokenizerLoadError(f"{path} has {status.st_size} bytes, and {limit} is the most that is read")
    return path


def _belongs(target: Path, folder: Path) -> bool:
    if target.is_relative_to(folder):
        return True
    # models--owner--name/snapshots/COMMIT/file → models--owner--name/blobs/HASH, as huggingface_hub lays it out.
    home = next((p.parent for p in (folder, *folder.parents) if p.name == "snapshots"), None)
    return home is not None and home.name.startswith("models--") and target.parent == home / "blobs"


def read_bytes(path: Path, *, within: Path | None = None, limit: int = SIZE_LIMIT) -> bytes:
    """Return the bytes of a plain file.

    Raises:
        TokenizerLoadError: it is no plain file of its folder, too big, or cannot be read.
        SourceNotFound: there is nothing.
    """
    require_plain(path, within=within, limit=limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerLoadError(f"{path} cannot be read: {error.strerror or error}") from error


def read_json(path: Path, *, within: Path | None = None) -> Any:
    """Return a JSON file's value, whether in UTF-8, with a byte order mark, in UTF-16 or in UTF-32.

    Raises:
        TokenizerLoadError: it is no JSON, nested too deeply, of more than ``JSON_LIMIT`` bytes or ``VALUES_LIMIT`` values, or no plain file.
        SourceNotFound: there is nothing.
    """
    data = read_bytes(path, within=within, limit=JSON_LIMIT)
    _require_few(path, data, VALUES_LIMIT)
    try:
        return json.loads(data)
    except RecursionError as error:
        raise TokenizerLoadError(f"{path} is nested too deeply to be read") from error
    except ValueError as error:
        raise TokenizerLoadError(f"{path} is no JSON: {error}") from harmless(error)
