"""``chatlab compare``, ``lock`` and ``check``: exit 0 up to MINOR, 1 BREAKING, 2 MAJOR, 3 could not compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from chatlab.cli.parts.completion import aliases
from chatlab.cli.parts.reports import Format, Out, no_verdict, write_report
from chatlab.cli.parts.shell import app, console
from chatlab.errors import LockError, OutputError
from chatlab.render import readable

Prompt = Annotated[list[str] | None, typer.Option(help="a prompt of your own; may be given more than once")]
LockFile = Annotated[Path, typer.Option("--file", help="the lock file")]


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="what works today: org/name@commit, a folder, or a clone@commit")],
    after: Annotated[str | None, typer.Argument(help="what would take its place")] = None,
    versions: Annotated[str | None, typer.Option(help="transformers versions, with commas between")] = None,
    bisect: Annotated[bool, typer.Option("--bisect", help="find the first commit that changes the verdict")] = False,
    loader: Annotated[str | None, typer.Option(help="the loader that the verdict is about")] = None,
    prompt: Prompt = None,
    prompt_file: Annotated[Path | None, typer.Option(help="a text file of prompts, or a JSON list of them")] = None,
    explain: Annotated[str | None, typer.Option(help="a probe to show through both, such as prompt/0")] = None,
    format: Format = "rich",
    out: Out = None,
) -> None:
    """Compare two revisions of a tokenizer, or one source under several library versions."""
    with no_verdict("compare"):
        prompts = [*(prompt or ()), *(read_prompts(prompt_file) if prompt_file else ())]
        _one_question(before, after, versions=versions, bisect=bisect, explain=explain)
        result = _answer(before, after, versions, bisect, loader, prompts)
        write_report(result, format, out)
        if explain is not None:
            console.print(Text(result.explain(explain).to_text()))
    raise typer.Exit(result.exit_code)


def _answer(
    before: str, after: str | None, versions: str | None, bisect: bool, loader: str | None, prompts: list[str]
) -> Any:
    """Return what the three questions of ``compare`` are answered with: a matrix, a bisection or a comparison."""
    if versions is not None:
        from chatlab.history.environments import compare_versions

        wanted = [version.strip() for version in versions.split(",") if version.strip()]
        return compare_versions(before, wanted, loader=loader or "auto", prompts=prompts, progress=True)
    if after is None:
        raise OutputError("nothing to compare with: give a second source, or --versions")
    if bisect:
        from chatlab.history.bisection import bisect_revisions

        (source, old), (_, new) = _split(before), _split(after)
        return bisect_revisions(source, old, new, loader=loader, prompts=prompts, progress=True)
    from chatlab.revisions.compare import compare_revisions

    return compare_revisions(before, after, loader=loader, prompts=prompts)


@app.command()
def lock(
    alias: Annotated[str, typer.Argument(help="the name to lock it under", autocompletion=aliases)],
    source: Annotated[str | None, typer.Argument(help="what to lock; left out with --update")] = None,
    revision: Annotated[str | None, typer.Option(help="commit, tag or branch")] = None,
    file: LockFile = Path("chatlab.lock"),
    loader: Annotated[str, typer.Option(help="which library reads it")] = "auto",
    prompt: Prompt = None,
    role: Annotated[list[str] | None, typer.Option(help="another pin, such as weights=org/model@commit")] = None,
    vendor: Annotated[bool, typer.Option("--vendor", help="keep a copy of the files beside the lock")] = False,
    update: Annotated[bool, typer.Option("--update", help="rewrite the entry, with a note of what changed")] = False,
) -> None:
    """Write down what a tokenizer is and does today."""
    from chatlab.locks.lock import lock as lock_tokenizer

    with no_verdict("lock"):
        entry = lock_tokenizer(
            alias,
            source,
            revision=revision,
            path=file,
            loader=loader,
            prompts=prompt or (),
            roles=dict(map(_role, role or ())),
            vendor=vendor,
            update=update,
        )
    at = f" at {entry.revision}" if entry.revision else ""
    corpus = entry.golden["corpus"]["version"]
    _say(f"{alias}: {readable(entry.place)}{at}, {len(entry.files)} files, {corpus}. corpus → {file}")
    if entry.requested is not None and entry.requested != entry.revision:
        _say(f"{entry.requested!r} can move: load it with revision={entry.revision!r}")
    if update and entry.history:
        note = entry.history[0]
        _say(f"{note['severity']} against the former lock: {'; '.join(note['changed']) or 'nothing differs'}")


@app.command()
def check(
    alias: Annotated[
        str | None, typer.Argument(help="one entry; left out, all of them", autocompletion=aliases)
    ] = None,
    file: LockFile = Path("chatlab.lock"),
    online: Annotated[bool, typer.Option("--online", help="also ask the hub whether a branch moved")] = False,
    format: Format = "rich",
    out: Out = None,
) -> None:
    """Recompute the lock and say what differs; the worst exit code counts, and 3 when one gave no verdict and none breaks."""
    from chatlab.locks.check import check as check_lock

    with no_verdict("check"):
        results = check_lock(alias, path=file, online=online)
        write_report(results, format, out)
    raise typer.Exit(results.exit_code)


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file: a JSON list of strings, or one a line.

    Raises:
        OutputError: the file cannot be read or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line]
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(p, str) for p in found):
        raise OutputError(f"{path} holds no list of prompts")
    return found


def _say(text: str) -> None:
    console.print(Text(text))


def _role(spec: str) -> tuple[str, str]:
    name, mark, pin = spec.partition("=")
    if not (name and mark and pin):
        raise LockError(f"the role {spec!r} names no pin: give NAME=SOURCE@COMMIT, such as weights=org/model@COMMIT")
    return name, pin


def _one_question(before: str, after: str | None, *, versions: str | None, bisect: bool, explain: str | None) -> None:
    """Refuse what would be left out of the answer without a word."""
    if versions is not None and not versions.strip(", "):
        raise OutputError("--versions names none: give versions of transformers, such as 4.46.3,5.23.0")
    if versions is not None and (after is not None or bisect):
        raise OutputError("--versions is about one source: leave out the second one and --bisect")
    if explain is not None and (versions is not None or bisect):
        raise OutputError("--explain is about two revisions: leave out --versions and --bisect")
    if bisect and after is not None and _split(before)[0] != _split(after)[0]:
        raise OutputError(f"--bisect is about one history: {before} and {after} are of two sources")


def _split(spec: str) -> tuple[str, str]:
    source, mark, revision = spec.rpartition("@")
    if not mark:
        raise OutputError(f"{spec} names no revision: give SOURCE@REVISION")
    return source, revision
