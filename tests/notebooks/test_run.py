"""The runner: the same bytes every time, and a check that sees what a reader would see."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIVE = """
from IPython.display import HTML, display
import ipywidgets
print("one"); print("two")
display({"text/plain": "a panel", "text/html": "<p>a" + " panel</p>", "application/vnd.jupyter.widget-view+json": {}}, raw=True)
for _ in range(2):
    display(HTML('<div class="chatlab"><details><summary>a form</summary><details></details></details></div>'))
"""
PICTURE = "from matplotlib.figure import Figure\n%matplotlib inline\nfigure = Figure(figsize=(2, 1)); figure.add_subplot()\nfigure"
FRAME = "import pandas as pd\npd.DataFrame({'a': [1]})"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, *sources: str, name: str = "story") -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("# Story"), *map(nbformat.v4.new_code_cell, sources)]
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def written(run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    path = write(
        folder, LIVE, PICTURE, FRAME, "import os; os.environ['HF_HUB_OFFLINE']", "await __import__('asyncio').sleep(0)"
    )
    assert run.main(["--folder", str(folder)]) == 0
    return path


def test_a_second_run_writes_the_same_bytes(run: ModuleType, written: Path, tmp_path: Path) -> None:
    copy = tmp_path / written.name
    copy.write_bytes(written.read_bytes())
    assert run.main(["--folder", str(tmp_path)]) == 0
    assert copy.read_bytes() == written.read_bytes()


def test_what_is_written_is_normal(written: Path) -> None:
    notebook = json.loads(written.read_text(encoding="utf-8"))
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{n:02}" for n in range(6)]
    assert [cell["execution_count"] for cell in notebook["cells"][1:]] == [1, 2, 3, 4, 5]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    live, picture, frame, offline, _ = (cell["outputs"] for cell in notebook["cells"][1:])
    assert [output["output_type"] for output in live] == ["stream", *["display_data"] * 3]
    assert set(live[1]["data"]) == {"text/plain", "text/html"}
    opened, closed = ("".join(output["data"]["text/html"]) for output in live[2:])
    assert opened == closed.replace("<details>", "<details open>", 1), "the one right below a widget"
    assert "image/png" in picture[0]["data"]
    assert "text/html" in frame[0]["data"]
    assert offline[0]["data"]["text/plain"] == ["'1'"]


def test_the_check_agrees_with_what_was_just_written(
    run: ModuleType, written: Path, capsys: pytest.CaptureFixture
) -> None:
    before = written.read_bytes()
    assert run.main(["--folder", str(written.parent), "--check"]) == 0
    assert "story: as committed" in capsys.readouterr().out
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"two\\n"', '"three\\n"', "stdout 1 differs"),
        ("<p>a panel</p>", "<p>another</p>", "text/html 1 differs"),
        ('"execution_count": 3', '"execution_count": 7', "the counts do not go"),
        ('"cell-03"', '"other"', "run it without --check"),
    ],
)
def test_the_check_sees_a_changed_output(run: ModuleType, written: Path, old: str, new: str, said: str) -> None:
    text = written.read_text(encoding="utf-8")
    assert old in text
    committed = nbformat.reads(text.replace(old, new), as_version=4)
    assert said in "".join(run.differences(committed, nbformat.reads(text, as_version=4)))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import os; print(os.path.expanduser('~') + '/x')", "a folder of this machine"),
        ("print('x' * 300_000)", "the limit is 200,000"),
        ("import ipywidgets; ipywidgets.IntSlider()", "a widget without a still form"),
    ],
)
def test_what_must_not_be_committed_is_refused_and_nothing_is_written(
    run: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture, source: str, said: str
) -> None:
    path = write(tmp_path, source)
    before = path.read_bytes()
    assert run.main(["--folder", str(tmp_path)]) == 1
    assert said in capsys.readouterr().out
    assert path.read_bytes() == before


def test_only_takes_part_of_a_name_and_names_what_it_misses(run: ModuleType, tmp_path: Path, capsys) -> None:
    write(tmp_path, "1", name="01_one")
    write(tmp_path, "1 / 0", name="02_two")
    assert run.main(["--folder", str(tmp_path), "--only", "01"]) == 0
    with pytest.raises(SystemExit):
        run.main(["--folder", str(tmp_path), "--only", "07"])
    assert "is called 07" in capsys.readouterr().err


def test_pictures_are_compared_by_size(run: ModuleType) -> None:
    def notebook(side: int) -> nbformat.NotebookNode:
        import base64
        import struct

        png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", side, 100)).decode()
        cell = nbformat.v4.new_code_cell("x", execution_count=1, id="cell-00")
        cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": png})]
        return nbformat.v4.new_notebook(cells=[cell], metadata=run.METADATA)

    assert not list(run.differences(notebook(300), notebook(310)))
    assert list(run.differences(notebook(300), notebook(400))) == [
        "In [1], image/png 1: 300 x 100 pixels in the file, 400 x 100 in the new run"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_still_gives_its_committed_outputs(run: ModuleType, path: Path) -> None:
    assert run.visit(path, check=True)
