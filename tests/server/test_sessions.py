"""Whose history it is: cookies, keepers, the store that survives."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import httpx2
import pytest
from starlette.requests import Request

from chatlab import ChatStream, load_tokenizer
from chatlab.embedded import model_path
from chatlab.errors import ServerError
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.server.request_handler import SimpleSessionRequestHandler
from chatlab.server.sessions.cookie import cookie_header, session_id_of
from chatlab.server.sessions.keeper import SessionKeeper
from chatlab.server.sessions.sqlite import SqliteSessions
from chatlab.testing import ScriptedEngine
from tests.conftest import ROOT
from tests.server.live import ask, mocked, served, whole

ID = re.compile(r"chatlab_session=([A-Za-z0-9_-]{43}); HttpOnly; Path=/; SameSite=Lax")


def request_with(*cookies, scheme="http"):
    headers = [(b"cookie", cookie.encode("latin-1")) for cookie in cookies]
    return Request({"type": "http", "scheme": scheme, "path": "/", "headers": headers, "server": ("x", 1)})


def run(coroutine):
    return asyncio.run(coroutine)


def said(client):
    return [m["content"] for m in client.get("/get_prompt").json()["messages"] if m["role"] != "system"]


def test_a_new_client_gets_256_random_bits_once():
    with served(mocked()) as client:
        first = ask(client)
        assert ID.fullmatch(first.headers["set-cookie"])
        assert "set-cookie" not in ask(client).headers
        client.cookies.clear()
        assert ask(client).headers["set-cookie"] != first.headers["set-cookie"]


def test_a_cookie_is_for_https_alone_where_the_server_is():
    keeper = SessionKeeper()
    session = run(keeper.find(request_with()))
    assert "Secure" in keeper.cookie_for(session, request_with(scheme="https"))
    assert "Secure" not in keeper.cookie_for(session, request_with())


STRANGE = [
    "abc", "", "A" * 43, "A" * 42, "A" * 44, "A" * 42 + "=", "../" * 14 + "x", "é" * 43, '"' + "A" * 43 + '"', "A" * 100_000,
    "\x00" * 43, "' OR 1=1 --", "{}",
]  # fmt: skip


@pytest.mark.parametrize("value", STRANGE)
def test_an_id_that_we_did_not_give_is_never_adopted(value, tmp_path):
    for store in (None, SqliteSessions(tmp_path / "sessions.db")):
        keeper = SessionKeeper(store)
        session = run(keeper.find(request_with(f"chatlab_session={value}")))
        assert session.session_id != value
        assert session.get_session() == {}
        run(keeper.close())


def test_two_cookies_of_one_name_are_believed_neither():
    assert session_id_of(request_with(f"chatlab_session={'A' * 43}; chatlab_session={'B' * 43}")) is None
    assert session_id_of(request_with(f"x=1; chatlab_session={'A' * 43} ; y=2")) == "A" * 43
    assert session_id_of(request_with(f"xchatlab_session={'A' * 43}")) is None


def test_sessions_are_forgotten_when_idle_and_the_oldest_when_too_many():
    now = [0.0]
    keeper = SessionKeeper(cap=2, idle_s=10, clock=lambda: now[0])

    async def play():
        sessions = []
        for number in range(3):
            session = await keeper.find(request_with())
            session.get_session()["n"] = number
            await session.save_session()
            sessions.append(session)
            now[0] += 1
        found = [await keeper.find(request_with(f"chatlab_session={s.session_id}")) for s in sessions]
        assert [f is s for f, s in zip(found, sessions, strict=True)] == [False, True, True]
        assert len(keeper) == 2
        now[0] += 9
        assert await keeper.find(request_with(f"chatlab_session={sessions[2].session_id}")) is sessions[2]
        now[0] += 9  # in use, so not idle
        assert await keeper.find(request_with(f"chatlab_session={sessions[2].session_id}")) is sessions[2]
        now[0] += 11
        assert await keeper.find(request_with(f"chatlab_session={sessions[2].session_id}")) is not sessions[2]
        assert len(keeper) == 0

    run(play())


def test_a_client_that_asks_nothing_takes_no_place():
    chat_stream = mocked()
    with served(chat_stream) as client:
        for _ in range(5):
            client.get("/get_prompt")
            client.post("/clear_context")
            ask(client, "")
    assert len(chat_stream.request_handler.sessions) == 0


@pytest.mark.parametrize("options", [{"cap": 0}, {"idle_s": 0}, {"cookie": "a b"}, {"cap": True}])
def test_a_keeper_that_cannot_be_is_refused(options):
    with pytest.raises(ServerError):
        SessionKeeper(**options)


def stored(path, **options):
    return mocked(request_handler=SimpleSessionRequestHandler(SqliteSessions(path)), **options)


def test_a_store_outlives_the_server(tmp_path):
    with served(stored(tmp_path / "s.db")) as client:
        ask(client, "first")
        client.post("/set_generation_params", json={"temperature": 0.5})
        cookies = dict(client.cookies)
    with served(stored(tmp_path / "s.db")) as client:
        client.cookies.update(cookies)
        assert said(client) == ["first", "first"]
        assert client.get("/get_generation_params").json()["generation_params"]["temperature"] == 0.5
        ask(client, "second")
        assert said(client) == ["first", "first", "second", "second"]


def test_a_store_keeps_no_id_and_no_second_process(tmp_path):
    store = SqliteSessions(tmp_path / "s.db")
    store.save("A" * 43, {"x": 1})
    assert store.load("A" * 43) == {"x": 1}
    assert store.load("B" * 43) is None
    with pytest.raises(ServerError, match="another process"):
        SqliteSessions(tmp_path / "s.db")
    store.close()
    store.close()
    assert b"AAAA" not in (tmp_path / "s.db").read_bytes()
    with pytest.raises(ServerError):
        store.load("A" * 43)


def test_a_file_that_is_none_is_a_typed_error(tmp_path):
    (tmp_path / "s.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ServerError, match="s.db"):
        SqliteSessions(tmp_path / "s.db")
    with pytest.raises(ServerError):
        SqliteSessions(tmp_path / "no" / "s.db")


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_what_cannot_be_kept_is_a_typed_error_and_changes_nothing(value, tmp_path):
    store = SqliteSessions(tmp_path / "s.db")
    store.save("A" * 43, {"x": 1})
    with pytest.raises(ServerError, match="holds JSON"):
        store.save("A" * 43, {"x": value})
    assert store.load("A" * 43) == {"x": 1}
    store.close()


def test_a_store_forgets_what_nobody_used(tmp_path):
    now = [0.0]
    store = SqliteSessions(tmp_path / "s.db", idle_s=10, clock=lambda: now[0])
    store.save("A" * 43, {})
    now[0] = 11
    assert store.load("A" * 43) is None
    store.close()
    SqliteSessions(tmp_path / "s.db", idle_s=10, clock=lambda: now[0]).close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    connection.close()


def test_a_history_of_another_class_begins_anew_and_the_log_says_so(tmp_path, caplog):
    with served(stored(tmp_path / "s.db", chat_prompt_clazz="vicuna")) as client:
        ask(client, "first")
        cookies = dict(client.cookies)
    with served(stored(tmp_path / "s.db", chat_prompt_clazz="chatml")) as client:
        client.cookies.update(cookies)
        assert said(client) == []
    assert "another prompt class" in caplog.text


def test_a_save_that_fails_is_told_and_leaves_the_history_as_it_was():
    chat_stream = mocked()
    with served(chat_stream) as client:
        ask(client, "first")
        (session, _), *_ = chat_stream.request_handler.sessions._live.values()
        session._save = None  # whatever a disk may do
        told = ask(client, "second", headers={"accept": "text/event-stream"})
        assert "event: error" in told.text
        assert "event: end" not in told.text
        assert said(client) == ["first", "first"]


def test_two_tabs_are_one_session_and_ask_one_after_the_other():
    """The second gets 409, or its turn, and the history is a serial order of both."""
    for busy, statuses in (("refuse", {200, 409}), ("queue", {200})):
        chat_stream = mocked(delay=0.01, busy=busy)
        with served(chat_stream) as client:
            ask(client, "first")

            async def both(url, cookies):
                async with httpx2.AsyncClient(base_url=url, cookies=cookies, timeout=20) as two:
                    body = [{"user_input": "a b c d"}, {"user_input": "e f g h"}]
                    return await asyncio.gather(*(two.post("/chat_stream", json=b) for b in body))

            told = run(both(str(client.base_url), dict(client.cookies)))
            assert {response.status_code for response in told} == statuses
            answered = [whole(response) for response in told if response.status_code == 200]
            history = said(client)[2:]
            assert history[0::2] == history[1::2]
            assert sorted(history[1::2]) == sorted(answered)


SERVER = """
import sys
from pathlib import Path
import uvicorn
from fastapi import FastAPI
from chatlab import ChatStream
from chatlab.server.request_handler import SimpleSessionRequestHandler
from chatlab.server.sessions.sqlite import SqliteSessions

