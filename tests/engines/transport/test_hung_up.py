"""A server may close an idle connection just as it is used again: what was never answered is asked once more."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from chatlab.engines.transport.connection import Connection
from chatlab.engines.transport.limits import RemoteLimits
from chatlab.errors import RemoteError


class Events:
    """Takes the events of an answer."""

    begun = done = False

    def __init__(self) -> None:
        self.seen: list[str] = []

    @property
    def ended(self) -> bool:
        return bool(self.seen)

    def put(self, data: str) -> None:
        self.seen.append(data)

    def flush(self) -> None:
        pass


def asked(hang_ups: int, error: type[Exception]) -> tuple[int, list[str]]:
    """How often a server was asked that hangs up so many times, and what it said at last."""
    count = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal count
        count += 1
        if count <= hang_ups:
            raise error("Server disconnected without sending a response.")
        return httpx2.Response(200, text="data: one\n\n")

    transport = httpx2.MockTransport(answer)
    connection = Connection(key=None, timeout=5, retries=0, limits=RemoteLimits(), transport=transport)
    events = Events()
    try:
        connection.wait(connection._stream("http://127.0.0.1/x", {}, events, time.monotonic() + 5))
    finally:
        connection.close()
    return count, events.seen


@pytest.fixture(params=[httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError])
def error(request: pytest.FixtureRequest) -> Iterator[type[Exception]]:
    return request.param


def test_an_unanswered_request_is_sent_once_more(error: type[Exception]) -> None:
    assert asked(0, error) == (1, ["one"])
    assert asked(1, error) == (2, ["one"])


def test_a_server_that_hangs_up_again_is_a_typed_error(error: type[Exception]) -> None:
    with pytest.raises(RemoteError, match="could not be asked"):
        asked(2, error)
