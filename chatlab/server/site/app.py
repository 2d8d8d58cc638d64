"""The app of ``chatlab serve``: every face of one serving, how full it is, and the page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatlab.errors import ServerError
from chatlab.server.hosts import OnlyHosts, refused
from chatlab.server.limits import LOOPBACK_HOSTS
from chatlab.server.serving import Serving


def create_app(
    serving: Serving, *faces: APIRouter, name: str, allowed_hosts: Collection[str] | None = LOOPBACK_HOSTS
) -> FastAPI:
    """Join the faces of one serving.

    Args:
        serving: whose load ``/health`` tells.
        faces: routes: ChatStream's, OpenAI's, the page.
        name: of the model.
        allowed_hosts: names that a request may be sent to; ``None`` allows every one.
    """
    app = FastAPI(title=f"chatlab: {name}", docs_url=None, redoc_url=None)
    for face in (*faces, health_routes(serving, name)):
        app.include_router(face)
    app.add_middleware(OnlyHosts, allowed_hosts=allowed_hosts)

    @app.exception_handler(ServerError)
    async def refuse(_: Request, error: ServerError) -> Response:
        return refused(error)

    return app


def health_routes(serving: Serving, name: str) -> APIRouter:
    """``/health``: how full the server is, from counts alone, so that a busy engine delays nobody who asks; 503 at the end."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Response:
        closing = serving.admission.closing
        told = {"status": "closing" if closing else "ok", "model": name, **asdict(serving.admission.load())}
        return JSONResponse(told, 503 if closing else 200)

    return router
