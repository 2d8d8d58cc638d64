"""An app on a port of this machine, until Ctrl-C: the first one ends it well, the second at once."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

from starlette.types import ASGIApp

from chatlab.errors import RequestError, ServerError, ServerExtraMissing
from chatlab.server.limits import LOOPBACK_HOSTS

try:
    import uvicorn
except ImportError as error:
    raise ServerExtraMissing(
        f"chatlab serve needs uvicorn, which is not installed ({error}): pip install 'chatlab-research[server]'"
    ) from error

GRACE_S = 10.0
"""Seconds that running answers have to end after the first Ctrl-C."""
_LOOK_S = 0.05

Close = Callable[[float], Awaitable[object]]


def run(
    app: ASGIApp,
    close: Close,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    grace_s: float = GRACE_S,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    After the first signal new requests get 503, running ones have ``grace_s`` seconds, and those that are left are ended
    with an event that says so. A second signal ends them at once.

    Args:
        app: what answers.
        close: called first, with the seconds that running answers have: a serving's, or a ChatStream's.
        host: a name of this machine to itself.
        port: 0 takes a free one.
        grace_s: how long running answers may go on.
        on_ready: told the address once it can be asked.

    Raises:
        RequestError: ``host`` is no loopback name.
        ServerError: the port is taken or may not be used.
    """
    check_loopback(host)
    with _listening(host, port) as listener:
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once all is down
            _Server(config, close, grace_s, on_ready).run(sockets=[listener])


def check_loopback(host: str) -> None:
    """Refuse a host that others can reach.

    Raises:
        RequestError: it is no name of this machine to itself.
    """
    if host not in LOOPBACK_HOSTS:
        raise RequestError(
            f"chatlab serve answers this machine alone, at {', '.join(sorted(LOOPBACK_HOSTS))}, not at {host:.80}: for "
            "others put ChatStream into an app of your own, behind a server that knows who asks",
            field="host",
        )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ServerError(f"port {port} of {host} cannot be used ({error}): choose another with --port") from error


class _Server(uvicorn.Server):
    """Uvicorn, that first lets running answers end; its own order waits for connections before the app hears of it."""

    def __init__(self, config: uvicorn.Config, close: Close, grace_s: float, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._close, self._grace_s, self._on_ready = close, grace_s, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running answers end, then the connections."""
        closing = asyncio.ensure_future(self._close(self._grace_s))
        while not closing.done() and not self.force_exit:
            await asyncio.wait([closing], timeout=_LOOK_S)
        if not closing.done():
            closing.cancel()
            with suppress(asyncio.CancelledError):
                await closing
            await self._close(0.0)
        self.force_exit = False  # the answers have ended: what is left is to hang up, in a second at most
        await super().shutdown(sockets)


class Background:
    """An app on a free port of this machine, in a thread of its own, for as long as a block lasts or until it is closed.

    For a notebook and for tests: the program goes on beside it.

    >>> from fastapi import FastAPI
    >>> with Background(FastAPI()) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, app: ASGIApp) -> None:
        """Serve it, and return once it can be asked.

        Raises:
            ServerError: the app does not start.
        """
        listener = _listening("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        """Where it is asked."""
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=[listener], name="chatlab-server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(_LOOK_S / 10)
        if not self._server.started:
            listener.close()
            raise ServerError("the app did not start: what its lifespan raised stands in the log")

    def close(self) -> None:
        """End it, and return once it has; a second call does nothing."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        with suppress(SystemExit):  # uvicorn's word for an app that does not start
            self._server.run(sockets=[listener])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
