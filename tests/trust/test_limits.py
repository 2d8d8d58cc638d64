"""Strangers' files take no more time, memory, network or programs than they may, and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from chatlab.child import call
from chatlab.child.call import ChildLimits, in_child
from chatlab.embedded import tokenizer_path
from chatlab.errors import RevisionError, TokenizerLimitError, TokenizerLoadError
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.snapshot import snapshot
from tests.conftest import ROOT
from tests.support.children import connect, die, double, fail, grow, half, leave, look, nest, run, sleep, spin
from tests.support.injections import copy_of

SMALL = ChildLimits(time_s=1, memory_bytes=256 * 2**20)


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (spin, "x took more than 1 s of processor time"),
        (grow, "x took more than 256 MB of memory"),
        (nest, "x is nested deeper"),
        (die, "x ended the process that read it .SIGSEGV"),
        (leave, "x took more than 256 MB of memory"),
    ],
)
def test_a_child_that_oversteps_is_a_typed_error_that_names_the_limit(work, told):
    with pytest.raises(TokenizerLimitError, match=told):
        in_child(work, None, "x", SMALL)
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_a_child_that_sleeps_is_ended_on_the_clock(monkeypatch):
    monkeypatch.setattr(call, "PATIENCE", 0.3)
    in_child(double, 1, "x", ChildLimits(time_s=100))
    with pytest.raises(TokenizerLimitError, match="on the clock"):
        in_child(sleep, None, "x", SMALL)
    monkeypatch.undo()
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_what_a_child_prints_is_no_answer():
    assert in_child(half, None, "x", SMALL) is None


def test_what_a_child_raises_is_told():
    with pytest.raises(RevisionError, match="typed"):
        in_child(fail, "typed", "x", SMALL)
    with pytest.raises(TokenizerLoadError, match="x cannot be read: KeyError: 'other'"):
        in_child(fail, "other", "x", SMALL)


def test_a_child_knows_no_keys(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "secret" not in str(in_child(look, None, "x", SMALL))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process from the network")
def test_a_child_reaches_no_network_and_starts_no_program():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert in_child(connect, server.getsockname()[1], "x", SMALL) == "PermissionError"
    assert in_child(run, None, "x", SMALL) == "PermissionError"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_ends_the_child_within_a_second():
    in_child(double, 1, "x", SMALL)
    nursery = call._NURSERIES[0]._process.pid
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_child(spin, None, "x", ChildLimits(time_s=60))
    assert time.monotonic() - begun < 1.3
    assert not Path(f"/proc/{nursery}").exists()
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_a_child_does_not_outlive_its_asker():
    """Also one that was killed, and so could clean up nothing."""
    script = "from chatlab.child.call import *; from tests.support.children import spin; print(1, flush=True); "
    script += "in_child(spin, None, 'x', ChildLimits(time_s=60))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as asker:
        assert asker.stdout
        assert asker.stdout.readline()
        deadline = time.monotonic() + 30
        while not (found := [c for n in children_of(asker.pid) for c in [n, *children_of(n)]])[1:]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        asker.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_threads_ask_at_once():
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(in_child(double, n, "x", SMALL))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [[n, n] for n in range(8)]


def test_the_environment_changes_the_limits(monkeypatch):
    assert ChildLimits.for_bytes(10 * 2**20).time_s > ChildLimits.for_bytes(0).time_s
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "3")
    monkeypatch.setenv("CHATLAB_CHILD_MEMORY_MB", "700")
    assert ChildLimits.for_bytes(10 * 2**20) == ChildLimits(time_s=3, memory_bytes=700 * 2**20)


# -- files that cost without end -----------------------------------------------------------------------------


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def doubling(times: int) -> dict[str, Any]:
    step = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}
    return {"type": "Sequence", "normalizers": [step] * times}


def edited(folder: Path, **parts: Any) -> Path:
    file = copy_of("byte-bpe", folder) / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))
    return folder


def raw_model(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(data)
    return folder


HOSTILE = {
    "a pattern that backtracks": lambda f: edited(f, pre_tokenizer=split(r"(a+)+$")),
    "a pattern that backtracks in silence": lambda f: edited(f, pre_tokenizer=split(r"(?:\w|[a-z]){20}\W\W\W\W")),
    "a normalizer that doubles": lambda f: edited(f, normalizer=doubling(30)),
    "a varint without end": lambda f: raw_model(f, b"\x80" * 2_000_000),
    "a field of a huge size": lambda f: raw_model(f, b"\x0a\xff\xff\xff\xff\x7f"),
    "json that nests without end": lambda f: nested(f),
}


def nested(folder: Path) -> Path:
    (copy_of("byte-bpe", folder) / "tokenizer.json").write_text("[" * 100_000)
    return folder


@pytest.fixture
def hurried(monkeypatch):
    """What is honest takes two tenths of a second here."""
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_as_a_result_or_a_typed_error(name, tmp_path, hurried):
    folder = HOSTILE[name](tmp_path / "t")
    begun = time.monotonic()
    try:
        taken = snapshot(folder, cache=False)
    except TokenizerLoadError:
        pass
    else:
        assert taken.record["views"]
    assert time.monotonic() - begun < 5


def test_commands_for_strangers_name_the_limit(tmp_path, hurried):
    bomb = HOSTILE["a normalizer that doubles"](tmp_path / "t")
    honest, lockfile = copy_of("byte-bpe", tmp_path / "u"), tmp_path / "chatlab.lock"
    for act in (
        lambda: compare_revisions(honest, bomb, cache=False),
        lambda: lock("t", bomb, path=lockfile),
    ):
        with pytest.raises(TokenizerLimitError, match="took more than"):
            act()
    lock("u", honest, path=lockfile)
    (honest / "tokenizer.json").write_bytes((bomb / "tokenizer.json").read_bytes())
    (result,) = check(path=lockfile)
    assert (result.word, result.exit_code) == ("no verdict", 3)
    assert "took more than" in str(result.error)


def test_a_record_is_the_same_in_a_child_and_here():
    """Law L5: where it was made does not stand in it."""
    from chatlab.snapshots import recorder
    from chatlab.snapshots.corpus import probe_corpus

    here = recorder.record({"folder": str(tokenizer_path("byte-bpe")), "corpus": probe_corpus()})
    there = snapshot(tokenizer_path("byte-bpe"), cache=False).record
    assert recorder.canonical({**here, "prompts": []}) == recorder.canonical(there)
