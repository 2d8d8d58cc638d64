"""The tests of this folder drive a browser: marked, and with a time limit of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import axe as axe
from tests.support.browser import blank_page as blank_page
from tests.support.browser import chromium as chromium
from tests.support.browser import context as context
from tests.support.browser import lab as lab
from tests.support.browser import notebook as notebook
from tests.support.browser import page as page
from tests.support.browser import screenshots as screenshots


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(150))
