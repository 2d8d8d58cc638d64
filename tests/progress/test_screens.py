"""Where progress is seen: a terminal's one line, nothing where nobody looks."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from io import StringIO

import pytest

from chatlab.progress import screens
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Progress
from tests.conftest import ROOT

WORK = """
import sys, time
from chatlab.progress.meter import Meter
with Meter(True, "measuring", "dialogues", 5000) as meter:
    for _ in range(int(sys.argv[1])):
        meter.advance()
        time.sleep(float(sys.argv[2]))
    sys.argv[3:] and time.sleep(60)
"""


def screen_of(written: str) -> list[str]:
    """What stands on a terminal after these bytes."""
    lines = [""]
    for part in re.findall(r"\r\n?|\n|\x1b\[K|[^\r\n\x1b]+", written):
        if part in ("\n", "\r\n"):
            lines.append("")
        elif part == "\r":
            pass  # every return here is followed by an erase
        elif part == "\x1b[K":
            lines[-1] = ""
        else:
            lines[-1] += part
    return lines


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    monkeypatch.setattr(screens, "INTERVAL_S", 0)
    return StringIO()


def test_a_terminal_keeps_one_line(terminal: StringIO) -> None:
    with Meter(screens.TerminalLine(terminal), "measuring", "dialogues", 3) as meter:
        seen = []
        for _ in range(3):
            meter.advance()
            seen.append(screen_of(terminal.getvalue()))
    assert seen == [[f"measuring: {n} of 3 dialogues"] for n in (1, 2, 3)]
    assert screen_of(terminal.getvalue()) == ["measuring: 3 dialogues, done", ""]


def test_a_line_never_wraps(terminal: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    with Meter(screens.TerminalLine(terminal), "bisecting", "commits", 3) as meter:
        meter.note("修正" * 50)
        line = screen_of(terminal.getvalue())[0]
    assert line.startswith("bisecting: 0 of 3 commits: 修")
    assert len(line) + sum(c in "修正" for c in line) <= 29


@pytest.mark.parametrize(("seconds", "left"), [(0.1, ""), (5.0, ", about 15 s left"), (200.0, ", about 10 min left")])
def test_the_time_left_is_shown_while_it_runs(seconds: float, left: str) -> None:
    stream = StringIO()
    line = screens.TerminalLine(stream)
    line(Progress(what="measuring", unit="dialogues", done=1, total=4, seconds=seconds))
    assert screen_of(stream.getvalue()) == [f"measuring: 1 of 4 dialogues{left}"]


def test_many_steps_are_few_drawings_but_a_new_note_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    stream = StringIO()
    with Meter(screens.TerminalLine(stream), "bisecting", "commits", 2000) as meter:
        for _ in range(1999):
            meter.advance()
        meter.note("making an environment")
    drawn = stream.getvalue().split("\r")[1:]
    assert len(drawn) == 3
    assert "1,999 of 2,000 commits: making an environment" in drawn[1]


def test_a_pipe_stays_empty(capfd: pytest.CaptureFixture[str]) -> None:
    run = subprocess.run([sys.executable, "-c", WORK, "3", "0"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def in_terminal(*arguments: str, interrupt_at: str = "") -> tuple[str, int]:
    """What a real terminal shows of the work, and how it ended."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    written = ""
    while True:
        try:
            new = os.read(ours, 4096).decode()
        except OSError:  # the other side is closed
            break
        written += new
        if interrupt_at and interrupt_at in written:
            process.send_signal(signal.SIGINT)
            interrupt_at = ""
    os.close(ours)
    with process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
    return written, process.returncode


def test_a_real_terminal_shows_it_on_standard_error() -> None:
    written, code = in_terminal("5000", "0")
    assert screen_of(written) == ["measuring: 5,000 dialogues, done", ""]
    assert code == 0


def test_ctrl_c_leaves_the_line_that_says_where() -> None:
    written, code = in_terminal("70", "0.005", "and wait", interrupt_at="about")
    lines = screen_of(written)
    assert re.fullmatch(r"measuring: stopped at \d+ of 5,000 dialogues", lines[0])
    assert "KeyboardInterrupt" in lines[-2]
    assert code != 0
