"""Where a report goes: the terminal, or a file, in the format that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from rich.text import Text

from chatlab.cli.parts.shell import console
from chatlab.errors import ChatlabError, OutputError
from chatlab.files import write_whole
from chatlab.render import json_text, readable
from chatlab.severity import COULD_NOT_COMPARE
from chatlab.terminal import Terminal

Format = Annotated[
    Literal["rich", "markdown", "json", "html"], typer.Option("--format", help="how to write the result")
]
Out = Annotated[Path | None, typer.Option(help="a file to write instead of the terminal")]


class Report(Protocol):
    """What can be written in every format."""

    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def to_markdown(self) -> str: ...  # noqa: D102

    def page(self) -> str: ...  # noqa: D102


@contextmanager
def no_verdict(verb: str) -> Iterator[None]:
    """Turn what went wrong into one line and the exit code that says: there is no verdict."""
    try:
        yield
    except (ChatlabError, OSError) as error:
        console.print(Text(f"could not {verb}: {readable(str(error))}", style="red"))
        raise typer.Exit(COULD_NOT_COMPARE) from error


def write_report(result: Report, format: str, out: Path | None) -> None:
    """Write a report to the terminal or, whole or not at all, to a file.

    Raises:
        OutputError: the format is unknown, or the file cannot be written.
    """
    if format == "rich" and out is None:
        console.print(result)
        return
    makers = {
        "rich": lambda: _plain_text(result),
        "markdown": result.to_markdown,
        "json": lambda: json_text(result.to_dict(), indent=2, sort_keys=True),
        "html": result.page,
    }
    if format not in makers:
        raise OutputError(f"{format!r} is no format: {', '.join(makers)}")
    text = makers[format]().encode("utf-8", "backslashreplace").decode()
    if out is None:
        console.write(text)
        return
    write_whole(out, text + "\n")


def _plain_text(result: Report) -> str:
    buffer = StringIO()
    Terminal(file=buffer, width=120).print(result)
    return buffer.getvalue()
