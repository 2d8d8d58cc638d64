"""``chatlab lab``: JupyterLab on the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from chatlab.cli.parts.notebooks import CHECKOUT, copy_notebooks, notebooks_path
from chatlab.cli.parts.shell import app, console, errors, typed_errors

FOLDER = Path("chatlab-notebooks")
_ROOT = "JupyterLab does not run as root unless it is told to: chatlab lab -- --allow-root"


@app.command(context_settings={"allow_extra_args": True})
def lab(
    jupyter: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(help=f"copy the notebooks here; left out: {FOLDER}, or none of a checkout", show_default=False),
    ] = None,
    open: Annotated[
        bool, typer.Option("--open/--no-open", help="start JupyterLab, or only say where the notebooks are")
    ] = True,
    port: Annotated[int | None, typer.Option(help="where JupyterLab listens; default: it chooses", min=1)] = None,
) -> None:
    """Open JupyterLab on the notebooks; from an installed wheel they are copied to a folder first.

    What stands behind `--` goes to JupyterLab: `chatlab lab -- --no-browser`.
    """
    options = [*([] if port is None else [f"--port={port}"]), *jupyter.args]
    with typed_errors():
        place = _place(folder)
    if open:
        code = _run([sys.executable, "-m", "jupyter", "lab", str(place), *options])
        if code and hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in options:
            errors.print(_ROOT, soft_wrap=True, markup=False)
        raise typer.Exit(code)
    console.print(Text(str(place)), soft_wrap=True)


def _run(command: list[str]) -> int:
    """Wait for a command that answers Ctrl+C itself: JupyterLab asks first, saves and ends its kernels."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _place(folder: Path | None) -> Path:
    """Return the checkout's own notebooks, or a copy that the user may change."""
    if folder is None and notebooks_path() == CHECKOUT:
        return CHECKOUT
    target = folder or FOLDER
    for kept in copy_notebooks(target):
        errors.print(
            Text(f"kept {kept}: it differs from the one installed; rename it to get that one beside it"), soft_wrap=True
        )
    return target
