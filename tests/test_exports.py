"""The public list is short, literal, sorted, and costs nothing to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chatlab
import chatlab.testing
from tests.conftest import ROOT

HEAVY = ["torch", "transformers", "ipywidgets", "anywidget", "fastapi", "pandas", "matplotlib", "tokenizers", "numpy"]


def test_the_list_is_sorted_and_every_name_loads() -> None:
    assert chatlab.__all__ == sorted(chatlab.__all__)
    assert chatlab.__all__ == list(chatlab._HOME)
    for name in chatlab.__all__:
        assert getattr(chatlab, name).__name__ == name


@pytest.mark.parametrize("package", [chatlab, chatlab.testing])
def test_the_types_are_those_of_the_list(package) -> None:
    """What a type checker reads, and what is loaded, cannot say two things."""
    source = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (typed,) = (n for n in source.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    told = {a.asname: n.module for n in typed.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert told == {name: f"chatlab.{home}" for name, home in package._HOME.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(chatlab, "no_such_name")


def test_import_chatlab_loads_nothing_heavy() -> None:
    code = f"import sys, chatlab; dir(chatlab); print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [chatlab, chatlab.testing])
def test_no_public_name_is_also_the_name_of_a_file_beside_it(package) -> None:
    """Importing that file would put the module in the name's place."""
    beside = {path.stem for path in Path(package.__file__).parent.iterdir()}
    assert not beside & set(package.__all__)
