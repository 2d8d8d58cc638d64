"""The program of the nursery: a warm process of one thread, that forks a child for each request and tells how it ended.

A fork of the program that asks would be cheaper to write, and would inherit locks that other threads hold: a notebook
has many threads.  A new process for each request would pay the imports each time.  So one process imports the
libraries, never sees a foreign file itself, and each child is a fresh copy of it: what a file did to one child, the
next one does not know.

It is run by its path, and imports nothing of chatlab before it was told where that lies.  Of stdin it reads a JSON
line for each request; to stdout the child writes its answer as one line, and the nursery another one behind it, with
the child's wait status.  A child that died left half a line or none.

A child that is to stay reads the next lines itself, and answers each with one; the status comes when it has died.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import platform
import runpy
import select
import signal
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

_FORBIDDEN = {  # socket, ptrace, execve, execveat, io_uring_setup: by the kernel's numbers
    "x86_64": (0xC000003E, (41, 101, 59, 322, 425)),
    "aarch64": (0xC00000B7, (198, 117, 221, 281, 425)),
}
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38


def cut_off() -> bool:
    """Refuse this process, for good, sockets and other programs; tell whether the kernel took it (Linux alone does)."""
    if sys.platform != "linux" or platform.machine() not in _FORBIDDEN:
        return False
    architecture, numbers = _FORBIDDEN[platform.machine()]
    count = len(numbers)
    program = [
        (0x20, 0, 0, 4),  # load the architecture; calls of another one would have other numbers
        (0x15, 1, 0, architecture),
        (0x06, 0, 0, 0x80000000),  # kill
        (0x20, 0, 0, 0),  # load the number of the call
        (0x35, count + 1, 0, 0x40000000),  # x32's numbers: to the last step
        *((0x15, count - at, 0, number) for at, number in enumerate(numbers)),
        (0x06, 0, 0, 0x7FFF0000),  # allow
        (0x06, 0, 0, 0x00050000 | 1),  # fail with EPERM
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    none = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none):
        return False
    return bool(prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), filters, none, none) == 0)


def limit(time_s: int, memory_bytes: int, mapped_bytes: int = 0) -> None:
    """Let this process use so much processor time, and so much memory above what it holds; and die with its parent.

    ``mapped_bytes`` more may be files that are looked at where they lie: weights of a model, that are no memory.
    """
    import resource

    _allow_more(time_s)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # only Linux tells its size, and keeps the limit
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = list(map(int, statm.read().split()))
        size, data = pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()
        for kind, most in ((resource.RLIMIT_AS, size + mapped_bytes), (resource.RLIMIT_DATA, data)):
            resource.setrlimit(kind, (most + memory_bytes, most + memory_bytes))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def _allow_more(time_s: int) -> None:
    """Let this process use so many seconds of processor time from now on; the signal at their end is deadly."""
    import resource

    used, hard = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = round(used.ru_utime + used.ru_stime) + time_s
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _begun(request: dict[str, Any]) -> Any:
    """The function of a request, found before the limits hold, and to be called within them."""
    function = _named(request)
    limit(request["time_s"], request["memory_bytes"], request["mapped_bytes"])
    if not cut_off() and sys.platform == "linux":
        raise NotImplementedError("the kernel has no seccomp, so nothing would keep the child from the network")
    return function


def _named(request: dict[str, Any]) -> Any:
    return getattr(importlib.import_module(request["module"]), request["function"])


def _called(made: Any, call: dict[str, Any]) -> Any:
    return _named(call)(made, call["argument"])


def _told(work: Callable[[], Any]) -> bytes:
    """What the child says; all that it raises is foreign files' doing, so all of it is told."""
    try:
        return json.dumps({"value": work()}, separators=(",", ":")).encode()
    except MemoryError:
        return b'{"exceeded": "memory"}'
    except RecursionError:
        return b'{"exceeded": "depth"}'
    except BaseException as error:
        told = {"kind": type(error).__name__, "module": type(error).__module__, "message": str(error)[:2000]}
        return json.dumps({"error": told}).encode()


def _live(request: dict[str, Any], out: int) -> None:
    """Answer once; or, where the child is to stay, keep what was made, and answer each line that comes with it."""
    held: list[Any] = []

    def begin() -> Any:
        made = _begun(request)(request["argument"])
        if not request.get("stays"):
            return made
        held.append(made)
        return None

    _write(out, _told(begin) + b"\n" * bool(held))
    for line in iter(sys.stdin.buffer.readline, b"\n") if held else ():
        call = json.loads(line)
        _allow_more(call["time_s"])
        _write(out, _told(partial(_called, held[0], call)) + b"\n")


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _child(request: dict[str, Any], out: int) -> int:
    """Fork the child, and return its wait status; one whose asker is gone is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            _live(request, out)
            os._exit(0)
        finally:
            os._exit(1)
    ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    if ended is not None:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(0, select.POLLHUP)
        if all(descriptor != ended for descriptor, _ in poll.poll()):
            os.kill(pid, signal.SIGKILL)
        os.close(ended)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    """Import what is asked for, then answer until stdin ends."""
    setup = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = setup["path"]
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    # No tokenizer needs it, and a configuration of transformers imports seconds of it.
    sys.modules["torch"] = None  # type: ignore[assignment]  # the language's way to say "not installed"
    for name in setup["libraries"]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    _write(out, b"ready\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with contextlib.suppress(Exception):  # the child meets it again, and tells
            importlib.import_module(request["module"])
        status = _child(request, out)
        _write(out, b"\n" + json.dumps({"status": status}).encode() + b"\n")


def alone(time_s: int, memory_bytes: int, libraries: list[str], script: str, arguments: list[str]) -> None:
    """Run a script within the limits, in a Python that may have none of chatlab: imports come first and count not."""
    for name in libraries:
        with contextlib.suppress(Exception):  # a version that lacks it, or breaks on it: the script tells
            importlib.import_module(name)
    limit(time_s, memory_bytes)
    if not cut_off() and sys.platform == "linux":
        raise NotImplementedError("the kernel has no seccomp, so nothing would keep the script from the network")
    sys.argv[:] = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:]:
        alone(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","), sys.argv[4], sys.argv[5:])
    else:
        main()
