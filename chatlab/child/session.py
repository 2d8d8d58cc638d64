"""An object that stays in a child: made there once, asked many times, each time within the same limits."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from chatlab.child.call import PATIENCE, ChildLimits, request_line, value_of
from chatlab.child.nursery import Nursery, borrowed, give_back
from chatlab.errors import ChatlabError, TokenizerLimitError


class Session:
    """What ``make(argument)`` returned in a child of its own, which lives as long as this.

    Each call, and the making, may take ``limits.time_s`` of processor time, and all together ``limits.memory_bytes``.
    A child that oversteps is ended, and the call raises; the next call makes the object anew in a new child. A fork of
    this process makes its own.
    """

    def __init__(self, make: Callable[[Any], Any], argument: Any, what: str, limits: ChildLimits) -> None:
        self.what, self.limits = what, limits
        self._line = request_line(make, argument, limits, stays=True)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._running: list[Nursery] = []
        weakref.finalize(self, _end, self._running)

    def call(self, function: Callable[[Any, Any], Any], argument: Any = None) -> Any:
        """Return ``function(object, argument)``, done by the child.

        Args:
            function: of a module's top level; it takes the object and a JSON value, and returns one.
            argument: the JSON value.

        Raises:
            TokenizerLimitError: it took more than it may, or its process died; the limit is named.
            TokenizerLoadError: it raised, and what it raised is told; a typed error stays what it is.
        """
        line = request_line(function, argument, self.limits)
        if self._pid != os.getpid():  # a fork: the lock may be held by a thread that is not here
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            return self._answered(self._child(), line)

    def close(self) -> None:
        """End the child; a later call begins another one."""
        _end(self._running)

    def _child(self) -> Nursery:
        """The running child, or a new one in which the object was made."""
        if self._running and self._running[0].alive() and self._running[0].is_silent():
            return self._running[0]
        self._kill()
        self._running.append(borrowed())
        try:
            self._answered(self._running[0], self._line)
        except TokenizerLimitError:
            raise
        except ChatlabError:  # nothing was made, so the child went
            self._running[0].conclude()
            give_back(self._running.pop())
            raise
        return self._running[0]

    def _kill(self) -> None:
        for nursery in self._running:
            nursery.kill()
        self._running.clear()

    def _answered(self, nursery: Nursery, line: bytes) -> Any:
        try:
            answer, status = nursery.converse(line, time.monotonic() + PATIENCE * self.limits.time_s)
            value = value_of(answer, status, self.what, self.limits)
        except BaseException as error:
            if isinstance(error, TokenizerLimitError) or not isinstance(error, ChatlabError):
                self._kill()  # dead, late, interrupted or halfway through something: nobody asks it again
            raise
        return value


def _end(running: list[Nursery]) -> None:
    while running:
        nursery = running.pop()
        try:
            nursery.dismiss()
        except (ChatlabError, ValueError, OSError):  # it was dead already
            nursery.kill()
        give_back(nursery)
