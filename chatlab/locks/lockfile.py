"""The lock file: what was tested, written so that people can read it and a check can trust it.

One JSON file, sorted and without dates, so that a change in review is a change in fact. Everything read from it is
checked first: a lock file may come from a pull request of a stranger.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from chatlab.errors import LockError, SourceNotFound, TokenizerLoadError
from chatlab.files import whole_file
from chatlab.folder import JSON_LIMIT, read_bytes
from chatlab.locks.turns import in_turn
from chatlab.locks.vendor import drop_copies
from chatlab.render import details_html, readable, table_html
from chatlab.results import Result
from chatlab.tokenizers.source import Source, is_tokenizer_file, resolve

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

SCHEMA = 1
DEFAULT = "chatlab.lock"

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_GGUF = re.compile(r"[^/\\]+\.gguf")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REQUESTED = re.compile(r"\w[\w./+-]{0,254}")
_LOADER = re.compile(r"auto|slow|raw|sentencepiece|[A-Z]\w*Tokenizer\w*")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


_TEXT_OR_NONE = (str, type(None))
_SHAPES: dict[str, Any] = {
    "kind": str,
    "place": str,
    "requested": _TEXT_OR_NONE,
    "revision": _TEXT_OR_NONE,
    "roles": {str: (str, list)},
    "loader": str,
    "options": {str: (int, bool, type(None))},
    "prompts": [str],
    "files": {str: {"sha256": str, "size": int}},
    "components": {str: str},
    "golden": {
        "corpus": {"version": str, "sha256": str},
        "probed": {"tokens": [str], "injected": _TEXT_OR_NONE},
        "families": {str: {"ids": str, "texts": str}},
        "examples": {str: {"text": str, "ids": (list, type(None)), "echo": (str, dict, type(None))}},
        "delimiters": {str: {"token": str, "kept": str, "bare": str}},
        "drift": {str: {str: (int, type(None))}},
        "conversations": {str: str},
    },
    "versions": {str: _TEXT_OR_NONE},
    "snapshot_sha256": str,
    "history": [dict],
}
"""What each field of an entry looks like: a type, ``[of]``, ``{str: of}``, or an object with just these keys."""


_ADDED = frozenset({"conversations"})
"""Keys that locks of an earlier chatlab lack: what was not locked is not compared."""


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value has a shape of ``_SHAPES``.

    >>> fits({"a": ["x"]}, {str: [str]}), fits({"a": 1}, {"a": str})
    (True, False)
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict) and str in shape:
        return isinstance(value, dict) and all(fits(item, shape[str]) for item in value.values())
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and shape.keys() - _ADDED <= value.keys() <= shape.keys()
            and all(fits(value[key], shape[key]) for key in value)
        )
    return isinstance(value, shape)


@dataclass(frozen=True, kw_only=True)
class Entry(Result):
    """One locked tokenizer."""

    title = "A locked tokenizer"

    alias: str
    kind: str
    """``hub``, ``git`` or ``folder``."""
    place: str
    """Hub id, or a path relative to the lock file."""
    requested: str | None
    """The branch or tag that was asked for; ``--online`` looks where it is now."""
    revision: str | None
    """The commit, 40 hex digits."""
    roles: Mapping[str, Any]
    """Commits of what belongs to it: ``weights``, ``code``, ``template``, ``adapter`` as ``name@commit``."""
    loader: str
    options: Mapping[str, Any]
    prompts: tuple[str, ...]
    files: Mapping[str, Mapping[str, Any]]
    """Name → ``sha256`` and ``size``."""
    components: Mapping[str, str]
    """Hash of each part, so that a difference has a name."""
    golden: Mapping[str, Any]
    """Hashes of each probe family, and ten examples with their ids and texts."""
    versions: Mapping[str, str | None]
    snapshot_sha256: str
    history: tuple[Mapping[str, Any], ...] = field(default=())
    """A note for each update, the newest first."""

    def __str__(self) -> str:
        at = f" at {self.revision}" if self.revision else ""
        return readable(f"{self.alias}: {self.place}{at}, {len(self.files)} files, read by {self.loader}")

    def body(self) -> str:
        """Return what was locked as escaped HTML: place, commit, libraries, files, and how examples came back."""
        facts = {"place": self.place, "revision": self.revision or "", "requested": self.requested or ""}
        facts |= {"loader": self.loader, "snapshot": self.snapshot_sha256}
        facts["libraries"] = ", ".join(f"{name} {version}" for name, version in self.versions.items() if version)
        files = self.to_frame().itertuples(index=False, name=None)
        examples = [(label, e["text"], e["echo"]) for label, e in self.golden["examples"].items()]
        return "".join(
            [
                table_html(("what", "value"), [fact for fact in facts.items() if fact[1]], self.alias),
                table_html(("file", "bytes", "sha256"), files, "Files"),
                details_html("examples", table_html(("probe", "text", "echo"), examples)),
            ]
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row a file: ``file``, ``bytes``, ``sha256``."""
        import pandas as pd

        rows = [(name, file["size"], file["sha256"]) for name, file in self.files.items()]
        return pd.DataFrame(rows, columns=["file", "bytes", "sha256"])

    def figure(self) -> Drawing:
        """Draw the drift that was locked: how much longer the echo of each prompt was, special tokens kept."""
        from chatlab.plots import plot_counts

        drift = {label: values["kept"] for label, values in self.golden["drift"].items()}
        told = f"Echo drift as locked: {self.alias}"
        return plot_counts(list(drift), [kept or 0 for kept in drift.values()], "drift (characters)", told)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the alias, which is the key."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "alias"}
        return {
            name: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v
            for name, v in found.items()
        }

    @classmethod
    def from_dict(cls, alias: str, data: Mapping[str, Any]) -> Entry:
        """Return a checked entry.

        Raises:
            LockError: something is missing, malformed or unsafe.
        """
        if not isinstance(data, Mapping):
            raise LockError(f"entry {alias!r} of the lock is no object")
        missing = sorted(set(cls.__dataclass_fields__) - {"alias", "history"} - set(data))
        unknown = sorted(set(data) - set(cls.__dataclass_fields__))
        if missing or unknown:
            raise LockError(
                f"entry {alias!r} of the lock lacks {missing} or has {unknown} that no schema-{SCHEMA} lock has: lock it anew"
            )
        wrong = sorted(name for name, value in data.items() if not fits(value, _SHAPES[name]))
        if wrong:
            raise LockError(
                f"entry {alias!r} of the lock has damaged {', '.join(wrong)}: restore it from version control"
            )
        values = {**data, "prompts": tuple(data["prompts"]), "history": tuple(data.get("history", ()))}
        entry = cls(alias=alias, **values)
        entry.check()
        return entry

    def check(self) -> None:
        """Refuse what is malformed or unsafe.

        Raises:
            LockError: something is.
        """
        checked_alias(self.alias)
        if self.kind not in ("hub", "git", "folder"):
            raise LockError(f"{self.alias}: {self.kind!r} is no kind of source")
        if not _LOADER.fullmatch(self.loader):
            raise LockError(f"{self.alias}: {self.loader!r} is no loader")
        # A lock may come from a stranger, and these would run or fetch what it does not pin.
        if "trust_remote_code" in self.options or not fits(dict(self.options), _SHAPES["options"]):
            raise LockError(f"{self.alias}: a lock takes switches and numbers as options, and never trust_remote_code")
        if self.kind == "hub" and not _REPO.fullmatch(self.place):
            raise LockError(f"{self.alias}: {self.place!r} is no hub id")
        if self.kind != "folder" and not _COMMIT.fullmatch(self.revision or ""):
            raise LockError(f"{self.alias}: {self.revision!r} is no commit of 40 hex digits")
        if self.requested is not None and (not _REQUESTED.fullmatch(self.requested) or ".." in self.requested):
            raise LockError(f"{self.alias}: {self.requested!r} is no revision")
        for name, file in self.files.items():
            if not (is_tokenizer_file(name) or _GGUF.fullmatch(name)) or not _SHA256.fullmatch(str(file["sha256"])):
                raise LockError(f"{self.alias}: {name!r} is no tokenizer file with a sha256")
        if not _SHA256.fullmatch(self.snapshot_sha256):
            raise LockError(f"{self.alias}: {self.snapshot_sha256!r} is no sha256 of a snapshot")
        if not fits(dict(self.roles), _SHAPES["roles"]):
            raise LockError(f"{self.alias}: a role is a name with a pin, such as {{'weights': 'org/model@COMMIT'}}")

    def source(self, root: Path, *, offline: bool = True) -> Source:
        """Return the files that were locked.

        Raises:
            LockError: the path leaves the lock's folder.
            TokenizerLoadError: the files are not there any more.
        """
        if self.kind == "hub":
            return resolve(self.place, self.revision, offline=offline)
        folder = inside(root, self.place)
        return resolve(folder, self.revision) if self.kind == "git" else resolve(folder)


