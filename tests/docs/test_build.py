"""The documentation builds offline, without a warning; `make docs` writes the pages."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """All is read and every link resolved; the pages themselves are not written."""
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dummy", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stderr) == (0, "")
