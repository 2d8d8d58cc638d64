"""ChatStream's requests as routes of the site."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from chatlab.server.chat_stream import ChatStream
from chatlab.server.wire.response import WireName


def add_chat(app: FastAPI, chat_stream: ChatStream, wire: WireName = "chatstream") -> None:
    """Add every request of a ChatStream.

    Args:
        app: where to.
        chat_stream: what answers.
        wire: how ``/chat_stream`` answers a client that does not ask for server-sent events, as the page does.
    """
    chat_stream.append_apis(app, {"exclude": ["chat_stream"]})

    @app.post("/chat_stream", response_model=None)
    async def chat(request: Request) -> Response:
        asks = wire == "chatstream" or "text/event-stream" in request.headers.get("accept", "")
        return await chat_stream.handle_chat_stream_request(request, wire=None if asks else wire)
