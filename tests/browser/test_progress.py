"""Progress in a real JupyterLab: a bar that grows, and after an interrupt one line that says where, also in the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lab import Notebook

pytestmark = pytest.mark.slow

WORK = """
import time
from chatlab.progress.meter import Meter
with Meter(True, "bisecting", "commits", 100_000) as meter:
    meter.note("<img src=x onerror=alert(1)> 日本語")
    for _ in range(100_000):
        meter.advance()
        time.sleep(0.01)
"""
VALUE = "document.querySelector('.jp-OutputArea progress')?.value ?? 0"


def test_a_bar_grows_and_an_interrupt_leaves_one_line(notebook: Callable[..., Notebook], screenshots: Path) -> None:
    book = notebook("progress", WORK)
    book.run_cell(0)
    book.page.wait_for_function(f"{VALUE} > 20")
    seen = book.page.evaluate(VALUE)
    book.page.wait_for_function(f"{VALUE} > {seen}")
    assert "commits: <img src=x onerror=alert(1)> 日本語, about" in book.page.text_content(".jp-OutputArea")
    book.page.screenshot(path=screenshots / "progress.png")
    book.interrupt()
    book.page.wait_for_function("document.body.textContent.includes('KeyboardInterrupt')")
    assert book.page.evaluate("document.querySelectorAll('.jp-OutputArea progress, .jp-OutputArea img').length") == 0
    line = r"bisecting: stopped at [\d,]+ of 100,000 commits"
    (shown,) = [o for o in book.save()["cells"][0]["outputs"] if o["output_type"] == "display_data"]
    assert set(shown["data"]) == {"text/plain", "text/html"}
    assert re.fullmatch(line, "".join(shown["data"]["text/plain"]))
    assert re.fullmatch(f"<p>{line}</p>", "".join(shown["data"]["text/html"]))
