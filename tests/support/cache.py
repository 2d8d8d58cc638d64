"""A cache of their own for the tests of this room, so that none of them reads what another run left."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def chatlab_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("CHATLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
