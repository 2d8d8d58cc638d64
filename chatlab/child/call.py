"""The asking side: a function that is done by a child, and what its end means."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatlab.child import program
from chatlab.errors import ChatlabError, TokenizerLimitError, TokenizerLoadError

LIBRARIES = ("transformers", "transformers.models.auto.tokenization_auto", "tokenizers", "sentencepiece", "jinja2.ext")
"""What a nursery imports before it forks, so that no child pays for it."""

PATIENCE = 6
"""So many times its processor time may a child take on the clock, however busy the machine is."""

START_S = 120
"""Seconds that a nursery may take to import its libraries, on a machine however busy."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
"""Variables that a child gets; keys and tokens are none of its business."""


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What a child may use: seconds of processor time, and bytes of memory above those of a bare one.

    ``CHATLAB_CHILD_SECONDS`` and ``CHATLAB_CHILD_MEMORY_MB`` in the environment change both, for a slow machine or
    files that are bigger than any known.
    """

    time_s: int = 20
    memory_bytes: int = 1024 * 2**20

    @classmethod
    def for_bytes(cls, size: int) -> ChildLimits:
        """Return the limits for files of so many bytes; a tokenizer of 35 MB takes honest seconds and gigabytes."""
        megabytes = size // 2**20
        own = cls(time_s=cls.time_s + 2 * megabytes, memory_bytes=cls.memory_bytes + 64 * megabytes * 2**20)
        seconds, memory = (os.environ.get(f"CHATLAB_CHILD_{name}", "") for name in ("SECONDS", "MEMORY_MB"))
        own = replace(own, time_s=int(seconds)) if seconds.isdigit() and int(seconds) else own
        return replace(own, memory_bytes=int(memory) * 2**20) if memory.isdigit() and int(memory) else own

    @property
    def memory(self) -> str:
        """The limit of memory in words."""
        return f"{self.memory_bytes // 2**20} MB of memory (CHATLAB_CHILD_MEMORY_MB=… gives more)"

    @property
    def time(self) -> str:
        """The limit of time in words."""
        return f"{self.time_s} s of processor time (CHATLAB_CHILD_SECONDS=… gives more)"


def in_child(function: Callable[[Any], Any], argument: Any, what: str, limits: ChildLimits) -> Any:
    """Return ``function(argument)``, done by a child process that may take little time and memory, and no network.

    Args:
        function: of a module's top level; it takes and returns JSON values.
        argument: what it is called with.
        what: whose files these are, for the error.
        limits: what it may use.

    Raises:
        TokenizerLimitError: the child took more than it may, or its process died; the limit is named.
        TokenizerLoadError: the function raised, and what it raised is told; a typed error stays what it is.
    """
    request = {"module": function.__module__, "function": function.__name__, "argument": argument}
    line = json.dumps({**request, "time_s": limits.time_s, "memory_bytes": limits.memory_bytes}).encode() + b"\n"
    with _LOCK:
        nursery = _nursery()
        try:
            answer, status = nursery.ask(line, time.monotonic() + PATIENCE * limits.time_s)
        except BaseException:
            nursery.kill()  # interrupted or late: what it would still say belongs to nobody
            raise
    return _value(answer, status, what, limits)


def _value(answer: bytes, status: int | None, what: str, limits: ChildLimits) -> Any:
    if status is None:
        raise TokenizerLimitError(f"{what} took more than {PATIENCE * limits.time_s} s on the clock, {limits.time}")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            raise TokenizerLimitError(f"{what} took more than {limits.time}")
        name = signal.Signals(number).name
        raise TokenizerLimitError(
            f"{what} ended the process that read it ({name}): a bug of a library, or {limits.memory}"
        )
    told: dict[str, Any] = json.loads(answer) if os.WEXITSTATUS(status) == 0 else {"exceeded": "memory"}
    if told.get("exceeded") == "memory":
        raise TokenizerLimitError(f"{what} took more than {limits.memory}")
    if "exceeded" in told:
        raise TokenizerLimitError(f"{what} is nested deeper than can be read")
    if "error" in told:
        raise _error(told["error"], what)
    return told["value"]


def _error(told: dict[str, str], what: str) -> ChatlabError:
    import chatlab.errors as known

    if told["module"] == known.__name__ and told["kind"] in vars(known):
        cls: type[ChatlabError] = getattr(known, told["kind"])
        return cls(told["message"])
    return TokenizerLoadError(f"{what} cannot be read: {told['kind']}: {told['message']}")


class _Nursery:
    """The process that forks children."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(program.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the asker alone; and all children end with one signal
            env=_environment(),
        )
        self._send(json.dumps({"path": _path(), "libraries": LIBRARIES}).encode() + b"\n")
        self._read(1, time.monotonic() + START_S)

    def ask(self, line: bytes, deadline: float) -> tuple[bytes, int | None]:
        """Return the child's answer and wait status; no status where it is late."""
        self._send(line)
        told = self._read(2, deadline)
        if told is None:
            return b"", None
        answer, end, _ = told.split(b"\n")
        return answer, int(json.loads(end)["status"])

    def _read(self, lines: int, deadline: float) -> bytes | None:
        """Return so many lines, or ``None`` and no more process where they are late."""
        assert self._process.stdout
        descriptor, data, ends = self._process.stdout.fileno(), bytearray(), 0
        while ends < lines:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(descriptor, 1 << 20) if ready else b""
            if not part:
                self.kill()
                if not ready:
                    return None
                raise TokenizerLimitError("the process that reads foreign files was killed, or needs fork: try again")
            data += part
            ends += part.count(b"\n")
        return bytes(data)

    def _send(self, line: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise TokenizerLimitError("no process that reads foreign files could start: it needs fork") from error

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._process.poll() is None

    def kill(self) -> None:
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


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**kept, **threads, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _path() -> Sequence[str]:
    """Where modules are looked for: as here, but for the folder one stands in, which may be a stranger's."""
    own = str(Path(program.__file__).parents[2])
    return [*(place for place in sys.path if os.path.isabs(place)), own]


_LOCK = threading.Lock()
_NURSERIES: list[_Nursery] = []


@atexit.register
def _end() -> None:
    for nursery in _NURSERIES:
        nursery.kill()


def _nursery() -> _Nursery:
    """The running nursery, or a new one."""
    if not (_NURSERIES and _NURSERIES[0].alive()):
        for nursery in _NURSERIES:
            nursery.kill()
        _NURSERIES[:] = [_Nursery()]
    return _NURSERIES[0]
