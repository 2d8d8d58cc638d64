"""Which host names an application answers to: asked before anything of a request is read."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatlab.errors import ServerError
from chatlab.server.limits import check_host
from chatlab.server.refusal import refusal_of


class OnlyHosts:
    """Answers to some host names alone, before anything of a request is read: DNS rebinding ends here."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] | None) -> None:
        self._app, self._allowed_hosts = app, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what came to one of them."""
        if scope["type"] in ("http", "websocket"):
            try:
                check_host(Headers(scope=scope), self._allowed_hosts)
            except ServerError as error:
                await refused(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refused(error: ServerError) -> Response:
    """An error as a response, told as ChatStream tells one."""
    told = refusal_of(error)
    more = {} if told.field is None else {"field": told.field}
    content = {"error": told.code, "detail": told.message, **more}
    return JSONResponse(content, status_code=told.status, headers=dict(told.headers))
