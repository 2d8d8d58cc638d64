"""What a request may be: how long, how slow, of which type, and from where; asked before anything of it is obeyed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

from chatlab.errors import RequestError

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine to itself: what a server that nobody shall reach from elsewhere answers to."""

DRAINED_BYTES = 16 * 1024 * 1024
"""How much of a body that is too long is read on and thrown away, so that its sender gets to read why."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may take."""

    body_bytes: int = 64 * 1024
    """Bytes of a request's body."""
    read_s: float = 10.0
    """Seconds in which the whole body has to come."""
    write_stall_s: float = 30.0
    """Seconds a client may take no byte of its answer."""
    max_new_tokens: int | None = None
    """Tokens of an answer that a request may ask for; ``None`` leaves it to the context."""


async def read_body(request: Request, limits: Limits, given: bytes | str | None = None) -> bytes:
    """The body of a request, or the one that the program has read already.

    Raises:
        RequestError: it is too long (413) or takes too long to come (408).
        ClientDisconnect: the client has gone.
    """
    if given is not None:
        try:
            body = given.encode() if isinstance(given, str) else bytes(given)
        except UnicodeEncodeError as error:
            raise RequestError("the body is no text that UTF-8 can write", code="invalid_json") from error
        _check_len(len(body), limits)
        return body
    try:
        async with asyncio.timeout(limits.read_s):
            return await _read(request, limits)
    except TimeoutError:
        message = f"the body did not come within {limits.read_s:g} s: send it faster"
        raise RequestError(message, status=408, code="body_timeout") from None


async def _read(request: Request, limits: Limits) -> bytes:
    body = bytearray()
    read_len = 0
    async for chunk in request.stream():
        read_len += len(chunk)
        if read_len <= limits.body_bytes:
            body += chunk
        if read_len > DRAINED_BYTES:
            break
    _check_len(read_len, limits)
    return bytes(body)


def _check_len(body_len: int, limits: Limits) -> None:
    if body_len > limits.body_bytes:
        message = f"the body is longer than the {limits.body_bytes} bytes that this server reads: send less"
        raise RequestError(message, status=413, code="body_too_large")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is; nothing that only looks like one.

    Raises:
        RequestError: it is no UTF-8, no JSON, no object, holds NaN, an endless number or half a character, or is nested
            too deep.
    """
    try:
        data = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8, and numbers of too many digits
        what = "is nested too deep" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        raise RequestError(f"the body {what}", code="invalid_json") from error
    if not isinstance(data, dict):
        raise RequestError(f"the body must be a JSON object, not {_kind(data)}", code="invalid_json")
    if b"\\u" in body and _LONE_SURROGATE.search(json.dumps(data, ensure_ascii=False)):
        raise RequestError("the body holds a lone surrogate, half of a character", code="invalid_json")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _kind(data: object) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "true or false"}.get(type(data), "a number")


def check_content_type(headers: Headers) -> None:
    """Let JSON in, and nothing a foreign page can send without being asked: a form, or text.

    Raises:
        RequestError: 415; the content type is another one, or none.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        message = f"send the body as application/json, not as {kind[:80] or 'nothing'}"
        raise RequestError(message, field="content-type", status=415, code="unsupported_media_type")


def check_origin(headers: Headers) -> None:
    """Refuse what a page of another site sends: an Origin, where one is sent, must be this very host.

    Raises:
        RequestError: 403.
    """
    origin = headers.get("origin")
    if origin is None:
        return
    try:
        came_from = urlsplit(origin)
        known = came_from.scheme in ("http", "https") and _same(came_from.netloc, headers.get("host", ""))
    except ValueError:
        known = False
    if not known:
        message = "a page of another origin may not ask this server: serve the page from the same host and port"
        raise RequestError(message, field="origin", status=403, code="origin_refused")


def _same(origin: str, host: str) -> bool:
    return bool(origin) and "@" not in origin and origin.lower() == host.lower()


def check_host(headers: Headers, allowed_hosts: Collection[str] | None) -> None:
    """Refuse a Host that is not ours: what a name that was pointed at this machine sends (DNS rebinding).

    Args:
        headers: of the request.
        allowed_hosts: names without port; ``None`` allows every one.

    Raises:
        RequestError: 403.
    """
    if allowed_hosts is not None and host_name(headers.get("host", "")) not in {h.lower() for h in allowed_hosts}:
        message = "this server does not answer to that host name: ask it by one of its own (allowed_hosts)"
        raise RequestError(message, field="host", status=403, code="host_refused")


def host_name(host: str) -> str:
    """A Host header without its port, in lower case; ``""`` for what is none.

    >>> host_name("LocalHost:8000"), host_name("[::1]:8000"), host_name("a:b@c")
    ('localhost', '::1', '')
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:@/\[\]]+))(?::[0-9]{1,5})?", host)
    return (found[1] or found[2]).lower() if found else ""


def check_request(headers: Headers, allowed_hosts: Collection[str] | None, *, has_body: bool = True) -> None:
    """All of the above at once, before a body is read.

    Raises:
        RequestError: 403 or 415.
    """
    check_host(headers, allowed_hosts)
    check_origin(headers)
    if has_body:
        check_content_type(headers)
