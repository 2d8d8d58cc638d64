"""A real web server on a free port of this machine, in a thread of its own, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager

import httpx2
import uvicorn
from fastapi import FastAPI, Request

from chatlab import ChatStream

MOCK = {"type": "round", "time_per_token_sec": 0}


@contextmanager
def live(app):
    """The address of an application that is served."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on")
    server, started, told = uvicorn.Server(config), threading.Event(), []

    async def serve():
        """As the server's own ``serve``, which looks but ten times a second whether it shall end."""
        ended = asyncio.Event()
        told.append((asyncio.get_running_loop(), ended))
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        started.set()
        await ended.wait()
        await server.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        ((loop, ended),) = told
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        assert not thread.is_alive()


def app_of(chat_stream, *, callback=None, wire=None, apis=True):
    """An application as the documentation writes it."""

    @asynccontextmanager
    async def lifespan(app):
        chat_stream.loop = asyncio.get_running_loop()  # where its admission lives
        async with chat_stream.lifespan(app):
            yield

    app = FastAPI(lifespan=lifespan)
    if apis:
        chat_stream.append_apis(app, {"exclude": ["chat_stream"]})

    @app.post("/chat_stream")
    async def stream_api(request: Request):
        return await chat_stream.handle_chat_stream_request(request, callback=callback, wire=wire)

    return app


def mocked(kind="echo", **options):
    """A ChatStream without a model that answers at once."""
    mock = {"type": kind, "time_per_token_sec": options.pop("delay", 0), "initial_wait_sec": options.pop("first", 0)}
    return ChatStream(use_mock_response=True, mock_params=mock, **options)


@contextmanager
def served(chat_stream, **options):
    """A client of a served ChatStream."""
    with live(app_of(chat_stream, **options)) as url, httpx2.Client(base_url=url, timeout=20, verify=False) as client:
        yield client


def ask(client, text="Hi", **options):
    """A question, as the documented client asks it."""
    return client.post("/chat_stream", json={"user_input": text}, **options)


def whole(response):
    """The reply as a documented client shows it: the last piece."""
    pieces = response.text.split("<::EOS::>")
    assert pieces.pop() == ""
    return pieces[-1]


def events_of(text):
    """The events of a stream: name, data and id of each."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"]), int(fields["id"])))
    return found
