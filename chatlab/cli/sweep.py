"""``chatlab sweep``: exit 0 where all tasks are done, 1 where some failed, 2 where it broke off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from chatlab.cli.parts.shell import app, console
from chatlab.cli.parts.verdict import verdict
from chatlab.errors import SweepError


@app.command()
def sweep(
    spec: Annotated[str | None, typer.Argument(help="a TOML file, or embedded for the one that travels along")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the results; default: the spec's name")] = None,
    jobs: Annotated[int | None, typer.Option(help="so many processes on this machine; default: this one")] = None,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler, such as tcp://host:8786")] = None,
    shard: Annotated[
        str | None, typer.Option(help="do part i/n alone, for job arrays; merge the folders after")
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(help="put this folder of a shard into --out; once for each")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="end at the first task that fails")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell what there is to do, and do nothing")] = False,
) -> None:
    """Measure many dialogues, tokenizers, prompts and templates; done again, it computes only what is missing."""
    from chatlab.sweeps.merge import merge_sweeps
    from chatlab.sweeps.run import sweep as run

    with verdict():
        if merge:
            result = merge_sweeps(merge, _folder(out, None))
        elif spec is None:
            raise SweepError("give a spec, or --merge with the folders of shards")
        elif dry_run:
            _tell_plan(spec, _folder(out, spec), shard)
            return
        else:
            with _executor(jobs, dask) as executor:
                result = run(spec, executor, _folder(out, spec), shard=shard, strict=strict, progress=True)
        console.print(Text(str(result)))
        raise typer.Exit(result.exit_code)


def _folder(out: Path | None, spec: str | None) -> Path:
    if out is None and spec is None:
        raise SweepError("--merge needs --out, a new folder")
    return out or Path(Path(spec or "").stem)


@contextmanager
def _executor(jobs: int | None, address: str | None) -> Iterator[Any]:
    from chatlab.sweeps.pools import dask_cluster, processes

    if jobs is not None and address is not None:
        raise SweepError("--jobs is for this machine and --dask for many: give one of them")
    if address is not None:
        with dask_cluster(address) as executor:
            yield executor
    elif jobs is not None:
        with processes(jobs) as executor:
            yield executor
    else:
        yield None


def _tell_plan(spec: str, folder: Path, shard: str | None) -> None:
    from chatlab.sweeps.run import planned
    from chatlab.sweeps.store import held_entries

    plan = planned(spec, shard)
    held = held_entries(folder, plan).values()
    done = {key for entries in held for key, entry in entries.items() if entry.state == "done"}
    for kind, count in sorted(Counter(one.kind for one in plan).items()):
        left = sum(one.kind == kind and one.key not in done for one in plan)
        console.print(Text(f"{kind}: {count:,} tasks, {left:,} to compute"))
    for one in plan:
        if one.fault is not None:
            console.print(Text(f"{one.key[:12]} {one.kind} cannot be done: {one.fault}"))
