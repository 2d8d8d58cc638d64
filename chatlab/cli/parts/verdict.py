"""A command whose exit code is a verdict must reach it: a run that breaks off has a code of its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from chatlab.cli.parts.shell import ERROR, UsageError, errors, typed_errors


@contextmanager
def verdict() -> Iterator[None]:
    """Turn all that breaks a run off into ``ERROR``: Python, typer and rich would leave with 1, which means a drift."""
    try:
        with typed_errors():
            yield
    except (typer.Exit, UsageError):
        raise
    except KeyboardInterrupt:
        errors.print("interrupted: no verdict was reached", style="yellow")
        raise typer.Exit(ERROR) from None
    except SystemExit as error:  # rich leaves so when nobody reads the output any more
        raise typer.Exit(ERROR) from error
    except Exception as error:
        errors.write(traceback.format_exc())
        raise typer.Exit(ERROR) from error
