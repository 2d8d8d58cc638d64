"""``sweep``: many questions, the same bytes everywhere, resumed where it broke off."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from chatlab.errors import SweepError
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Reporter
from chatlab.sweeps.keys import Planned, Planner, Shard, versions
from chatlab.sweeps.pools import Answered, answered
from chatlab.sweeps.result import Sweep
from chatlab.sweeps.spec import read_spec
from chatlab.sweeps.store import Store
from chatlab.sweeps.task import Task
from chatlab.sweeps.work import Answer

WRITING_SHARE = 10
"""So many times longer than the last writing took is worked before the next: writing costs a tenth at most."""


def sweep(
    tasks: str | Path | Iterable[Task],
    executor: Executor | None = None,
    out: str | Path = "sweep",
    *,
    shard: str | tuple[int, int] | None = None,
    strict: bool = False,
    progress: bool | Reporter = False,
) -> Sweep:
    """Do many tasks, and keep their rows in a folder: what is there already is not done again.

    **Law L12.** The same tasks give byte-identical folders on every executor, in any number of parts that are merged,
    and however often the work was interrupted or killed in between; nothing that was written is computed twice.

    Each task is known by the hash of its inputs, of the files they name and of the versions of chatlab and its
    libraries, so that a changed file or library computes anew what it touches, and no more. ``OUT/tasks.parquet`` tells
    of every task what became of it; a task that failed is tried again by the next run.

    Args:
        tasks: tasks, or the path of a spec (see :func:`chatlab.sweeps.spec.read_spec`).
        executor: any ``concurrent.futures.Executor`` of processes, such as loky's, or a Dask client's
            ``get_executor()``; left out, this process works alone.
        out: the folder of the results; rows of tasks that are no longer asked for go.
        shard: do part ``i`` of ``n`` alone, as ``"1/3"``: each into a folder of its own, see
            :func:`chatlab.sweeps.merge.merge_sweeps`.
        strict: end at the first task that fails.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        OutputError: the folder cannot be written, is full, or holds another sweep.
        SweepError: the spec or a task is wrong, or with ``strict`` a task failed.
    """
    plan = planned(tasks, shard)
    store = Store(Path(out))
    store.require_same(plan)
    store.find(plan)
    missing = [one for one in plan if not is_done(store, one)]
    with _listed(store, plan, missing), Meter(progress, "sweeping", "tasks", len(missing)) as meter:
        with closing(_answers(missing, executor)) as answers, closing(_kept(store, plan, answers)) as kept:
            for one, answer in kept:
                meter.advance()
                if strict and answer.state == "failed":
                    raise SweepError(
                        f"task {one.key[:12]}, {one.kind} of {one.inputs}: {answer.error}: {answer.message}"
                    )
        store.tidy(plan)
    return Sweep(Path(out), computed=len(missing))


def planned(tasks: str | Path | Iterable[Task], shard: str | tuple[int, int] | None = None) -> list[Planned]:
    """Return the tasks of a spec, or of a shard of it, with their keys.

    Raises:
        SweepError: the spec or a task is wrong.
    """
    part = Shard.of(shard)
    asked = read_spec(tasks) if isinstance(tasks, str | Path) else list(tasks)
    wrong = next((one for one in asked if not isinstance(one, Task)), None)
    if wrong is not None:
        raise SweepError(f"tasks are a list of Task or the path of a spec, not {wrong!r:.80}")
    return [one for one in Planner().plan(asked) if part.has(one)]


def is_done(store: Store, one: Planned) -> bool:
    """Whether the rows of a task are there."""
    entry = store.entries.get(one.key)
    return entry is not None and entry.state == "done"


def _answers(missing: Sequence[Planned], executor: Executor | None) -> Generator[Answered]:
    yield from ((one, Answer.fault(one.fault)) for one in missing if one.fault is not None)
    expected: Mapping[str, Any] = versions()
    with closing(answered([one for one in missing if one.fault is None], executor, expected)) as found:
        yield from found


@contextmanager
def _listed(store: Store, plan: Sequence[Planned], missing: Sequence[Planned]) -> Iterator[None]:
    """Tell of the tasks before the work and after it, however that ends."""
    if missing:
        store.list_tasks(plan)
    try:
        yield
    finally:
        store.list_tasks(plan)


def _kept(store: Store, plan: Sequence[Planned], answers: Iterator[Answered]) -> Generator[Answered]:
    """Pass answers on, and write them now and then; also those at hand when an interrupt or an error comes."""
    held, asked, due = list[Answered](), [one.key for one in plan], 0.0
    try:
        for pair in answers:
            held.append(pair)
            if time.monotonic() >= due:
                began = time.monotonic()
                store.write(held, asked)
                held = []
                due = time.monotonic() + WRITING_SHARE * (time.monotonic() - began)
            yield pair
    finally:
        store.write(held, asked)
