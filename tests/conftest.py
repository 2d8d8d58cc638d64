"""What every test may ask for: the repository root, the embedded data, the real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Offline on purpose, and one Rust thread: a test that reaches for the hub is a bug.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

# No deadline: a slow machine is not a failing law.
_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ordinary", max_examples=200, **_QUIET)
settings.register_profile("nightly", max_examples=100_000, **_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", default="../shared/real", help="folder of real tokenizers and models; absent: skipped")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Path:
    """The folder of real files, or a visible skip."""
    folder = (ROOT / request.config.getoption("--real")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real files at --real={request.config.getoption('--real')}")
    return folder
