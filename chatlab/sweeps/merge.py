"""Parts of a sweep, done apart, put together: the same bytes as one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatlab.errors import OutputError
from chatlab.files import prepare_folder
from chatlab.sweeps.result import Sweep
from chatlab.sweeps.store import PREFIX_LEN, TASKS, Shards, read_shard, read_tasks, write_shard, write_tasks

_RANK = ("done", "failed", "missing")


def merge_sweeps(folders: Sequence[str | Path], out: str | Path) -> Sweep:
    """Put the folders of shards together in a folder of their own, which is that of one run (law L12).

    Where folders tell of the same task, the one in which it is done counts. Rows that are named as done and are not
    there, or are damaged, count as missing: ``sweep`` on the merged folder does them.

    Raises:
        OutputError: a folder holds no sweep, or ``out`` is one of them or is not empty of one.
    """
    target, sources = Path(out), [Path(folder) for folder in folders]
    if (target / TASKS).exists():
        raise OutputError(f"{target} holds a sweep already: merge into a new folder")
    told: dict[str, tuple[dict[str, Any], Path]] = {}
    for source in sources:
        for task in read_tasks(source):
            kept = told.get(task["task"])
            if kept is None or _RANK.index(task["state"]) < _RANK.index(kept[0]["state"]):
                told[task["task"]] = task, source
    prepare_folder(target)
    shards = sorted({(task["kind"], key[:PREFIX_LEN]) for key, (task, _) in told.items()})
    for kind, prefix in shards:
        held = _held(kind, prefix, told)
        if held:
            write_shard(target / kind / f"{prefix}.parquet", held)
    write_tasks(target, [task for task, _ in told.values()])
    return Sweep(target)


def _held(kind: str, prefix: str, told: dict[str, tuple[dict[str, Any], Path]]) -> Shards:
    """Return what the folders hold of a shard, and correct what is told of a task whose rows are not there."""
    asked = {key: value for key, value in told.items() if value[0]["kind"] == kind and key.startswith(prefix)}
    found: Shards = {}
    for source in {source for _, source in asked.values()}:
        there = read_shard(source / kind / f"{prefix}.parquet")
        found |= {key: there[key] for key, (_, of) in asked.items() if of == source and key in there}
    for key in asked.keys() - found.keys():
        asked[key][0].update(state="missing", rows=0, left_out=0, error="", message="")
    return found
