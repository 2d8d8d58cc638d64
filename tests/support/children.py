"""What a child is asked to do, for good or ill; a child finds it by its module's name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from chatlab.errors import RevisionError


def spin(argument: Any) -> None:
    while True:
        pass


def sleep(argument: Any) -> None:
    time.sleep(600)


def grow(argument: Any) -> int:
    return len("a" * 10**10)


def nest(argument: Any) -> None:
    nest(argument)


def die(argument: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(argument: Any) -> None:
    os._exit(7)


def half(argument: Any) -> None:
    os.write(1, b"{\n")  # what a library prints must not be taken for an answer
    print("{\n", flush=True)


def fail(argument: Any) -> None:
    raise {"typed": RevisionError, "other": KeyError}[argument](argument)


def look(argument: Any) -> dict[str, str]:
    return dict(os.environ)


def connect(argument: Any) -> str:
    try:
        socket.create_connection(("127.0.0.1", argument), timeout=1)
    except OSError as error:
        return type(error).__name__
    return "connected"


def run(argument: Any) -> str:
    try:
        subprocess.run([sys.executable, "-c", ""], check=True)
    except OSError as error:
        return type(error).__name__
    return "ran"


def double(argument: Any) -> Any:
    return [argument, argument]
