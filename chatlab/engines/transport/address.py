"""Where a server is: an address that is checked before anything is sent, and shown without what may be secret."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from chatlab.errors import RemoteError

_ENDPOINTS = ("/chat/completions", "/completions")


def server_address(base_url: object) -> str:
    """The address without its trailing slash, and without the endpoint that some paste with it.

    Raises:
        RemoteError: it is no ``http`` or ``https`` address, or carries a user, a query or a fragment; of those the
            message shows nothing, for keys stand there.
    """
    if not isinstance(base_url, str):
        raise RemoteError(f"base_url must be text such as http://host:8000/v1, not {type(base_url).__name__}")
    text = base_url.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RemoteError("base_url is no address: its host or port is malformed; write http://host:8000/v1") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise RemoteError(
            f"base_url must be http(s)://host[:port]/v1 alone, but a user, query or fragment stands in that of {host}: "
            "give a key as api_key="
        )
    if parts.scheme not in ("http", "https") or not host or not text.isprintable() or " " in text:
        raise RemoteError(f"base_url must be http(s)://host[:port]/v1, not {text!r:.200}")
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def roots(address: str) -> tuple[str, str]:
    """The address of the interface and that of the server: ``…/v1`` and what stands before it."""
    bare = address.removesuffix("/v1")
    return (address, bare) if bare != address else (f"{address}/v1", address)
