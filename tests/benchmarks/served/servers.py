"""Start a server in a process of its own, chatlab's or a peer's, and wait until it answers."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
import transformers

PROGRAMS = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def chatstream_python() -> Path:
    """A Python with the published chatstream, which is AGPL and only run: installed once, outside the repository.

    ``CHATLAB_CHATSTREAM_PYTHON`` names one that there is.
    """
    if named := os.environ.get("CHATLAB_CHATSTREAM_PYTHON"):
        return Path(named)
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "chatlab-benchmarks" / "chatstream-0.3.0"
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists():
        versions = [f"{library.__name__}=={library.__version__}" for library in (torch, transformers)]
        asked = ["chatstream==0.3.0", "uvicorn", "sentencepiece", "psutil", *versions]
        for command in ([sys.executable, "-m", "venv", home], [python, "-m", "pip", "install", "-q", *asked]):
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"the published chatstream cannot be installed here: {made.stderr.strip()[-200:]}")
        done.touch()
    return python


def serve_command(folder: Path, port: int) -> list[str]:
    """``transformers serve`` of this environment."""
    missing = [name for name in ("fastapi", "uvicorn", "openai", "accelerate") if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"transformers serve needs {', '.join(missing)}")
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    return [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), *where]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: Sequence[str | Path], port: int) -> Iterator[int]:
    """A server while it runs; its port, once somebody listens there."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([str(part) for part in command], env=os.environ | ONE_THREAD, **quiet)
    try:
        deadline = time.monotonic() + 180
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"{command[1]} ended at its start"
            assert time.monotonic() < deadline, f"{command[1]} did not get ready"
            time.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.wait()
