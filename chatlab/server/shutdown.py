"""To hear of the end in time: a web server tells an application only once all its answers are out."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def on_signals(told: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have ``told`` called in the loop at SIGINT and SIGTERM, before whoever handles them already; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(told)
        before = former[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        former[number] = signal.getsignal(number)
        signal.signal(number, handle)
    try:
        yield
    finally:
        for known, handler in former.items():
            if signal.getsignal(known) is handle:
                signal.signal(known, handler)
