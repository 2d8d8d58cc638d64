"""No exit code says what was not found out: 1 and 2 are verdicts, and an accident is none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.embedded import tokenizer_path
from tests.support.injections import copy_of

BEFORE = str(tokenizer_path("phi3-style/before"))
AFTER = str(tokenizer_path("phi3-style/after"))


class Panic(BaseException):
    """As the panic of a Rust library, which is no ``Exception``."""


@pytest.mark.parametrize(
    "accident", [AssertionError("law"), RecursionError("deep"), KeyError("x"), MemoryError(), Panic("p"), EOFError()]
)
@pytest.mark.parametrize(
    ("command", "inside"),
    [
        (["compare", BEFORE, AFTER], "chatlab.revisions.compare.compare_revisions"),
        (["check"], "chatlab.locks.check.check"),
        (["lock", "a", BEFORE], "chatlab.locks.lock.lock"),
    ],
)
def test_an_accident_exits_with_no_verdict(monkeypatch, accident, command, inside):
    def fails(*args, **kwargs):
        raise accident

    monkeypatch.setattr(inside, fails)
    assert CliRunner().invoke(app, command).exit_code == 3


def test_a_closed_pipe_is_no_verdict(monkeypatch):
    def closed(*args, **kwargs):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("chatlab.revisions.compare.compare_revisions", closed)
    assert CliRunner().invoke(app, ["compare", BEFORE, AFTER]).exit_code == 3


def test_ctrl_c_is_no_verdict(monkeypatch):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("chatlab.revisions.compare.compare_revisions", pressed)
    assert CliRunner().invoke(app, ["compare", BEFORE, AFTER]).exit_code == 130


def test_json_nested_beyond_reason_is_no_verdict_of_a_shell(tmp_path):
    """In a process of its own, as a shell sees it."""
    folder = copy_of("phi3-style/before", tmp_path / "deep")
    (folder / "tokenizer_config.json").write_text("[" * 100_000 + "]" * 100_000)
    command = [sys.executable, "-m", "chatlab", "compare", str(folder), str(folder), "--loader", "auto"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 3, done.stdout + done.stderr
