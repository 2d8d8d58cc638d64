"""Too many threads: told once, with the way out, and only when engines really work at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from chatlab.engines import crowding
from chatlab.engines.crowding import CrowdedThreadsWarning, core_len, warn_of_crowding
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams

LONG = SamplingParams(temperature=0, max_new_tokens=1_500)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(crowding, "core_len", lambda: 2)
    monkeypatch.setattr(crowding, "_told", False)
    yield
    torch.set_num_threads(1)


@contextmanager
def working(model, torch_threads: int | None) -> Iterator[LocalEngine]:
    """An engine in the middle of a long reply."""
    with LocalEngine(model, eos_ids=(), torch_threads=torch_threads) as engine:
        run = engine.submit([5, 6, 7], LONG)
        next(iter(run))
        yield engine


def test_two_engines_with_all_cores_each_are_told_of_once(model) -> None:
    with working(model, 2), LocalEngine(model, torch_threads=2) as second:
        with pytest.warns(
            CrowdedThreadsWarning, match=r"2 engines .* 2 \+ 2 torch threads on 2 cores.*torch_threads=1\)"
        ) as seen:
            second.submit([5], SamplingParams(max_new_tokens=1))
        assert seen[0].filename == __file__
        second.wait_idle()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second.submit([5], SamplingParams(max_new_tokens=1))


def test_a_warning_that_is_an_error_leaves_no_request_behind(model) -> None:
    with working(model, 2), LocalEngine(model, torch_threads=2) as second:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(CrowdedThreadsWarning):
                second.submit([5], SamplingParams(max_new_tokens=1))
        assert second.active_len == 0


@pytest.mark.parametrize("threads", [None, 1, 2, 4])
def test_one_engine_never_warns(model, threads: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with working(model, threads) as engine:
            engine.submit([5], SamplingParams(max_new_tokens=1))


def test_engines_that_share_the_cores_do_not_warn(model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with working(model, 1), working(model, 1), working(model, 1):
            pass


def test_engines_that_work_in_turn_do_not_warn(model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LocalEngine(model, torch_threads=2) as first, LocalEngine(model, torch_threads=2) as second:
            for engine in (first, second, first):
                engine.submit([5], SamplingParams(max_new_tokens=1))
                assert engine.wait_idle(30)


@pytest.mark.parametrize(("threads", "warns"), [([4], False), ([1, 1, 1], False), ([1, 2], True), ([2, 2], True)])
def test_the_rule(threads: list[int], warns: bool) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn_of_crowding(threads, stacklevel=1)
    assert bool(seen) is warns


def test_the_cores_are_those_this_process_may_use() -> None:
    assert core_len() >= 1
