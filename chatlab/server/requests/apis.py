"""To put a ChatStream's requests into an application: by name, all or some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from chatlab.errors import ServerError

Handle = Callable[[Request], Awaitable[Response]]

READING = ("get_prompt", "get_generation_params", "get_load", "get_resource_usage")
"""Requests that change nothing: GET too."""


def chosen(handles: Mapping[str, Handle], which: Mapping[str, Any] | None) -> dict[str, Handle]:
    """The requests that ``{"all": True}``, ``{"include": […]}`` or ``{"exclude": […]}`` names; all when left out.

    Raises:
        ServerError: it is none of these, or names a request that there is not.
    """
    which = {"all": True} if which is None else dict(which)
    if which == {"all": True}:
        return dict(handles)
    (way, names), *more = which.items() if which else [("", None)]
    if more or way not in ("include", "exclude") or isinstance(names, str) or not isinstance(names, list | tuple | set):
        raise ServerError("say which APIs: {'all': True}, {'include': [names]} or {'exclude': [names]}")
    wanted = {str(name).strip("/") for name in names}
    if unknown := sorted(wanted - set(handles)):
        raise ServerError(f"there is no API {', '.join(unknown)}: there are {', '.join(handles)}")
    return {name: handle for name, handle in handles.items() if (name in wanted) == (way == "include")}


def add_routes(app: Starlette, handles: Mapping[str, Handle]) -> None:
    """Add ``/name`` for each; one that changes something is a POST."""
    for name, handle in handles.items():
        methods = ["GET", "POST"] if name in READING else ["POST"]
        app.router.add_route(f"/{name}", _endpoint(handle), methods=methods, name=f"chatstream_{name}")


def _endpoint(handle: Handle) -> Handle:
    async def endpoint(request: Request) -> Response:
        return await handle(request)

    return endpoint
