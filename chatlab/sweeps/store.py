"""Where a sweep's rows lie: shards of Parquet, each written whole, and a table of the tasks made of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatlab.errors import OutputError
from chatlab.files import prepare_folder, whole_file
from chatlab.snapshots.recorder import canonical
from chatlab.sweeps.keys import Planned
from chatlab.sweeps.task import FIELDS
from chatlab.sweeps.work import Answer

PREFIX_LEN = 2
"""Digits of a key that name its shard: 256 shards a kind."""

TASKS = "tasks.parquet"
_ENTRIES = b"chatlab.tasks"
_TASKS = pa.schema(
    [
        *((name, pa.string()) for name in ("task", "kind", "state")),
        *((name, pa.int64()) for name in ("rows", "left_out")),
        *((name, pa.string()) for name in ("error", "message", "inputs", "identity")),
    ]
)


@dataclass(frozen=True)
class Entry:
    """What a shard tells of one of its tasks, in its footer."""

    key: str
    state: str
    rows: int = 0
    left_out: int = 0
    error: str = ""
    message: str = ""
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: str, answer: Answer) -> Entry:
        """The entry of an answer."""
        columns = () if answer.rows is None else tuple(answer.rows.column_names)
        rows = 0 if answer.rows is None else answer.rows.num_rows
        return cls(key, answer.state, rows, answer.left_out, answer.error, answer.message, columns)


Shards = dict[str, tuple[Entry, pa.Table | None]]
"""Key → its entry and its rows."""


class Store:
    """The folder of one sweep.

    **Law.** Its bytes are a function of the tasks and their answers, whatever the order in which these came and
    however often the work broke off: in a shard stand the tasks in the order of their keys, each with its own columns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = prepare_folder(folder)
        self.entries: dict[str, Entry] = {}
        self._stale = set[Path]()
        for left in folder.rglob(".*.parquet.*.tmp"):  # of a process that was killed
            left.unlink(missing_ok=True)

    def require_same(self, planned: Sequence[Planned]) -> None:
        """Refuse a folder that holds another sweep, whose rows would go.

        Raises:
            OutputError: it does.
        """
        try:
            held = set(pq.read_table(self.folder / TASKS, columns=["inputs"])["inputs"].to_pylist())
        except (OSError, ValueError, KeyError):
            return
        if held and planned and held.isdisjoint({one.inputs for one in planned}):
            raise OutputError(
                f"{self.folder} holds another sweep, none of whose tasks is asked for: choose another --out"
            )

    def find(self, planned: Sequence[Planned]) -> None:
        """Look up what is there of the tasks; what is damaged counts as absent."""
        held = held_entries(self.folder, planned)
        asked = {one.key for one in planned}
        self._stale = {path for path, entries in held.items() if not entries.keys() <= asked}
        self.entries |= {key: entry for entries in held.values() for key, entry in entries.items() if key in asked}

    def path(self, planned: Planned) -> Path:
        """Return the shard that a task belongs to."""
        return shard_path(self.folder, planned)

    def write(self, answers: Sequence[tuple[Planned, Answer]], asked: Iterable[str]) -> None:
        """Put answers into their shards, each written whole; what nobody asks for goes.

        Raises:
            OutputError: the disk is full, or cannot be written.
        """
        wanted, shards = set(asked), defaultdict[Path, Shards](dict)
        for one, answer in answers:
            shards[self.path(one)][one.key] = Entry.of(one.key, answer), answer.rows
        for path, new in shards.items():
            kept = {key: held for key, held in read_shard(path).items() if key in wanted}
            write_shard(path, kept | new)
            self.entries |= {key: entry for key, (entry, _) in new.items()}

    def tidy(self, planned: Sequence[Planned]) -> None:
        """Take away the rows of what is no longer asked for: they are of other files, or other versions."""
        asked, paths = {one.key for one in planned}, {self.path(one) for one in planned}
        for path in [path for kind in FIELDS for path in (self.folder / kind).glob("*.parquet")]:
            if path not in paths:
                path.unlink()
            elif path in self._stale:
                write_shard(path, {key: value for key, value in read_shard(path).items() if key in asked})

    def list_tasks(self, planned: Sequence[Planned]) -> None:
        """Write the table of the tasks.

        Raises:
            OutputError: it cannot be written.
        """
        rows = []
        for one in planned:
            entry = self.entries.get(one.key, Entry(one.key, "missing"))
            rows.append({**_told(entry), "kind": one.kind, "inputs": one.inputs, "identity": one.identity})
        write_tasks(self.folder, rows)


