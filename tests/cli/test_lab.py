"""``chatlab lab``: the notebooks arrive, nothing of a user's is written over, JupyterLab opens on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.cli.parts import notebooks as home
from chatlab.errors import OutputError, SourceNotFound
from tests.conftest import ROOT

OURS = {"01_first.ipynb": b"one\r\n", "02_second.ipynb": b"two"}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package's notebooks, and a working folder of the user's."""
    folder = tmp_path / "site" / "embedded_notebooks"
    folder.mkdir(parents=True)
    for name, content in OURS.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no notebook")
    monkeypatch.setattr(home, "INSTALLED", folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def lab(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lab", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_installed_copy_puts_the_notebooks_in_a_folder(installed: Path) -> None:
    run = lab("--no-open")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "chatlab-notebooks\n", "")
    assert contents(Path("chatlab-notebooks")) == OURS


def test_a_second_run_changes_nothing_and_says_nothing(installed: Path) -> None:
    lab("--no-open")
    stamps = {path: path.stat().st_mtime_ns for path in Path("chatlab-notebooks").iterdir()}
    assert lab("--no-open").stderr == ""
    assert {path: path.stat().st_mtime_ns for path in Path("chatlab-notebooks").iterdir()} == stamps


def test_a_changed_notebook_is_kept_and_named(installed: Path) -> None:
    lab("--no-open", "--folder", "mine [red]")
    mine = Path("mine [red]")
    (mine / "01_first.ipynb").write_bytes(b"my work")
    (mine / "02_second.ipynb").unlink()
    run = lab("--no-open", "--folder", "mine [red]")
    assert run.exit_code == 0
    assert f"kept {mine / '01_first.ipynb'}: it differs" in run.stderr
    assert "02_second" not in run.stderr
    assert contents(mine) == {"01_first.ipynb": b"my work", "02_second.ipynb": b"two"}


def test_a_link_that_leads_nowhere_is_not_written_through(installed: Path) -> None:
    folder = Path("linked")
    folder.mkdir()
    (folder / "01_first.ipynb").symlink_to("elsewhere.ipynb")
    assert home.copy_notebooks(folder) == [folder / "01_first.ipynb"]
    assert not (folder / "elsewhere.ipynb").exists()


def test_an_interrupted_copy_leaves_no_half_notebook(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="No space left"):
        home.copy_notebooks(Path("full"))
    assert list(Path("full").iterdir()) == []


def test_a_file_in_the_way_is_one_line(installed: Path) -> None:
    Path("taken").write_text("a file")
    run = lab("--no-open", "--folder", "taken")
    assert run.exit_code == 2
    assert "cannot copy the notebooks to taken: File exists; choose another --folder" in run.stderr


def test_a_checkout_opens_its_own_notebooks_and_copies_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lab("--no-open").stdout.strip() == str(ROOT / "notebooks")
    assert list(tmp_path.iterdir()) == []
    assert lab("--no-open", "--folder", "mine").stdout.strip() == "mine"
    assert contents(tmp_path / "mine") == {p.name: p.read_bytes() for p in (ROOT / "notebooks").glob("*.ipynb")}


def test_a_damaged_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INSTALLED", "CHECKOUT"):
        monkeypatch.setattr(home, name, tmp_path / name)
    with pytest.raises(SourceNotFound, match="install chatlab-research again"):
        home.notebooks_path()


class Jupyter:
    """In place of a process: it is interrupted twice, as by a reader who does not want to answer, then ends."""

    def __init__(self, command: list[str]) -> None:
        self.calls = [(command, sorted(path.name for path in Path("chatlab-notebooks").iterdir()))]
        self._waits = iter([KeyboardInterrupt, KeyboardInterrupt, 7])

    def wait(self) -> int:
        end = next(self._waits)
        if isinstance(end, int):
            return end
        raise end


def test_jupyterlab_opens_on_the_copy_and_answers_ctrl_c_itself(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Jupyter] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command: opened.append(Jupyter(command)) or opened[-1])
    assert lab().exit_code == 7
    assert opened[0].calls == [([sys.executable, "-m", "jupyter", "lab", "chatlab-notebooks"], sorted(OURS))]


def test_what_stands_behind_two_dashes_goes_to_jupyterlab(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Jupyter] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command: opened.append(Jupyter(command)) or opened[-1])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "chatlab lab -- --allow-root" in lab("--port", "9999", "--", "--no-browser").stderr
    assert opened[0].calls[0][0][-2:] == ["--port=9999", "--no-browser"]
    assert lab("--", "--allow-root").stderr == ""


def test_nobody_else_is_told_of_root(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", Jupyter)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert lab().stderr == ""
