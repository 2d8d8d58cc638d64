"""What memory there is and what of it this process has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def resource_usage() -> dict[str, Any]:
    """Bytes of the machine's memory, of this process, and of each GPU; ``None`` where the system does not tell."""
    return {
        "cpu_memory": {"total": _pages("SC_PHYS_PAGES"), "free": _pages("SC_AVPHYS_PAGES"), "process": _own()},
        "gpus": _gpus(),
    }


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _own() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _gpus() -> list[dict[str, Any]]:
    """A server without a model has loaded no torch, and has no use for one here."""
    if "torch" not in sys.modules:
        return []
    from chatlab.engines.device import gpu_memory

    return gpu_memory()
