"""``chatlab doctor``: one page about a tokenizer, the answer first, then the lines to paste."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatlab.cli.parts.completion import cut_strategies, prompt_formats
from chatlab.cli.parts.own_code import imported
from chatlab.cli.parts.reports import Format, Out, write_report
from chatlab.cli.parts.shell import LoaderOption, Revision, app, console, errors
from chatlab.cli.parts.verdict import verdict
from chatlab.tokenizers.loaders import Loader


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="folder, tokenizer.json, tokenizer.model, GGUF file or hub id")],
    prompt: Annotated[
        str | None,
        typer.Option(
            help="a prompt format, or your own module:Class or file.py:Class; default: what fits the model",
            autocompletion=prompt_formats,
        ),
    ] = None,
    dialogues: Annotated[
        Path | None, typer.Option(help="dialogues as JSON lines, a JSON array or Parquet; default: embedded")
    ] = None,
    skip_echo_len: Annotated[
        str | None,
        typer.Option(
            help="how your program cuts the echo: a number of characters, a known way, or file.py:function of the prompt",
            autocompletion=cut_strategies,
        ),
    ] = None,
    revision: Revision = None,
    loader: LoaderOption = Loader.AUTO,
    fix: Annotated[bool, typer.Option("--fix", help="print the lines to paste and nothing else")] = False,
    format: Format = "rich",
    out: Out = None,
) -> None:
    """Say what is wrong with a model's tokenizer and template, and what to paste; exit 0 nothing, 1 something, 2 error."""
    from chatlab.diagnosis.diagnosis import diagnose

    with verdict():
        with errors.status("diagnosing"):
            found = diagnose(
                model,
                imported(prompt) if prompt is not None and ":" in prompt else prompt,
                dialogues,
                skip_echo_len=_way(skip_echo_len),
                revision=revision,
                loader=loader,
            )
        if fix:
            console.write(found.fix_text())
        else:
            write_report(found, format, out)
        raise typer.Exit(found.exit_code)


def _way(text: str | None) -> int | str | None:
    if text is not None and text.removeprefix("-").isdigit():
        return int(text)
    return imported(text) if text is not None and ":" in text else text
