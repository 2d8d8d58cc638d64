"""Every notebook in a real JupyterLab: it runs to its end, shows no error, asks for nothing outside this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.lab import Lab, Notebook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def running(lab: Lab, context: Any) -> Iterator[dict[str, Notebook]]:
    """All notebooks, running at the same time: most of each is waiting for imports."""
    books = {}
    for path in NOTEBOOKS:
        shutil.copy(path, lab.root)
        books[path.stem] = Notebook(context, lab, path.name)
        books[path.stem].clear_outputs()
        books[path.stem].run_all(wait=False)
    yield books
    for book in books.values():
        book.close()


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_to_its_end(running: dict[str, Notebook], name: str, screenshots: Path) -> None:
    book = running[name]
    book.wait_done(timeout_s=300)
    book.page.wait_for_timeout(300)
    book.page.bring_to_front()
    book.page.screenshot(path=screenshots / f"{name}.png")
    errors = book.page.locator(
        "[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText[data-mime-type*=error]"
    )
    assert errors.all_inner_texts() == []
    assert book.page.locator(".jp-CodeCell").count() > 3
    assert book.problems == []
