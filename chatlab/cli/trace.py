"""``chatlab trace``: one prompt, explained."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from chatlab.cli.parts.shell import (
    DRIFT,
    EXACT,
    Legacy,
    LoaderOption,
    Revision,
    Source,
    app,
    console,
    errors,
    load,
)
from chatlab.cli.parts.verdict import verdict
from chatlab.render import diff_text, visible
from chatlab.tokenizers.loaders import Loader

if TYPE_CHECKING:
    from chatlab.echo.trace import EchoTrace


@app.command()
def trace(
    tokenizer: Source,
    text: Annotated[str, typer.Argument(help="the prompt, or - to read it from standard input")] = "-",
    revision: Revision = None,
    loader: LoaderOption = Loader.AUTO,
    legacy: Legacy = None,
    add_special_tokens: Annotated[bool, typer.Option("--add-special-tokens", help="encode with BOS and EOS")] = False,
    keep_special_tokens: Annotated[
        bool, typer.Option("--keep-special-tokens", help="decode without skipping them")
    ] = False,
) -> None:
    """Show one prompt against its echo: every edit with its token, cause, proof and cure."""
    from chatlab.echo.trace import trace_echo

    with verdict():
        prompt = _standard_input() if text == "-" else text
        reader = load(tokenizer, revision, loader, legacy)
        result = trace_echo(
            reader, prompt, add_special_tokens=add_special_tokens, skip_special_tokens=not keep_special_tokens
        )
        _show_trace(result)
        raise typer.Exit(DRIFT if result.surprises else EXACT)


def _standard_input() -> str:
    if sys.stdin.isatty():
        errors.print("reading the prompt from standard input; end with Ctrl-D")
    return sys.stdin.buffer.read().decode("utf-8", errors="surrogateescape")


def _show_trace(result: EchoTrace) -> None:
    console.print(Text(result.summary()))
    console.print(diff_of(result, context_len=None), soft_wrap=True)
    if not result.edits:
        return
    table = Table()
    for column in ("at", "prompt", "echo", "token", "cause", "proof", "cure"):
        table.add_column(column)

    for edit in result.edits:
        proof = edit.evidence.changed if edit.evidence else "none found"
        cells = (
            str(edit.prompt_span[0]),
            visible(edit.prompt_text),
            visible(edit.echo_text),
            visible(edit.piece),
            edit.cause,
            proof,
            edit.cure,
        )
        table.add_row(*(Text(cell.replace("\n", "")) for cell in cells))
    console.print(table)


def diff_of(result: EchoTrace, context_len: int | None) -> Text:
    """Return the diff with colours for the terminal; it reads without them."""
    styles = {"same": "", "del": "red", "ins": "bold blue"}
    text = Text()
    for part in result.parts():
        text.append(diff_text([part], context_len), style=styles[part.kind])
    return text
