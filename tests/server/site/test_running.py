"""A server as its user runs it: it says where, answers this machine alone, and ends well at Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from chatlab.errors import RequestError, ServerError
from chatlab.server.admission import Admission
from chatlab.server.serving import Serving
from chatlab.server.site.app import create_app
from chatlab.server.site.running import Background, run
from chatlab.testing import ScriptedEngine
from tests.conftest import ROOT

PROGRAM = """
import asyncio, sys
from fastapi import APIRouter
from starlette.responses import StreamingResponse
from chatlab.server.site.app import create_app
from chatlab.server.site.running import Background, run
from chatlab.server.serving import Serving
from chatlab.server.delivery import Delivery
from chatlab.errors import ServerError
from chatlab.testing import ScriptedEngine
serving = Serving(ScriptedEngine("x" * int(sys.argv[1]), delay=0.01))
router = APIRouter()
go = asyncio.Event()
@router.get("/go")
async def let_go():
    go.set()
@router.get("/talk")
async def talk():
    async def said():
        try:
            async with serving.answer([1], max_new_tokens=10_000, context_len=20_000) as answer:
                async for delta in answer:
                    yield delta.text.encode()
                if len(sys.argv) > 3:
                    await go.wait()
            yield b"!end"
        except ServerError as error:
            yield f"!{error.code}".encode()
    return Delivery(said())
run(create_app(serving, router, name="x"), serving.close, port=0, grace_s=float(sys.argv[2]), on_ready=lambda url: print(url, flush=True))
print("down", flush=True)
"""


class Running:
    """The program above, in a process of its own."""

    def __init__(self, token_len: int, grace_s: float, *more: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(token_len), str(grace_s), *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()

    def get(self, path: str, timeout: float = 60) -> Any:
        return urllib.request.urlopen(self.url + path, timeout=timeout)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ended(self, timeout: float) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


@pytest.fixture
def running() -> Iterator[Any]:
    made: list[Running] = []

    def start(*arguments: Any) -> Running:
        made.append(Running(*arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def status(one: Running, path: str) -> int:
    try:
        with one.get(path) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_an_answer_that_fits_the_grace_is_whole_and_new_requests_are_refused(running: Any) -> None:
    one = running(80, 60, "waits")
    assert one.url.startswith("http://127.0.0.1:")
    assert status(one, "health") == 200
    with one.get("talk") as answer:
        first = answer.read(1)
        one.interrupt()
        while status(one, "health") != 503:
            time.sleep(0.02)
        with one.get("talk") as late:
            assert late.read() == b"!shutdown"
        assert status(one, "go") == 200
        assert first + answer.read() == b"x" * 80 + b"!end"
    assert one.ended(30)[:2] == (0, "down\n")


def test_an_answer_that_takes_longer_is_told_that_the_server_ends(running: Any) -> None:
    one = running(9_000, 0.2)
    with one.get("talk") as answer:
        answer.read(1)
        one.interrupt()
        assert answer.read().endswith(b"!shutdown")
    code, out, err = one.ended(30)
    assert (code, out, err) == (0, "down\n", "")


def test_a_second_interrupt_ends_at_once(running: Any) -> None:
    one = running(9_000, 60)
    with one.get("talk") as answer:
        answer.read(1)
        began = time.monotonic()
        one.interrupt()
        time.sleep(0.3)
        one.interrupt()
        assert answer.read().endswith(b"!shutdown")
    code, out, _ = one.ended(30)
    assert (code, out) == (0, "down\n")
    assert time.monotonic() - began < 30, "and not the grace"


def served() -> tuple[Any, Any]:
    serving = Serving(ScriptedEngine("x"), admission=Admission(1, 0))
    return create_app(serving, name="x"), serving.close


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_host_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(RequestError, match="this machine alone"):
        run(*served(), host=host, port=0)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 cannot be used .*--port"):
            run(*served(), port=port)


def test_health_is_told_while_an_answer_runs(running: Any) -> None:
    """Health is asked while an answer runs, and by several at once."""
    one = running(300, 1)
    times: list[float] = []

    def ask() -> None:
        for _ in range(10):
            began = time.monotonic()
            assert status(one, "health") == 200
            times.append(time.monotonic() - began)

    with one.get("talk") as answer:
        answer.read(1)
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(times) == 30
    assert max(times) < 20


def test_an_app_in_the_background_answers_until_it_is_closed() -> None:
    with Background(served()[0]) as server, urllib.request.urlopen(f"{server.url}/health", timeout=30) as answer:
        assert answer.status == 200
    server.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/health", timeout=30)


def test_an_app_that_does_not_start_is_told() -> None:
    @asynccontextmanager
    async def broken(app: Any) -> AsyncIterator[None]:
        raise OSError("no")
        yield

    with pytest.raises(ServerError, match="did not start"):
        Background(FastAPI(lifespan=broken))
