"""The connection to a server: a thread of its own, one client, deadlines and limits; what is said goes to readers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx2

from chatlab.engines.dialects.ends import failure
from chatlab.engines.transport.events import EventReader
from chatlab.engines.transport.limits import Inflater, RemoteLimits
from chatlab.engines.transport.secrets import Secret
from chatlab.errors import ContextLengthError, EngineError, RemoteBusy, RemoteCut, RemoteError, RemoteLacks

MAX_WAIT_S = 30.0
_LINGER_S = 2.0
"""After the end of a reply, how long the server's counts are waited for."""
_FACT_S = 5.0
_LOGGERS = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))

_LEFT: list[Any] = []
"""In a forked child, what is its parent's: to collect it would meddle with the parent's sockets."""

_HUNG_UP = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)

_Error = TypeVar("_Error", bound=EngineError)


class Reader(Protocol):
    """What takes the events of an answer."""

    begun: bool
    done: bool

    @property
    def ended(self) -> bool:
        """Whether the reply is whole."""
        ...

    def put(self, data: str) -> None:
        """Take one event."""
        ...

    def flush(self) -> None:
        """The answer is over."""
        ...


class Connection:
    """Ask a server, in a thread of its own, and take no more of it than the limits allow.

    Proxies of the environment are not used and redirects not followed. No error it raises, and no line that its
    libraries log, holds the key.
    """

    def __init__(
        self, *, key: Secret | None, timeout: float, retries: int, limits: RemoteLimits, transport: Any = None
    ) -> None:
        """Start the thread; nothing is asked yet."""
        self.limits = limits
        self._key, self._timeout, self._retries = key, timeout, retries
        self._filter = _KeyFilter(key)
        if key is not None:
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(self._filter)
        self._transport = transport
        self._begin()

    def _begin(self) -> None:
        """Have a thread, a loop and a client."""
        self._is_left = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=_serve, args=[self.loop], name="chatlab-remote-engine", daemon=True)
        self.thread.start()
        self.client: httpx2.AsyncClient = self.wait(self._client())
        self._drop = weakref.finalize(self, _disconnect_soon, self.loop, self.client, self._filter)
        self._drop.atexit = False  # at the exit the engine is closed, as all are

    def after_fork(self) -> None:
        """Leave the thread, the loop and the client to the parent; the next one who waits begins anew."""
        self._is_left = True
        self._drop.detach()
        _LEFT.append((self.loop, self.thread, self.client))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do ``work`` in the connection's thread, and wait for it."""
        if self._is_left:
            self._begin()
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Disconnect and end the thread."""
        if not self._is_left:
            self.wait(self.client.aclose())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self._drop.detach()
        _unfilter(self._filter)

    async def ask(self, url: str, body: dict[str, Any], reader: Reader) -> None:
        """One request, asked again while the server is busy and no piece of its answer has come.

        Raises:
            RemoteError: it was refused, broke off, or took or gave more than the limits allow.
            ContextLengthError: the server says that the prompt is too long.
        """
        deadline = time.monotonic() + self.limits.total_s
        for attempt in range(self._retries + 1):
            try:
                return await self._stream(url, body, reader, deadline)
            except RemoteBusy as error:
                busy = self.hidden(error)
            wait = 0.5 * 2**attempt if busy.retry_after is None else busy.retry_after
            if attempt == self._retries or wait > MAX_WAIT_S or time.monotonic() + wait > deadline:
                raise busy
            await asyncio.sleep(wait)

    async def fact(self, url: str, body: dict[str, Any] | None = None) -> Any:
        """A JSON value that the server may or may not have; ``None`` where it has not."""
        method = "GET" if body is None else "POST"
        try:
            async with asyncio.timeout(_FACT_S), self.client.stream(method, url, json=body) as response:
                if response.status_code != 200:
                    return None
                return json.loads(await self._body(response, self.limits.line_bytes))
        except Exception:  # whatever goes wrong, nothing is known: the answer of a stranger that nobody relies on
            return None

    def hidden(self, error: _Error) -> _Error:
        """The same error without the key, and without what raised it, where the key may stand as well."""
        if self._key is not None:
            error.args = (self._key.hide(str(error)), *error.args[1:])
            error.__cause__ = error.__context__ = None
        return error

    async def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity"}
            | ({} if self._key is None else {"Authorization": f"Bearer {self._key.reveal()}"}),
            timeout=httpx2.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
            trust_env=False,
            follow_redirects=False,
            transport=self._transport,
        )

    async def _stream(
        self, url: str, body: dict[str, Any], reader: Reader, deadline: float, *, is_again: bool = False
    ) -> None:
        answered = False
        try:
            async with asyncio.timeout(min(self._timeout, deadline - time.monotonic())) as clock:
                async with self.client.stream("POST", url, json=body) as response:
                    answered = True
                    if response.status_code != 200:
                        raise await self._refusal(response)
                    await self._read(response, reader, clock, deadline)
            trouble = None
        except TimeoutError:
            what = "it was not done" if time.monotonic() >= deadline else "no piece of a reply came"
            seconds = self.limits.total_s if time.monotonic() >= deadline else self._timeout
            trouble = None if reader.ended else f"{what} within {seconds:g} s"
        except httpx2.HTTPError as error:
            # A server closes a connection that was idle; a request that meets this was never answered, and is sent anew.
            if isinstance(error, _HUNG_UP) and not (answered or is_again):
                return await self._stream(url, body, reader, deadline, is_again=True)
            trouble = f"{type(error).__name__}: {error}"
        if trouble is not None:
            raise _broken(url, reader, trouble)
        reader.flush()

    async def _read(self, response: httpx2.Response, reader: Reader, clock: asyncio.Timeout, deadline: float) -> None:
        """Hand the events on; only an event counts as a sign of life, not a comment nor a byte."""
        events = EventReader(line_bytes=int(self.limits.line_bytes))
        async for piece in _pieces(response, int(self.limits.body_bytes)):
            for data in events.put(piece):
                reader.put(data)
                patience = _LINGER_S if reader.ended else self._timeout
                clock.reschedule(self.loop.time() + min(patience, deadline - time.monotonic()))
            if reader.done:
                return
        for data in events.flush():
            reader.put(data)

    async def _refusal(self, response: httpx2.Response) -> EngineError:
        """The typed error of a status other than 200; the server's own words are kept short."""
        words = (await self._body(response, int(self.limits.error_bytes), cut=True)).decode("utf-8", "replace").strip()
        # Hidden before it is shortened: half a key would not be known for one.
        words = (words[:5000] if self._key is None else self._key.hide(words[:5000]))[:500]
        status = response.status_code
        if status in (429, 502, 503, 504):
            retry_after = retry_after_s(response.headers.get("retry-after"))
            return RemoteBusy(f"the server is busy ({status}): {words}", retry_after=retry_after)
        error = failure(f"the server refused ({status}): {words}", words)
        if isinstance(error, ContextLengthError):
            return error
        refusal = RemoteLacks(str(error)) if status in (400, 422) else RemoteError(str(error))
        refusal.status = status
        return refusal

    async def _body(self, response: httpx2.Response, most: int, *, cut: bool = False) -> bytes:
        """The whole body where it is short enough, else an error, or its beginning where that is enough."""
        body = bytearray()
        try:
            async for piece in _pieces(response, most):
                body += piece
        except (RemoteError, httpx2.HTTPError):
            if not cut:
                raise
        return bytes(body)


