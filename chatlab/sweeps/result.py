"""What a sweep found, read from its folder when it is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from chatlab import render
from chatlab.errors import OutputError, SweepError
from chatlab.results import Result
from chatlab.sweeps.store import read_tasks
from chatlab.sweeps.task import FIELDS, unknown

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

SHOWN = 20
"""Failed tasks that are told at most."""


@dataclass(frozen=True, repr=False)
class Sweep(Result):
    """The tasks of a sweep and their rows, lazy: what is not asked for is not read."""

    title = "A sweep"

    folder: Path
    computed: int = 0
    """Tasks that were not there before and were done by the call that gave this."""

    @cached_property
    def _tasks(self) -> list[dict[str, Any]]:
        return read_tasks(self.folder)

    @property
    def counts(self) -> dict[str, int]:
        """State → how many tasks: ``done``, ``failed``, ``missing``."""
        return dict(sorted(Counter(str(task["state"]) for task in self._tasks).items()))

    @property
    def exit_code(self) -> int:
        """0 where all is done, else 1."""
        return int(bool(self.counts.keys() - {"done"}))

    def tasks(self) -> pd.DataFrame:
        """Return one row a task: its key, kind, state, rows, dialogues left out, error, message, inputs, identity.

        Raises:
            OutputError: the folder holds no sweep.
        """
        import pandas as pd

        columns = ["task", "kind", "state", "rows", "left_out", "error", "message", "inputs", "identity"]
        return pd.DataFrame(self._tasks, columns=columns)

    def dataset(self, kind: str) -> ds.Dataset:
        """Return the rows of one kind, unread.

        Raises:
            OutputError: a shard is damaged: the next run writes it anew.
            SweepError: there is no such kind.
        """
        if kind not in FIELDS:
            raise SweepError(f"no kind of task {unknown(kind, FIELDS)}")
        try:
            parts = [ds.dataset(path) for path in sorted((self.folder / kind).glob("*.parquet"))]
            schemas = [part.schema.remove_metadata() for part in parts] or [pa.schema([("task", pa.string())])]
            whole = pa.unify_schemas(schemas, promote_options="permissive")
            return ds.dataset([str(f) for part in parts for f in part.files], schema=whole, format="parquet")
        except (OSError, ValueError, TypeError) as error:
            raise OutputError(f"a shard of {self.folder / kind} is damaged: {error}. Run the sweep again.") from error

    def to_frame(self, kind: str | None = None, filter: ds.Expression | None = None) -> pd.DataFrame:
        """Return the rows of one kind as the single calls give them, each with its ``task``; the tasks where no kind is named.

        Args:
            kind: ``drift``, ``turns``, ``audit``, ``snapshot`` or ``compare``.
            filter: which rows, such as ``pyarrow.dataset.field("wrong")``: no others are read.

        Raises:
            OutputError: a shard is damaged: the next run writes it anew.
            SweepError: there is no such kind, or the filter does not fit it.
        """
        if kind is None:
            return self.tasks()
        dataset = self.dataset(kind)
        try:
            table = dataset.to_table(filter=filter)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
            raise SweepError(f"the filter does not fit the rows of {kind}: {error}") from error
        import pandas as pd

        # A number or a verdict may be missing, and stays what it is where it is there.
        missing = {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
        frame: pd.DataFrame = table.to_pandas(types_mapper=missing.get)
        return frame

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {state}" for state, count in self.counts.items()) or "none"
        failed = [f"  {key[:12]} {kind}: {why}" for key, kind, why in self._faults()]
        return "\n".join([f"{len(self._tasks):,} tasks: {told}; {self.computed:,} computed now", *failed])

    def __repr__(self) -> str:
        return render.readable(f"<Sweep {self.folder.name}: {self.counts}>")

    def _faults(self) -> list[tuple[str, str, str]]:
        failed = [task for task in self._tasks if task["state"] == "failed"]
        return [(t["task"], t["kind"], f"{t['error']}: {t['message']}") for t in failed[:SHOWN]]

    def body(self) -> str:
        """Return what became of the tasks, as escaped HTML."""
        counts = Counter((str(task["kind"]), str(task["state"])) for task in self._tasks)
        rows = [(kind, state, f"{count:,}") for (kind, state), count in sorted(counts.items())]
        made = render.table_html(("kind", "state", "tasks"), rows, f"{len(self._tasks):,} tasks")
        faults = self._faults()
        return made + (render.table_html(("task", "kind", "why"), faults, "Failed") if faults else "")

    def figure(self) -> Drawing:
        """Draw how many tasks of each kind are done, failed or missing."""
        from chatlab.plots import plot_counts

        counts = Counter(f"{task['kind']}, {task['state']}" for task in self._tasks)
        names = sorted(counts)
        return plot_counts(names, [counts[name] for name in names], "tasks", "What became of the tasks")