def checked_alias(alias: str) -> str:
    """Return an alias that is safe as a file name.

    Raises:
        LockError: it is not.
    """
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or ".." in alias:
        raise LockError(f"{alias!r} is no alias: letters, digits, '.', '_' and '-' only, at most 64")
    return alias


def inside(root: Path, place: str) -> Path:
    """Return a path below ``root``, links followed.

    Raises:
        LockError: it is absolute, or leads out, or no system has such a path.
    """
    relative = PurePosixPath(place)
    try:
        path = (root / relative).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a lone surrogate, a loop of links
        raise LockError(f"{place!r:.80} is no path: {error}") from error
    if relative.is_absolute() or ".." in relative.parts or "\\" in place or not path.is_relative_to(root.resolve()):
        raise LockError(
            f"{place!r} leaves the folder of the lock file: only what lies beside or below it can be locked"
        )
    return path


def read_lock(path: Path) -> dict[str, Entry]:
    """Return the entries of a lock file, all checked; none where there is no file.

    Raises:
        LockError: it is damaged, or of a newer schema.
    """
    try:
        text = read_bytes(path, limit=JSON_LIMIT).decode("utf-8")
    except SourceNotFound:
        return {}
    except (TokenizerLoadError, UnicodeDecodeError) as error:
        raise LockError(f"{path.name} cannot be read: {error}") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LockError(
            f"{path.name} is damaged ({error}): restore it from version control, or delete it and lock anew"
        ) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise LockError(f"{path.name} has schema {schema}, this chatlab knows {SCHEMA}: update chatlab")
    if schema != SCHEMA or not isinstance(data.get("entries"), dict):
        raise LockError(f"{path.name} is no chatlab lock of schema {SCHEMA}: delete it and lock anew")
    return {alias: Entry.from_dict(alias, entry) for alias, entry in sorted(data["entries"].items())}


def write_lock(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write a lock file, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    data = {"schema": SCHEMA, "entries": {alias: entries[alias].to_dict() for alias in sorted(entries)}}
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=True) + "\n"
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def editing(path: Path) -> Iterator[dict[str, Entry]]:
    """Give the entries to change, and write them at the end; writers take turns, and a killed one holds up nobody.

    Raises:
        OutputError: nothing can be written there.
    """
    with in_turn(path.parent):
        entries = read_lock(path)
        try:
            yield entries
            write_lock(path, entries)
        finally:
            drop_copies(path.parent, [entry.place for entry in read_lock(path).values()])
            for part in path.parent.glob(f".{path.name}.*.tmp"):  # of a writer that was killed: it is our turn
                part.unlink(missing_ok=True)
