"""The suite itself: nothing beyond this machine can be reached, so no test passes by luck of a network."""

from __future__ import annotations

import os
import socket

import pytest
from pytest_socket import SocketConnectBlockedError


def test_a_socket_beyond_loopback_is_refused() -> None:
    with socket.socket() as outside, pytest.raises((SocketConnectBlockedError, UserWarning), match="192.0.2.1"):
        outside.connect(("192.0.2.1", 80))  # TEST-NET-1, which no machine has


def test_loopback_is_open() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def test_the_hub_is_switched_off() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