async def _pieces(response: httpx2.Response, most: int) -> AsyncIterator[bytes]:
    """The body as it arrives, decompressed, never more than ``most`` bytes of it."""
    if response.is_stream_consumed:  # a transport that gives whole answers has decompressed them, too
        yield Inflater("", most).put(response.content)
        return
    inflater = Inflater(response.headers.get("content-encoding", ""), most)
    async for raw in response.aiter_raw():
        yield inflater.put(raw)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        # "-0000" is UTC of an unknown zone, and comes without one.
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None


class _KeyFilter(logging.Filter):
    """Hide a key in what the libraries log: a server's headers may hold it."""

    def __init__(self, key: Secret | None) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        if self._key is not None:
            record.msg, record.args = self._key.hide(record.getMessage()), ()
        return True


def _unfilter(key_filter: _KeyFilter) -> None:
    for name in _LOGGERS:
        logging.getLogger(name).removeFilter(key_filter)


def _broken(url: str, reader: Reader, trouble: str) -> RemoteError:
    if reader.begun:
        return RemoteCut(f"{url} broke off in the middle of the reply: {trouble}")
    return RemoteError(f"{url} could not be asked: {trouble}")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of a connection: it knows the loop alone, so that it holds no engine that everyone has let go."""
    try:
        loop.run_forever()
    finally:
        loop.close()


def _disconnect_soon(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient, key_filter: _KeyFilter) -> None:
    """End the thread of an engine that is gone; any thread may collect it, that one too, so nothing waits."""

    async def disconnect() -> None:
        try:
            await client.aclose()
        finally:
            loop.stop()

    _unfilter(key_filter)
    asyncio.run_coroutine_threadsafe(disconnect(), loop)
