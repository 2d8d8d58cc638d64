"""The scripts of data/ are no package: they are run as a user runs them, or imported from their folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chatlab.embedded import dialogues_path
from chatlab.prompts.dialogue import Dialogue, read_dialogues
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def dialogues() -> list[Dialogue]:
    return list(read_dialogues(dialogues_path()))


@pytest.fixture
def data_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``import make_model`` and its siblings work."""
    monkeypatch.syspath_prepend(str(ROOT / "data"))


@pytest.fixture
def run_script() -> Callable[..., None]:
    def run(name: str, out: Path) -> None:
        # Another hash seed each time: an order that hangs on it must not reach the bytes.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(os.getpid() % 1000)}
        command = [sys.executable, str(ROOT / "data" / name), "--out", str(out)]
        subprocess.run(command, check=True, env=environment, timeout=300)

    return run
