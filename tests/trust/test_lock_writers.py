"""A lock and its vendored copy change together or not at all, whoever is killed when, and however many write."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import editing, read_lock
from tests.support.cache import chatlab_cache as chatlab_cache
from tests.support.injections import copy_of, setting

WRITES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.chmod"}


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked child; how it ended, as ``waitpid`` tells."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def killed_at(step: int, root: Path, work: Callable[[], object]) -> Callable[[], object]:
    """Work that is killed, as by kill -9, just before its nth change of anything below a folder."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal step
        if event not in WRITES or str(root) not in str(arguments[0]):
            return
        reads = event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if not reads:
            step -= 1
            if step < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched() -> None:
        sys.addaudithook(watch)
        work()

    return watched


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return copy_of("byte-bpe", tmp_path / "outside")


def test_a_kill_at_any_step_leaves_the_old_or_the_new_lock_whole(tmp_path: Path, outside: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    old = lock("t", outside, path=first / "chatlab.lock", vendor=True)
    setting("tokenizer_config.json", "chat_template", to=lambda text: text + " ")(outside)
    new = lock("t", outside, path=tmp_path / "chatlab.lock", vendor=True)  # and so a child takes no snapshot of its own
    step, killed, found = 0, True, []
    while killed:
        root = Path(shutil.copytree(first, tmp_path / f"step-{step}"))
        path = root / "chatlab.lock"
        work = killed_at(step, root, lambda path=path: lock("t", outside, path=path, vendor=True, update=True))
        end = in_child(work)
        killed = os.WIFSIGNALED(end)
        assert killed or os.waitstatus_to_exitcode(end) == 0
        found.append(read_lock(path)["t"].place)
        assert check(path=path)[0].word == "as locked", f"killed at step {step}"
        # The next writer goes on as if nothing had been, and sweeps up what the dead one left.
        lock("t", outside, path=path, vendor=True, update=True)
        assert {p.relative_to(root).as_posix() for p in root.glob("*")} == {"chatlab.lock", "chatlab.lock.d"}
        assert [p.name for p in (root / "chatlab.lock.d").iterdir()] == [Path(new.place).name]
        step += 1
    assert found[0] == old.place
    assert found[-1] == new.place
    assert step > 8


def test_eight_writers_at_once_lock_eight_entries(tmp_path: Path, outside: Path) -> None:
    path = tmp_path / "chatlab.lock"
    lock("first", outside, path=path)
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            try:
                lock(f"t{number}", outside, path=path, vendor=number % 2 == 0)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert set(read_lock(path)) == {"first", *(f"t{number}" for number in range(8))}
    assert all(result.word == "as locked" for result in check(path=path))


def test_a_killed_writer_holds_up_nobody(tmp_path: Path, outside: Path) -> None:
    path = tmp_path / "chatlab.lock"
    lock("first", outside, path=path)

    def dies_at_work() -> None:
        with editing(path):
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_child(dies_at_work))
    lock("second", outside, path=path)
    assert set(read_lock(path)) == {"first", "second"}
