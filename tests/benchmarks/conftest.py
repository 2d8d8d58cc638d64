"""Benchmarks print what they measure; ``ratio`` asserts its promise beside a peer timed in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import pytest

# One thread for every library that would take more: ratios on two noisy cores need that.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

Report = Callable[..., float]
TOLERANCE = 1.1
"""How far above its limit a ratio may come out on a machine that others use, too."""


@pytest.fixture
def ratio(benchmark, capsys: pytest.CaptureFixture[str]) -> Report:
    """Time ``ours`` and ``peer`` in turn; the median of ours divided by the median of the peer's keeps its ``limit``.

    The clock is this process's CPU time: both sides run on one thread, and wall time on a shared machine tells
    more of the neighbours. Work in other processes is timed by ``time.perf_counter``.
    """

    def report(
        name: str,
        ours: Callable[[], object],
        peer: Callable[[], object],
        *,
        limit: float,
        rounds: int = 5,
        clock: Callable[[], float] = time.process_time,
    ) -> float:
        ours(), peer()
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for work, spent in ((ours, times[0]), (peer, times[1])):
                start = clock()
                work()
                spent.append(clock() - start)
        value = statistics.median(times[0]) / statistics.median(times[1])
        benchmark.extra_info |= {
            "ratio": value,
            "limit": limit,
            "ours_s": statistics.median(times[0]),
            "peer_s": statistics.median(times[1]),
        }
        benchmark.pedantic(ours, rounds=1)
        with capsys.disabled():
            print(f"\n{name}: {value:.2f}×, limit {limit}× (ours {times_text(times[0])}, peer {times_text(times[1])})")
        assert value <= limit * TOLERANCE
        return value

    return report


def times_text(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f} ms, {min(times) * 1000:.1f}–{max(times) * 1000:.1f}"
