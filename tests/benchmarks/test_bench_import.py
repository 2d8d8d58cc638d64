"""What ``import chatlab`` costs beside starting Python."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.conftest import ROOT


def test_import_beside_a_bare_start(ratio) -> None:
    """Target: less than 3 times ``python -c pass``."""

    def start(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    ratio(
        "import chatlab over python -c pass",
        lambda: start("import chatlab"),
        lambda: start("pass"),
        limit=3,
        rounds=15,
        clock=time.perf_counter,
    )
