"""An app on a port of this machine, until Ctrl-C: the first one ends it well, the second at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

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
