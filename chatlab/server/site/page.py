"""The page of ``chatlab serve``: its files, what it asks of the server beside the chat, and the rules a browser holds it to."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatlab.browser.assets import asset
from chatlab.errors import RequestError
from chatlab.server.limits import check_request, json_object, read_body
from chatlab.server.serving import Serving
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: its own script and style, its own server, and no text that becomes markup, whoever wrote it."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_FILES = {
    "chat_page.js": ("text/javascript", ("log.js", "ask.js", "server_reply.js", "chat_page.js")),
    "chat_page.css": ("text/css", ("log.css", "chat_page.css")),
    "icon.svg": ("image/svg+xml", ("icon.svg",)),
}


def page_routes(serving: Serving, *, name: str, fault: str = "") -> APIRouter:
    """The routes of the page: ``/``, its files under ``/page``, and the pieces of ids that it shows.

    The chat itself goes over ChatStream's routes, which the program adds.

    Args:
        serving: whose tokenizer tells the pieces, and whose limits hold.
        name: of the model, as it is shown.
        fault: what the server does wrong on purpose, to be shown.
    """
    router = APIRouter()
    tokenizer = as_tokenizer(serving.tokenizer)
    about = {"name": name, "fault": fault, "special_ids": sorted(tokenizer.special_ids)}

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(asset("chat_page.html"), media_type="text/html", headers=_HEADERS)

    @router.get("/page/about", include_in_schema=False)
    async def told() -> Response:
        return JSONResponse(about, headers=_HEADERS)

    @router.get("/page/{file}", include_in_schema=False)
    async def file(file: str) -> Response:
        if file not in _FILES:
            return Response(status_code=404, headers=_HEADERS)
        kind, parts = _FILES[file]
        return Response(asset(*parts), media_type=kind, headers=_HEADERS)

    @router.post("/page/pieces", include_in_schema=False)
    async def pieces(request: Request) -> Response:
        check_request(request.headers, None)
        body = json_object(await read_body(request, serving.limits))
        return JSONResponse({"pieces": pieces_of(body.get("token_ids"), tokenizer)}, headers=_HEADERS)

    return router


def pieces_of(token_ids: Any, tokenizer: Tokenizer) -> list[str]:
    """The vocabulary entries of some ids; ``""`` for one that has none, as a padded output layer says.

    Raises:
        RequestError: they are no list of ids.
    """
    if not isinstance(token_ids, list) or not all(type(token_id) is int for token_id in token_ids):
        raise RequestError("token_ids must be a list of ids", field="token_ids")
    return [_piece(token_id, tokenizer) for token_id in token_ids]


def _piece(token_id: int, tokenizer: Tokenizer) -> str:
    try:
        return tokenizer.piece(token_id)
    except (ValueError, OverflowError):  # TokenIdError is one
        return ""