def shard_path(folder: Path, planned: Planned) -> Path:
    """Return the shard that a task belongs to."""
    return folder / planned.kind / f"{planned.key[:PREFIX_LEN]}.parquet"


def held_entries(folder: Path, planned: Sequence[Planned]) -> dict[Path, dict[str, Entry]]:
    """Return what the shards that the tasks belong to hold, these tasks or others, by key."""
    paths = {shard_path(folder, one) for one in planned}
    return {path: {entry.key: entry for entry in _read(path)[1]} for path in paths}


def _told(entry: Entry) -> dict[str, Any]:
    plain = {name: getattr(entry, name) for name in ("state", "rows", "left_out", "error", "message")}
    return {"task": entry.key, **plain}


def write_tasks(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of tasks, in the order of their keys."""
    held = sorted(rows, key=lambda row: str(row["task"]))
    table = pa.table({name: [row[name] for row in held] for name in _TASKS.names}, schema=_TASKS)
    with whole_file(folder / TASKS) as path:
        _write(table, path)


def read_tasks(folder: Path) -> list[dict[str, Any]]:
    """Return the table of tasks of a folder.

    Raises:
        OutputError: there is none, or it is damaged.
    """
    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / TASKS, schema=_TASKS).to_pylist()
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder} holds no sweep: {TASKS} is not there or damaged ({error}). Run it again."
        ) from error
    return rows


def read_shard(path: Path) -> Shards:
    """Return the tasks of a shard, each with its rows; none where it is absent or damaged."""
    table, held = _read(path)
    ends = list(accumulate((entry.rows for entry in held), initial=0))
    rows = [table.slice(at, end - at).select(e.columns) for (at, end), e in zip(pairwise(ends), held, strict=True)]
    return {entry.key: (entry, part if entry.rows else None) for entry, part in zip(held, rows, strict=True)}


def _read(path: Path) -> tuple[pa.Table, list[Entry]]:
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        held = list(_entries(table.schema.metadata[_ENTRIES]))
        columns = {name for entry in held for name in entry.columns}
    except (OSError, ValueError, KeyError, TypeError):  # pyarrow's own errors are of these
        return pa.table({}), []
    is_whole = sum(entry.rows for entry in held) == table.num_rows and columns <= set(table.column_names)
    return (table, held) if is_whole else (pa.table({}), [])


def _entries(metadata: bytes) -> Iterator[Entry]:
    told = json.loads(metadata)
    for key, state, rows, left_out, error, message, columns in told["tasks"]:
        yield Entry(key, state, rows, left_out, error, message, tuple(told["columns"][columns]))


def write_shard(path: Path, shards: Shards) -> None:
    """Write a shard, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    prepare_folder(path.parent)
    held = [shards[key] for key in sorted(shards)]
    columns = list(dict.fromkeys(entry.columns for entry, _ in held))
    told = [[*astuple(entry)[:-1], columns.index(entry.columns)] for entry, _ in held]
    tables = [
        rows if rows.column_names[0] == "task" else rows.add_column(0, "task", pa.array([entry.key] * rows.num_rows))
        for entry, rows in held
        if rows is not None
    ]
    whole = pa.concat_tables(tables or [pa.table({"task": pa.array([], pa.string())})], promote_options="permissive")
    metadata = {_ENTRIES: canonical({"columns": columns, "tasks": told}).encode()}
    with whole_file(path) as temporary:
        _write(whole.combine_chunks().replace_schema_metadata(metadata), temporary)


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
