"""The cookie that says whose request it is."""

from __future__ import annotations

import re
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.requests import Request

COOKIE = "chatlab_session"

_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def new_session_id() -> str:
    """256 random bits that nobody can guess, as 43 characters."""
    return secrets.token_urlsafe(32)


def session_id_of(request: Request, name: str = COOKIE) -> str | None:
    """The id that a request claims, when it has the form of one; whether we gave it away is for the store to say.

    Where several cookies have the name, another program of this host may have set one: then none is believed.
    """
    told = [part for header in request.headers.getlist("cookie") for part in header.split(";")]
    ours = [value.strip() for key, _, value in (part.partition("=") for part in told) if key.strip() == name]
    return ours[0] if len(ours) == 1 and _ID.fullmatch(ours[0]) else None


def cookie_header(session_id: str, *, secure: bool, name: str = COOKIE) -> str:
    """The ``Set-Cookie`` header: no script reads it, no other site sends it, and it ends with the browser.

    Raises:
        CookieError: the name is none that a cookie may have.
    """
    cookie: SimpleCookie = SimpleCookie()
    cookie[name] = session_id
    for attribute, value in {"path": "/", "httponly": True, "samesite": "Lax", "secure": secure}.items():
        cookie[name][attribute] = value
    return cookie[name].OutputString()


def is_cookie_name(name: str) -> bool:
    """Whether a cookie may be called so."""
    try:
        cookie_header("x", secure=False, name=name)
    except CookieError:
        return False
    return True