handler = SimpleSessionRequestHandler(SqliteSessions(sys.argv[1]))
mock = {"type": "echo", "time_per_token_sec": float(sys.argv[3])}
chat_stream = ChatStream(use_mock_response=True, mock_params=mock, request_handler=handler)
app = FastAPI(lifespan=chat_stream.lifespan)
chat_stream.append_apis(app)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
startup = server.startup

async def started(sockets=None):
    await startup(sockets)
    Path(sys.argv[2]).write_text(str(server.servers[0].sockets[0].getsockname()[1]))

server.startup = started
server.run()
"""


class Process:
    """The server above, in a process of its own."""

    def __init__(self, folder, delay=0.0):
        self.told = folder / f"port-{time.time_ns()}"
        arguments = [sys.executable, "-c", SERVER, str(folder / "s.db"), str(self.told), str(delay)]
        self.process = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        while not (self.told.exists() and self.told.read_text()):
            assert self.process.poll() is None
            time.sleep(0.02)
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.told.read_text()}", timeout=30)

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(30)
        self.client.close()
        return self.process.returncode


def test_every_finished_turn_survives_a_kill(tmp_path):
    """kill -9 in the middle of a turn, and again; what a client saw the end of is there."""
    cookies, finished = {}, []
    for life in range(2):
        server = Process(tmp_path, delay=0.002)
        server.client.cookies.update(cookies)
        for number in range(4):
            text = f"life {life} turn {number}"
            assert whole(ask(server.client, text)) == text
            finished.append(text)
        cookies = dict(server.client.cookies)
        with server.client.stream("POST", "/chat_stream", json={"user_input": "cut " * 500}) as told:
            next(told.iter_text())
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
            told.close()
    server = Process(tmp_path)
    server.client.cookies.update(cookies)
    history = said(server.client)
    assert history[0::2] == history[1::2] == finished
    assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_a_signal_ends_running_answers_with_a_typed_end_and_keeps_their_histories(tmp_path):
    """In a program's own app: new ones are refused, the running one gets its grace; see lifespan."""
    server = Process(tmp_path, delay=0.02)
    ask(server.client, "first")
    cookies = dict(server.client.cookies)
    text = "word " * 30
    with server.client.stream("POST", "/chat_stream", json={"user_input": text}) as told:
        pieces = told.iter_text()
        next(pieces)
        server.process.send_signal(signal.SIGTERM)
        assert "".join(pieces).endswith(f"{text}<::EOS::>")
    server.process.wait(30)
    server.client.close()
    server = Process(tmp_path)
    server.client.cookies.update(cookies)
    assert said(server.client)[-1] == text
    server.end(signal.SIGTERM)


def test_a_history_of_a_chat_template_is_read_again(tmp_path):
    cookies = {}
    for number in range(2):
        engine = ScriptedEngine("ok", load_tokenizer(model_path()))
        handler = SimpleSessionRequestHandler(SqliteSessions(tmp_path / "s.db"))
        with served(ChatStream(engine=engine, request_handler=handler)) as client:
            client.cookies.update(cookies)
            assert isinstance(handler.create_chat_prompt(), ChatTemplatePrompt)
            ask(client, f"question {number}")
            cookies = dict(client.cookies)
            history = said(client)
    assert history == ["question 0", " ok", "question 1", " ok"]


def test_a_cookies_form():
    assert cookie_header("x", secure=True) == "chatlab_session=x; HttpOnly; Path=/; SameSite=Lax; Secure"
