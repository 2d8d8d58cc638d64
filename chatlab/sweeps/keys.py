"""The key of a task: the hash of all that decides its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chatlab
from chatlab.embedded import conversations_path, dialogues_path, tokenizer_path
from chatlab.errors import ChatlabError, SourceNotFound, SweepError
from chatlab.snapshots.recorder import canonical, file_sha256, library_versions, sha256, tokenizer_files
from chatlab.sweeps.task import TOKENIZERS, Task
from chatlab.tokenizers.source import resolve

EMBEDDED = "embedded:"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A task with its key, and with its tokenizers at the commits that were looked up."""

    kind: str
    key: str
    identity: str
    """Canonical JSON of what the key is the hash of: names, hashes and versions, no machine's own paths."""
    inputs: str
    """Canonical JSON of the inputs by name alone."""
    pinned: Mapping[str, Any]
    """What a worker is given."""
    fault: ChatlabError | None = None
    """Why it cannot be done: a file or commit that is not there."""


def versions() -> dict[str, str | None]:
    """Return the versions that decide rows: chatlab's own and those of the libraries."""
    return {"chatlab": chatlab.__version__, **library_versions()}


class Planner:
    """Gives tasks their keys; each file is hashed once, however many tasks name it."""

    def __init__(self) -> None:
        self._versions = versions()
        self._seen: dict[tuple[str, ...], tuple[dict[str, Any], Any, str]] = {}

    def plan(self, tasks: Iterable[Task]) -> list[Planned]:
        """Return each task once, in the order in which the tokenizers come: a worker loads one for many tasks."""
        found = {planned.key: planned for planned in map(self._planned, tasks)}
        return list(found.values())

    def _planned(self, task: Task) -> Planned:
        given = {name: list(v) if isinstance(v, tuple) else v for name, v in task.inputs.items()}
        names, hashes, pinned, fault = dict[str, Any](), dict[str, str](), dict[str, Any](), None
        for name in sorted(given.keys() | ({"dialogues"} if task.kind in ("drift", "turns") else set())):
            try:
                told, worked, digest = self._input(name, given)
            except ChatlabError as error:
                told, worked, digest, fault = {name: given[name]}, {name: given[name]}, None, fault or error
            names |= told
            pinned |= worked
            hashes |= {name: digest} if digest else {}
        identity = canonical({"hashes": hashes, "inputs": names, "kind": task.kind, "versions": self._versions})
        return Planned(
            kind=task.kind,
            key=sha256(identity),
            identity=identity,
            inputs=canonical(names),
            pinned=pinned,
            fault=fault,
        )

    def _input(self, name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        """Return an input as it is named, as a worker needs it, and the hash of its files."""
        value = given.get(name)
        if name == "revision":
            return {}, {}, None  # told with its tokenizer
        if name == "dialogues":
            path = dialogue_file(value)
            return self._file(name, value or "embedded:dialogues", path)
        if name == "template" or (name in ("prompt", "tokenizer") and str(value).endswith(".jinja")):
            return self._file(name, Path(str(value)).name, Path(str(value)))
        if name in TOKENIZERS:
            return self._tokenizer(name, str(value), given.get("revision"))
        return {name: value}, {name: value}, None

    def _file(self, name: str, told: str, path: Path) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        shown = told if told.startswith(EMBEDDED) else Path(told).name
        kept = self._kept((str(path.absolute()),), lambda: ({}, None, files_sha256(path)))
        return {name: shown}, {name: str(path.absolute())}, kept[2]

    def _tokenizer(
        self, name: str, value: str, revision: str | None
    ) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        source, _, digest = self._kept((value, revision or ""), lambda: _looked_up(value, revision))
        told = {name: source["name"], **({f"{name}_revision": source["revision"]} if source["revision"] else {})}
        return told, {name: source["spec"]}, digest

    def _kept(self, key: tuple[str, ...], make: Any) -> tuple[dict[str, Any], Any, str]:
        if key not in self._seen:
            self._seen[key] = make()
        return self._seen[key]


def _looked_up(value: str, revision: str | None) -> tuple[dict[str, Any], Any, str]:
    if value.startswith(EMBEDDED):
        source, shown = resolve(tokenizer_path(value.removeprefix(EMBEDDED))), value
    else:
        source = resolve(value, revision)
        shown = source.name
    spec = source.repo_id or str((source.place or source.folder).absolute())
    spec = f"{spec}@{source.revision}" if source.revision else spec
    files = tokenizer_files(source.folder) | {path.name: path for path in source.folder.glob("*.gguf")}
    digest = sha256(canonical({"name": source.name, **{name: file_sha256(path) for name, path in files.items()}}))
    return {"name": shown, "revision": source.revision, "spec": spec}, None, digest


def dialogue_file(value: str | None) -> Path:
    """Return where dialogues lie.

    Raises:
        SweepError: no embedded dialogues have that name.
    """
    if value is None or not value.startswith(EMBEDDED):
        return dialogues_path() if value is None else Path(value)
    own = {"dialogues": dialogues_path, "conversations": conversations_path}
    name = value.removeprefix(EMBEDDED)
    if name not in own:
        raise SweepError(f"no embedded dialogues are called {name!r:.80}: there are {', '.join(own)}")
    return own[name]()


def files_sha256(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder.

    Raises:
        SourceNotFound: there is nothing, or it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return sha256(canonical({file.relative_to(path).as_posix(): file_sha256(file) for file in files}))
        return file_sha256(path)
    except OSError as error:
        raise SourceNotFound(f"cannot read {path}: {error.strerror or error}. Name a file that is there.") from error


@dataclass(frozen=True)
class Shard:
    """A part of a sweep, told by the hash: part ``number`` of ``count``, from 1."""

    number: int
    count: int

    @classmethod
    def of(cls, given: str | tuple[int, int] | None) -> Shard:
        """Read ``"2/8"``, or a pair; all there is where nothing is given.

        Raises:
            SweepError: it is no part of a whole.
        """
        try:
            number, count = (1, 1) if given is None else map(int, given.split("/")) if isinstance(given, str) else given
            if not 1 <= number <= count:
                raise ValueError
        except (ValueError, TypeError):
            raise SweepError(f"a shard is {given!r:.80}: give i/n, such as 1/3, 2/3 and 3/3") from None
        return cls(number, count)

    def has(self, planned: Planned) -> bool:
        """Whether a task belongs here."""
        return int(planned.key[:15], 16) % self.count == self.number - 1
