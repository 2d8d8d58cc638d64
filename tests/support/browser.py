"""A real browser, from whatever the machine has; absent, these tests skip visibly, but in CI they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.lab import Lab, Notebook

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARTEFACTS = ROOT / "artefacts" / "screenshots"
BLANK = '<!doctype html><html lang="en"><head><title>blank</title><link rel="icon" href="data:,"></head><body></body></html>'
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--proxy-server=http://127.0.0.1:9",  # nothing answers there: only loopback, which no proxy serves, is reachable
]


def missing(reason: str) -> None:
    """Skip where a person reads it; fail where a machine must have it."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}: CI must run the browser tests", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """One headless browser for this folder: while it runs, Playwright holds the thread's event loop."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install -e '.[dev]'")
    path = os.environ.get("CHATLAB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("no Chromium or Chrome found: run `make browser`, or set CHATLAB_BROWSER to its path")
    with sync_playwright() as playwright:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS + ["--no-sandbox"] * root, timeout=60_000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def page(chromium: Any) -> Iterator[Any]:
    """One page whose address is a blank document; a localhost page may use the clipboard."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.route("http://localhost/**", lambda route: route.fulfill(content_type="text/html", body=BLANK))
    yield page
    context.close()


@pytest.fixture
def blank_page(page: Any) -> Callable[[], Any]:
    """Load the blank document again, which forgets what stood there."""

    def load() -> Any:
        page.goto("http://localhost/")
        return page

    return load


@pytest.fixture(scope="package")
def lab(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for this folder."""
    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="package")
def context(chromium: Any) -> Iterator[Any]:
    """Pages that share JupyterLab's files in the browser's cache."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def notebook(lab: Lab, context: Any) -> Iterator[Callable[..., Notebook]]:
    """Open notebooks of given cells; an error or a dialog in a page, or a request beyond the server, fails the test."""
    opened: list[Notebook] = []

    def open_notebook(name: str, *sources: str) -> Notebook:
        opened.append(Notebook(context, lab, lab.write(name, *sources)))
        return opened[-1]

    yield open_notebook
    problems = [problem for one in opened for problem in one.problems]
    for one in opened:
        one.close()
    assert problems == []


@pytest.fixture
def axe() -> str:
    """The accessibility checker's script, or a visible skip."""
    path = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not here: `make browser` fetches it where npm is")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def screenshots() -> Path:
    """Where pictures are kept for people to look at."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS
