"""The shell around every command: one app, one console for results, one for progress and errors."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Self

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from typer.core import TyperGroup

import chatlab
from chatlab.errors import ChatlabError
from chatlab.terminal import Terminal
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.loaders import Loader

EXACT, DRIFT, ERROR = 0, 1, 2
"""Exit codes of ``drift`` and ``trace``."""
USAGE = 3
"""Exit code of every command that was called wrongly, or that failed in a way nobody foresaw.

Typer's own 2, Python's 1 after a traceback and typer's 1 for a closed pipe would read as verdicts of ``compare``,
``check`` and ``drift``.
"""

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a wrong call; it has no public name there."""
_Told: Any = UsageError.__base__


class Commands(TyperGroup):
    """The group of all commands, with our exit code for a wrong call and for an accident."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the arguments of the group."""
        with _no_false_verdict():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read the arguments of a command and run it."""
        with _no_false_verdict():
            return super().invoke(ctx)


@contextmanager
def _no_false_verdict() -> Iterator[None]:
    """Let no exit code say what was not found out: a bug keeps its traceback, and exits as a wrong call does."""
    try:
        yield
    except UsageError as error:
        error.exit_code = USAGE
        raise
    except (typer.Exit, _Told, KeyboardInterrupt, SystemExit):
        raise
    except BrokenPipeError as error:  # whoever read the output has gone, and what is left of it has nowhere to go
        with suppress(OSError, ValueError):  # a stream that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(USAGE) from error
    except BaseException as error:  # a panic of a Rust library is no Exception
        errors.write(traceback.format_exc())
        raise typer.Exit(USAGE) from error


app = typer.Typer(
    cls=Commands,
    help="See where a chat model's echo differs from its prompt, why, since when, and what to do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Terminal()
errors = Terminal(stderr=True)


def _tell_version(asked: bool) -> None:
    if asked:
        console.print(f"chatlab {chatlab.__version__}")
        raise typer.Exit()


@app.callback()
def _(
    version: Annotated[
        bool, typer.Option("--version", help="tell the version and leave", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


Source = Annotated[str, typer.Argument(help="folder, tokenizer.json, tokenizer.model or hub id")]
Revision = Annotated[str | None, typer.Option(help="commit, tag or branch of a hub id")]
LoaderOption = Annotated[Loader, typer.Option(help="which library reads the tokenizer")]
Legacy = Annotated[
    bool | None, typer.Option("--legacy/--no-legacy", help="the Llama switch; left out, the library decides")
]


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn our errors into one line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        yield
    except ChatlabError as error:
        errors.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        raise typer.Exit(ERROR) from error


class CtrlC:
    """While this is open, the first Ctrl-C is a wish that long work looks for between its steps; the second interrupts.

    An exception in the middle of anything would halve a step, and Python drops the one it raises in a destructor.
    """

    pressed = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _press(self, number: int, frame: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


def progress_bar() -> Progress:
    """Return a bar that leaves nothing behind."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, transient=True)


def load(
    source: str, revision: str | None, loader: Loader, legacy: bool | None, *, untrusted: bool = False
) -> Tokenizer:
    """Load a tokenizer with a sign of life."""
    from chatlab.tokenizers.load import load_tokenizer

    with errors.status("loading the tokenizer"):
        return load_tokenizer(source, revision, loader=loader, legacy=legacy, untrusted=untrusted)
