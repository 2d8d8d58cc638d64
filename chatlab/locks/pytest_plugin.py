"""A pytest fixture that gives locked tokenizers: ``pytest_plugins = ["chatlab.locks.pytest_plugin"]``.

``locked_tokenizer("alias")`` loads the tokenizer of ``chatlab.lock`` in the root of the tests, and only if its files
are byte for byte those that were locked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatlab.locks.check import load_locked
from chatlab.locks.lockfile import DEFAULT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--chatlab-lock``."""
    parser.addoption("--chatlab-lock", default=None, help=f"the lock file; default: {DEFAULT} in the root of the tests")


@pytest.fixture(scope="session")
def locked_tokenizer(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Load a locked tokenizer by its alias, once a session."""
    chosen = request.config.getoption("--chatlab-lock")
    path = Path(chosen) if chosen else request.config.rootpath / DEFAULT
    loaded: dict[str, Any] = {}

    def load(alias: str) -> Any:
        if alias not in loaded:
            loaded[alias] = load_locked(alias, path=path)
        return loaded[alias]

    return load
