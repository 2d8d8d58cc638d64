"""A program and a client in the style that ChatStream 0.3.0 documents, and a session middleware of the kind it uses.

Written from the documented interface; only the import lines differ from what such a program has.
"""

from __future__ import annotations

import json
import pickle
import uuid
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse

from chatlab import AbstractChatPrompt, ChatStream, RoleType
from chatlab.server.request_handler import AbstractRequestHandler


class ChatPrompt(AbstractChatPrompt):
    def __init__(self):
        super().__init__()
        self.set_system("A helpful assistant.")
        self.set_requester("User")
        self.set_responder("Bot")

    def get_stop_strs(self):
        return ["User:"] if self.chat_mode else None

    def create_prompt(self, opts={}):  # noqa: B006 - as users have it
        ret = self.system
        for chat_content in self.get_contents(opts):
            name = self.requester if chat_content.get_role_type() == RoleType.REQUESTER else self.responder
            message = chat_content.get_message()
            ret += f"\n{name}: {message}" if message else f"\n{name}:"
        return ret


class SessionManager:
    """What the middleware puts at ``request.state.session``: data that are pickled between requests."""

    def __init__(self, store, session_id):
        self.store, self.session_id = store, session_id
        self.session = pickle.loads(store[session_id]) if session_id in store else {}

    def get_session(self):
        return self.session

    def save_session(self):
        self.store[self.session_id] = pickle.dumps(self.session)


class SessionMiddleware(BaseHTTPMiddleware):
    def __init__(self, app, store):
        super().__init__(app)
        self.store = store

    async def dispatch(self, request, call_next):
        session_id = request.cookies.get("sid")
        if session_id not in self.store:
            session_id = str(uuid.uuid4())
        request.state.session = SessionManager(self.store, session_id)
        response = await call_next(request)
        response.set_cookie("sid", session_id, httponly=True)
        return response


class DatabaseHandler(AbstractRequestHandler):
    """Keeps histories by login, in a database of the program's own, and streams by itself."""

    def __init__(self, database):
        super().__init__()
        self.database = database

    def get_request_handler_type(self):
        return "database"

    async def process_request(self, request, request_body, streaming_finished_callback):
        login = request.headers["x-login"]
        chat_prompt = self.database.setdefault(login, self.create_chat_prompt())
        chat_prompt.add_requester_msg(json.loads(request_body)["user_input"])
        chat_prompt.add_responder_msg(None)

        async def pieces():
            async for text in self.generate(chat_prompt, output_type="response_text"):
                yield text + "<::EOS::>"
            streaming_finished_callback(request, "success")

        return StreamingResponse(pieces(), media_type="text/plain")


def program(store, told, **options):
    """A whole program, with its middleware and its callback."""
    chat_stream = ChatStream(
        num_of_concurrent_executions=2,
        max_queue_size=5,
        too_many_request_as_http_error=True,
        chat_prompt_clazz=ChatPrompt,
        max_new_tokens=256,
        **options,
    )

    @asynccontextmanager
    async def lifespan(app):
        await chat_stream.start_queue_worker()
        async with chat_stream.lifespan(app):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/chat_stream")
    async def stream_api(request: Request):
        request_body = await request.body()

        def callback_func(req, message):
            told.append(message)

        return await chat_stream.handle_chat_stream_request(request, request_body, callback_func)

    @app.post("/clear")
    async def clear(request: Request):
        return await chat_stream.handle_clear_context_request(request)

    app.add_middleware(SessionMiddleware, store=store)
    return app, chat_stream


class Client:
    """A browser client as it is documented: fetch, read piece by piece, split at the mark, show the last piece."""

    def __init__(self, client):
        self.client = client

    def send(self, text, **body):
        """What was shown, in order."""
        shown, buffer = [], ""
        request = {"user_input": text, "regenerate": False, **body}
        with self.client.stream("POST", "/chat_stream", json=request) as response:
            if response.status_code != 200:
                response.read()
                return response.json()
            self.message_id = response.headers["X-ChatStream-Last-Generated-Message-Id"]
            for chunk in response.iter_text():
                buffer += chunk
                *pieces, buffer = buffer.split("<::EOS::>")
                shown += pieces[-1:]
        assert buffer == ""
        return shown
