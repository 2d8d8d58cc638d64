"""The built wheel, away from the checkout: what travels in it, and ``chatlab lab`` as its user meets it."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from chatlab import __version__
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

WHEEL_LIMIT = 6_000_000
"""Bytes; the embedded model is four fifths of them."""
OUR_FILES = """
import json, sys
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "chatlab" and m.__file__]))
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


def run_python(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir", "--disable-pip-version-check"]
    run_python(["-m", "pip", "wheel", *offline, "--wheel-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed; its dependencies are those of the running Python."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    run_python(["-m", "pip", "install", *options, "--target", str(folder), str(wheel)])
    return folder


@pytest.fixture
def user(site: Path, tmp_path: Path) -> dict[str, Any]:
    """Where and how a user runs things: a folder of their own, and the wheel before anything of this checkout."""
    return {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "160", "NO_COLOR": "1"}}


@pytest.fixture
def chatlab(site: Path, user: dict[str, Any]) -> Run:
    """Run the installed command."""
    return lambda *arguments: run_python([str(site / "bin" / "chatlab"), *arguments], **user)


@pytest.fixture
def runner() -> ModuleType:
    """The script that runs the notebooks; it stays in the checkout."""
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_in(folder: str) -> set[str]:
    """The files of a folder of the checkout, without what Python leaves there."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in paths}


def notebooks() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_the_wheel_ships_the_package_with_its_types_scripts_and_styles(names: set[str]) -> None:
    assert files_in("chatlab") <= names
    assert {
        "chatlab/py.typed",
        "chatlab/browser/log.js",
        "chatlab/browser/chat_page.html",
        "chatlab/browser/icon.svg",
    } <= names


def test_the_wheel_ships_the_data_and_the_notebooks(names: set[str]) -> None:
    for folder in ("data/dialogues", "data/models", "data/probes", "data/sweeps", "data/tokenizers"):
        files = files_in(folder)
        assert files
        assert {f"chatlab/embedded_{name}" for name in files} <= names
    inside = {name for name in names if name.startswith("chatlab/embedded_notebooks/")}
    assert inside == {f"chatlab/embedded_notebooks/{name}" for name in notebooks()}
    assert len(inside) >= 4


def test_the_wheel_ships_nothing_else(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"chatlab", f"chatlab_research-{__version__}.dist-info"}
    assert not [name for name in names if "test" in Path(name).parts or "tests" in Path(name).parts]
    assert not [name for name in names if Path(name).name.startswith(("make_", ".")) or "checkpoints" in name]


def test_the_wheel_is_small(wheel: Path) -> None:
    assert 1_000_000 < wheel.stat().st_size < WHEEL_LIMIT


def test_help_tells_of_the_folder(chatlab: Run) -> None:
    told = chatlab("lab", "--help").stdout
    assert "--folder" in told
    assert "chatlab-notebooks" in told
    assert "--no-open" in told


def test_lab_copies_the_notebooks_first(chatlab: Run, tmp_path: Path) -> None:
    assert chatlab("lab", "--no-open").stdout.strip() == "chatlab-notebooks"
    copies = {path.name: path.read_bytes() for path in (tmp_path / "chatlab-notebooks").iterdir()}
    assert copies == notebooks()


def test_the_installed_command_works_on_its_own_data(chatlab: Run, user: dict[str, Any], site: Path) -> None:
    path = "from chatlab.embedded import tokenizer_path; print(tokenizer_path('llama2-style/non-legacy'))"
    tokenizer = run_python(["-c", path], **user).stdout.strip()
    assert Path(tokenizer).is_relative_to(site)
    assert "the echo is the prompt" in chatlab("trace", tokenizer, "Hello there").stdout


def test_a_copied_notebook_runs_on_the_wheel_alone(
    chatlab: Run, runner: ModuleType, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outputs are those that were committed, and every module of ours comes from the wheel."""
    chatlab("lab", "--no-open", "--folder", "mine")
    monkeypatch.setattr(runner, "ROOT", site)  # what it puts on the kernel's path
    monkeypatch.setattr(runner, "CELL_TIMEOUT_S", 300)
    shipped = nbformat.read(tmp_path / "mine" / "04_buffer_and_stop.ipynb", as_version=4)
    notebook = copy.deepcopy(shipped)
    notebook.cells.append(nbformat.v4.new_code_cell(OUR_FILES))
    runner.execute(notebook, tmp_path / "mine")
    told = notebook.cells.pop().outputs
    files = json.loads(told[0].text)
    assert len(files) > 10
    assert [file for file in files if not Path(file).is_relative_to(site)] == []
    runner.normalise(notebook)
    assert list(runner.differences(shipped, notebook)) == []
