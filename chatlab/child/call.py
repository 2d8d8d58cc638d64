"""The asking side: a function that is done by a child, and what its end means."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from chatlab.child.nursery import borrowed, give_back
from chatlab.errors import ChatlabError, TokenizerLimitError, TokenizerLoadError

PATIENCE = 6
"""So many times its processor time may a child take on the clock, however busy the machine is."""


HONEST_MB = 64
"""More than the files of any tokenizer in use have together, in megabytes."""


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What a child may use: seconds of processor time, and bytes of memory above those of a bare one.

    ``CHATLAB_CHILD_SECONDS`` and ``CHATLAB_CHILD_MEMORY_MB`` in the environment change both, for a slow machine or
    files that are bigger than any known.
    """

    time_s: int = 20
    memory_bytes: int = 1024 * 2**20
    mapped_bytes: int = 0
    """Bytes of files that may be looked at where they lie, besides: weights of a model."""

    @classmethod
    def for_bytes(cls, size: int) -> ChildLimits:
        """Return the limits for files of so many bytes; a tokenizer of 35 MB takes honest seconds and gigabytes.

        Above ``HONEST_MB`` they grow no more: a file's size is a stranger's word, too.
        """
        megabytes = min(size // 2**20, HONEST_MB)
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
    line = request_line(function, argument, limits)
    with _LOCK:
        nursery = borrowed()
        try:
            answer, status = nursery.ask(line, time.monotonic() + PATIENCE * limits.time_s)
        except BaseException:
            nursery.kill()  # interrupted or late: what it would still say belongs to nobody
            raise
        give_back(nursery)
    return value_of(answer, status, what, limits)


def request_line(function: Callable[..., Any], argument: Any, limits: ChildLimits, **more: Any) -> bytes:
    """Return what a nursery, or a child that stays, is told to do."""
    named = {"module": function.__module__, "function": function.__name__, "argument": argument}
    return json.dumps({**named, **asdict(limits), **more}).encode() + b"\n"


def value_of(answer: bytes, status: int | None, what: str, limits: ChildLimits) -> Any:
    """Return what a child answered, or raise what its end means.

    Raises:
        TokenizerLimitError: it took more than it may, or died.
        TokenizerLoadError: what it was asked to do raised.
    """
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
    told: dict[str, Any] = _parsed(answer) if os.WEXITSTATUS(status) == 0 else {"exceeded": "memory"}
    if told.get("exceeded") == "memory":
        raise TokenizerLimitError(f"{what} took more than {limits.memory}")
    if "exceeded" in told:
        raise TokenizerLimitError(f"{what} is nested deeper than can be read")
    if "error" in told:
        raise _error(told["error"], what)
    return told["value"]


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(answer)
    except RecursionError:  # the child stands less deep in its own calls than the asker
        return {"exceeded": "depth"}
    except ValueError:  # it left without a word
        return {"exceeded": "memory"}
    return told


def _error(told: dict[str, str], what: str) -> ChatlabError:
    import chatlab.errors as known

    if told["module"] == known.__name__ and told["kind"] in vars(known):
        cls: type[ChatlabError] = getattr(known, told["kind"])
        return cls(told["message"])
    return TokenizerLoadError(f"{what} cannot be read: {told['kind']}: {told['message']}")


_LOCK = threading.Lock()
"""One question at a time: each child may take a gigabyte."""


def _forget() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # in a fork: whoever held it is not there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
