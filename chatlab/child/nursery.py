"""The nursery, as the asking side holds it: a process that imports the libraries once, and forks a child a request."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatlab.child import program
from chatlab.errors import TokenizerLimitError

LIBRARIES = ("transformers", "transformers.models.auto.tokenization_auto", "tokenizers", "sentencepiece", "jinja2.ext")
"""What a nursery imports before it forks, so that no child pays for it."""

START_S = 120
"""Seconds that a nursery may take to import its libraries, on a machine however busy."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
"""Variables that a child gets; keys and tokens are none of its business."""

DISMISS_S = 5
"""Seconds that a child may take to go."""

PULSE_S = 0.5
"""Seconds after which one that waits looks up: Ctrl-C may have been told to another thread, which wakes nobody."""

ANSWER_LIMIT = 256 * 2**20
"""Bytes that a child may say at most; the record of the biggest tokenizer has a tenth."""


_LEFT = 1 << 8
"""The wait status of a process that ended itself."""


class Nursery:
    """The process that forks children."""

    def __init__(self) -> None:
        self.pid, self._unread = os.getpid(), bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(program.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the asker alone; and all children end with one signal
            env=bare_environment(),
            cwd=os.path.dirname(os.path.abspath(program.__file__)),  # what a file there names is looked for among ours
        )
        self._send(json.dumps({"path": _path(), "libraries": LIBRARIES}).encode() + b"\n")
        self._read(time.monotonic() + START_S)

    def ask(self, line: bytes, deadline: float) -> tuple[bytes, int | None]:
        """Return the child's answer and wait status; no status where it is late."""
        self._send(line)
        answer = self._read(deadline)
        return (b"", None) if answer is None else (answer, self._status(deadline))

    def converse(self, line: bytes, deadline: float) -> tuple[bytes, int | None]:
        """Return the next answer of a child that stays, with status 0; or, where it died, with how."""
        self._send(line)
        answer = self._read(deadline)
        if answer is None:
            return b"", None
        if answer.startswith(b"{") and answer.endswith(b"}"):
            return answer, 0
        return answer, self._status(deadline) or _LEFT  # one that stays has no other end

    def dismiss(self) -> None:
        """End a child that stays."""
        self._send(b"\n")
        self.conclude(lines=2)

    def conclude(self, lines: int = 1) -> None:
        """Read what is said of a child's end; the nursery then waits for other work."""
        for _ in range(lines):
            self._read(time.monotonic() + DISMISS_S)

    def is_silent(self) -> bool:
        """Whether nothing was said that nobody asked for: that a child died."""
        assert self._process.stdout
        return not (self._unread or select.select([self._process.stdout.fileno()], [], [], 0)[0])

    def _status(self, deadline: float) -> int | None:
        told = self._read(deadline)
        return None if told is None else int(json.loads(told)["status"])

    def _read(self, deadline: float) -> bytes | None:
        """Return the next line, or ``None`` and no more process where it is late."""
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        start = 0
        while (end := self._unread.find(b"\n", start)) < 0:
            start = len(self._unread)
            left = deadline - time.monotonic()
            ready, _, _ = select.select([descriptor], [], [], min(PULSE_S, max(0.0, left)))
            if not ready and left > PULSE_S:
                continue
            part = os.read(descriptor, 1 << 20) if ready else b""
            if not part:
                self.kill()
                if not ready:
                    return None
                raise TokenizerLimitError("the process that reads foreign files was killed, or needs fork: try again")
            self._unread += part
            if len(self._unread) > ANSWER_LIMIT:
                self.kill()
                raise TokenizerLimitError(f"what was read of foreign files has more than {ANSWER_LIMIT} bytes")
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def _send(self, line: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise TokenizerLimitError("no process that reads foreign files could start: it needs fork") from error

    def alive(self) -> bool:
        """Whether it runs, and is this process' own."""
        return self.pid == os.getpid() and self._process.poll() is None

    def kill(self) -> None:
        """End it with all its children; one that a parent of this process holds is left alone."""
        if self.pid != os.getpid():
            return  # a fork of the asker: the process is not its own
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                _close(pipe)


def _close(pipe: Any) -> None:
    with contextlib.suppress(OSError):  # what was not sent has no reader any more
        pipe.close()


def bare_environment() -> dict[str, str]:
    """Return the variables that a child gets."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**kept, **threads, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _path() -> Sequence[str]:
    """Where modules are looked for: as here, but for the folder one stands in, which may be a stranger's."""
    own = str(Path(program.__file__).parents[2])
    return [*(place for place in sys.path if os.path.isabs(place)), own]


_IDLE: list[Nursery] = []
_MOST_IDLE = 2


def borrowed() -> Nursery:
    """Return a nursery that has nothing to do, or a new one."""
    while True:
        try:
            nursery = _IDLE.pop()
        except IndexError:
            return Nursery()
        if nursery.alive():
            return nursery
        nursery.kill()


def give_back(nursery: Nursery) -> None:
    """Keep a nursery for whoever needs one next, if it lives."""
    if nursery.alive() and len(_IDLE) < _MOST_IDLE:
        _IDLE.append(nursery)
    else:
        nursery.kill()


@atexit.register
def _end() -> None:
    for nursery in _IDLE:
        nursery.kill()
