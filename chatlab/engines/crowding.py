"""More threads than cores: engines that work at once in one process, each with as many threads as the machine has."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from chatlab.errors import ChatlabWarning

_told = False


class CrowdedThreadsWarning(ChatlabWarning):
    """Engines that work at once ask for more threads than there are cores, and wait for each other."""


def core_len() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def warn_of_crowding(threads: Sequence[int], *, stacklevel: int) -> None:
    """Warn once a process when engines that work at once, with so many threads each, ask for more than the cores.

    One engine never warns, nor do engines with one thread each: they could not ask for less.

    Warns:
        CrowdedThreadsWarning: it names the way out.
    """
    global _told
    cores = core_len()
    if _told or len(threads) < 2 or max(threads) < 2 or sum(threads) <= cores:
        return
    fair = max(1, cores // len(threads))
    warnings.warn(
        f"{len(threads)} engines work at once with {' + '.join(map(str, threads))} torch threads on {cores} cores, and "
        f"wait for each other: give each LocalEngine(…, torch_threads={fair})",
        CrowdedThreadsWarning,
        stacklevel=stacklevel + 1,
    )
    _told = True
