"""The law of a meter: the count never falls and never passes the total; the last word is an end or where it stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.progress.meter import Meter, Progress, length_of

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(-2, 50)),
        st.tuples(st.just("reach"), st.integers(-2, 500)),
        st.tuples(st.just("note"), st.text(max_size=5)),
    ),
    max_size=30,
)


class Stop(BaseException):
    """As an interrupt: no ``Exception``."""


def told_by(steps: list[tuple[str, int | str]], total: int | None, stops: bool) -> list[Progress]:
    told: list[Progress] = []
    try:
        with Meter(told.append, "measuring", "dialogues", total) as meter:
            for name, value in steps:
                getattr(meter, name)(value)
            if stops:
                raise Stop
    except Stop:
        assert stops
    return told


@given(STEPS, st.none() | st.integers(0, 300), st.booleans())
def test_what_is_told_keeps_the_law(steps: list[tuple[str, int | str]], total: int | None, stops: bool) -> None:
    told = told_by(steps, total, stops)
    counts = [progress.done for progress in told]
    assert counts == sorted(counts)
    assert all(progress.total is None or progress.done <= progress.total for progress in told)
    assert [progress.state for progress in told[:-1]] == ["running"] * (len(told) - 1)
    assert told[-1].state == ("stopped" if stops else "done")
    assert all(progress.seconds_left is None or progress.seconds_left >= 0 for progress in told)


@given(st.lists(st.integers(1, 50)), st.booleans())
def test_the_end_is_the_total_or_where_it_stopped(counts: list[int], stops: bool) -> None:
    whole = sum(counts) + stops
    last = told_by([("advance", count) for count in counts], whole, stops)[-1]
    assert (last.done, last.total) == (whole - stops, whole)
    assert str(last) == (
        f"measuring: stopped at {whole - 1:,} of {whole:,} dialogues"
        if stops
        else f"measuring: {whole:,} dialogues, done"
    )


@given(st.text(), st.text(), st.text())
def test_the_line_is_one_line_and_steers_no_terminal(what: str, unit: str, note: str) -> None:
    for state in ("running", "done", "stopped"):
        line = str(Progress(what=what, unit=unit, done=1, total=2, note=note, state=state))
        assert not line.splitlines()[1:]
        assert not [c for c in line if category(c) in ("Cc", "Cs", "Zl", "Zp")]
        assert "\u202e" not in line


def test_the_lines_say_what_a_reader_asks() -> None:
    known = {"what": "bisecting", "unit": "commits", "done": 3, "total": 12}
    assert str(Progress(**known, note="abc fix")) == "bisecting: 3 of 12 commits: abc fix"
    assert str(Progress(**known, note="abc fix", state="done")) == "bisecting: 3 of 12 commits, done"
    assert str(Progress(**known | {"total": None}, state="stopped")) == "bisecting: stopped at 3 commits"


def test_time_left_is_that_of_the_speed_so_far() -> None:
    half = Progress(what="x", unit="y", done=5, total=20, seconds=2.0)
    assert half.seconds_left == pytest.approx(6.0)
    assert Progress(what="x", unit="y", done=0, total=20, seconds=2.0).seconds_left is None
    assert Progress(what="x", unit="y", done=5, seconds=2.0).seconds_left is None


def test_threads_lose_no_step() -> None:
    told: list[Progress] = []
    with Meter(told.append, "loading", "versions", 800) as meter, ThreadPoolExecutor(8) as pool:
        for _ in range(800):
            pool.submit(meter.advance)
    assert [progress.done for progress in told] == [*range(801), 800]


def test_nobody_is_told_unasked(capfd: pytest.CaptureFixture[str]) -> None:
    with Meter(False, "measuring", "dialogues", 2) as meter:
        meter.advance()
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_work_is_the_one_that_is_seen() -> None:
    told: list[Progress] = []
    with pytest.raises(ZeroDivisionError):
        fail_after(Meter(told.append, "measuring", "dialogues", 2), 1)
    assert str(told[-1]) == "measuring: stopped at 1 of 2 dialogues"


def fail_after(meter: Meter, count: int) -> float:
    with meter:
        meter.advance(count)
        return 1 / 0


def test_a_length_is_asked_not_counted() -> None:
    items = iter([1, 2])
    assert (length_of([1, 2]), length_of(items)) == (2, None)
    assert list(items) == [1, 2]
