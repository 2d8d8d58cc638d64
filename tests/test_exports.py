"""The public list is short, literal, sorted, and costs nothing to import."""

from __future__ import annotations

import subprocess
import sys

import chatlab
from tests.conftest import ROOT

HEAVY = ["torch", "transformers", "ipywidgets", "anywidget", "fastapi", "pandas", "matplotlib", "tokenizers", "numpy"]


def test_the_list_is_sorted_and_every_name_loads() -> None:
    assert chatlab.__all__ == sorted(chatlab.__all__)
    assert set(chatlab._HOME) == set(chatlab.__all__)
    for name in chatlab.__all__:
        assert getattr(chatlab, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(chatlab, "no_such_name")


def test_import_chatlab_loads_nothing_heavy() -> None:
    code = f"import sys, chatlab; dir(chatlab); print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
