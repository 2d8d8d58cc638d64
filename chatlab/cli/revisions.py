"""``chatlab compare``, ``lock`` and ``check``: exit 0 up to MINOR, 1 BREAKING, 2 MAJOR, 3 could not compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from chatlab.cli.shell import app, console

Format = Annotated[
    Literal["rich", "markdown", "json", "html"], typer.Option("--format", help="how to write the result")
]
Out = Annotated[Path | None, typer.Option(help="a file to write instead of the terminal")]
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
    from chatlab.cli.commands import compare_command

    code = compare_command(
        before,
        after,
        versions=versions,
        bisect=bisect,
        loader=loader,
        prompts=prompt or (),
        prompt_file=prompt_file,
        explain=explain,
        format=format,
        out=out,
        console=console,
    )
    raise typer.Exit(code)


@app.command()
def lock(
    alias: Annotated[str, typer.Argument(help="the name to lock it under")],
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
    from chatlab.cli.commands import lock_command

    code = lock_command(
        alias,
        source,
        revision=revision,
        path=file,
        loader=loader,
        prompts=prompt or (),
        roles=role or (),
        vendor=vendor,
        update=update,
        console=console,
    )
    raise typer.Exit(code)


@app.command()
def check(
    alias: Annotated[str | None, typer.Argument(help="one entry; left out, all of them")] = None,
    file: LockFile = Path("chatlab.lock"),
    online: Annotated[bool, typer.Option("--online", help="also ask the hub whether a branch moved")] = False,
    format: Format = "rich",
    out: Out = None,
) -> None:
    """Recompute the lock and say what differs."""
    from chatlab.cli.commands import check_command

    raise typer.Exit(check_command(alias, path=file, online=online, format=format, out=out, console=console))
