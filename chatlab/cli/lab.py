"""``chatlab lab``: JupyterLab on the notebooks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from chatlab.cli.shell import app, typed_errors
from chatlab.errors import SourceNotFound


@app.command()
def lab(
    folder: Annotated[Path, typer.Option(help="where an installed copy puts the notebooks")] = Path(
        "chatlab-notebooks"
    ),
) -> None:
    """Open JupyterLab on the notebooks; from an installed wheel they are copied to a folder first."""
    with typed_errors():
        notebooks = _notebooks(folder)
    raise typer.Exit(subprocess.call([sys.executable, "-m", "jupyter", "lab", str(notebooks)]))


def _notebooks(folder: Path) -> Path:
    """Return the checkout's notebooks, or a copy of the installed ones that the user may change."""
    package = Path(__file__).parent.parent
    checkout = package.parent / "notebooks"
    if checkout.is_dir():
        return checkout
    installed = package / "embedded_notebooks"
    if not installed.is_dir():
        raise SourceNotFound(f"no notebooks in {package}: install chatlab-research again, or run from a checkout")
    for notebook in sorted(installed.glob("*.ipynb")):
        target = folder / notebook.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notebook, target)
    return folder
