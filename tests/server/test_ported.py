"""Programs and clients written for ChatStream 0.3.0 run when their imports change."""

from __future__ import annotations

import pickle
import time

import httpx2
import pytest

from chatlab import ChatStream
from chatlab.errors import ServerError
from chatlab.server.request_handler import AbstractRequestHandler
from chatlab.testing import ScriptedEngine
from tests.server.documented import ChatPrompt, Client, DatabaseHandler, program
from tests.server.live import app_of, ask, events_of, live, served, whole


def test_a_program_its_middleware_and_its_client_run():
    """The history lives in the program's own session store, under the documented key, pickled between requests."""
    store, told = {}, []
    app, _ = program(store, told, engine=ScriptedEngine(["one and", "two User: no", "three"]))
    with live(app) as url, httpx2.Client(base_url=url, timeout=20) as connection:
        client = Client(connection)
        assert client.send("first")[-1] == "one and"
        first_id = client.message_id
        shown = client.send("second")
        assert shown[-1] == "two "  # the stop string of the class
        assert all(later.startswith(before) for before, later in zip(shown, shown[1:], strict=False))
        assert client.message_id != first_id
        assert client.send("ignored", regenerate=True)[-1] == "three"
        ((session_id, kept),) = store.items()
        assert "chatlab_session" not in connection.cookies
        assert connection.cookies["sid"] == session_id
        prompt = pickle.loads(kept)["chat_prompt"]
        assert [c.get_message() for c in prompt.get_contents()] == ["first", "one and", "second", "three"]
        assert connection.post("/clear").json()["success"] is True
        assert pickle.loads(store[session_id])["chat_prompt"].is_empty()
    assert told == ["success"] * 3


def test_two_browsers_of_a_program_have_each_their_history():
    store, told = {}, []
    app, _ = program(store, told, engine=ScriptedEngine("answer"))
    with live(app) as url, httpx2.Client(base_url=url) as one, httpx2.Client(base_url=url) as two:
        Client(one).send("canary one")
        Client(two).send("canary two")
    assert len(store) == 2
    for kept in store.values():
        assert kept.count(b"canary") == 1


def test_a_programs_client_that_leaves_is_told_and_its_history_kept():
    store, told = {}, []
    app, chat_stream = program(store, told, engine=ScriptedEngine("word " * 100, delay=0.05))
    with live(app) as url, httpx2.Client(base_url=url) as client:
        with client.stream("POST", "/chat_stream", json={"user_input": "Hi"}) as response:
            next(response.iter_text())
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == ["client_disconnected_while_streaming"]
        assert chat_stream.serving.admission.load().running == 0
        assert chat_stream.serving.engine.wait_idle(5)
    (kept,) = store.values()
    said = pickle.loads(kept)["chat_prompt"].get_responder_last_msg()
    assert said
    assert ("word " * 100).startswith(said)


def test_a_session_is_one_turn_at_a_time_also_in_a_programs_own():
    """The middleware's session has an id, so a second tab is refused while the first is answered."""
    store, told = {}, []
    app, chat_stream = program(store, told, engine=ScriptedEngine(["Hi", "word " * 20], delay=0.02))
    with live(app) as url, httpx2.Client(base_url=url) as client:
        Client(client).send("first")
        with client.stream("POST", "/chat_stream", json={"user_input": "second"}) as response:
            pieces = response.iter_text()  # kept: one that is dropped hangs up
            next(pieces)
            assert Client(client).send("third")["error"] == "session_busy"


class Database(dict):
    """A program's own."""


def derived(engine, **options):
    handler = DatabaseHandler(Database())
    return handler, ChatStream(engine=engine, chat_prompt_clazz=ChatPrompt, request_handler=handler, **options)


def post(client, login, text):
    return client.post("/chat_stream", json={"user_input": text}, headers={"x-login": login})


def test_a_derived_handler_keeps_histories_by_login():
    told = []
    handler, chat_stream = derived(ScriptedEngine(["one", "two", "three"]))
    assert (handler.get_request_handler_type(), handler.chat_prompt_clazz) == ("database", ChatPrompt)
    with served(chat_stream, callback=lambda request, message: told.append(message), apis=False) as client:
        assert whole(post(client, "ann", "a")) == "one"
        assert whole(post(client, "bob", "b")) == "two"
        assert whole(post(client, "ann", "c")) == "three"
    assert [c.get_message() for c in handler.database["ann"].get_contents()] == ["a", "one", "c", "three"]
    assert told == ["success"] * 3


def test_a_derived_handlers_slot_is_freed_by_whatever_way_its_answer_ends():
    told = []
    engine = ScriptedEngine("word " * 100, delay=0.05)
    handler, chat_stream = derived(engine, num_of_concurrent_executions=1, max_queue_size=0)
    with served(chat_stream, callback=lambda request, message: told.append(message), apis=False) as client:
        body, headers = {"user_input": "Hi"}, {"x-login": "ann"}
        for _ in range(3):
            with client.stream("POST", "/chat_stream", json=body, headers=headers) as response:
                assert response.headers["content-type"].startswith("text/plain")
                pieces = response.iter_text()  # kept: one that is dropped hangs up
                next(pieces)
                assert post(client, "bob", "Hi").json() == {"error": "too_many_requests"}
            deadline = time.monotonic() + 10
            while chat_stream.serving.admission.load().running and time.monotonic() < deadline:
                time.sleep(0.01)
            assert chat_stream.serving.admission.load().running == 0
        assert client.post("/chat_stream", json=body).status_code == 500  # no login: the handler raises
        assert chat_stream.serving.admission.load().running == 0
    assert told[:3] == ["client_disconnected_while_streaming"] * 3
    assert told[3].startswith("unknown_error_occurred")


class Responding(AbstractRequestHandler):
    """One that leaves all but the history to ``respond``."""

    def __init__(self):
        self.kept = []

    async def process_request(self, request, request_body, streaming_finished_callback):
        prompt = self.create_chat_prompt()
        prompt.add_requester_msg(request_body.decode())
        return self.respond(request, prompt, streaming_finished_callback, save=self.kept.append, return_token_ids=True)


def test_a_derived_handler_may_leave_the_answer_to_respond():
    handler, told = Responding(), []
    chat_stream = ChatStream(engine=ScriptedEngine("ok"), chat_prompt_clazz=ChatPrompt, request_handler=handler)
    with served(chat_stream, callback=lambda request, message: told.append(message)) as client:
        events = events_of(ask(client, headers={"accept": "text/event-stream"}).text)
        assert client.get("/get_prompt").status_code == 400
    assert events[-1][1]["text_len"] == 2
    assert "".join(map(chr, events[0][1]["prompt_token_ids"])).endswith('User: {"user_input":"Hi"}\nBot:')
    assert handler.kept[0].get_responder_last_msg() == "ok"
    assert told == ["success"]


@pytest.mark.parametrize(
    ("output_type", "given"),
    [
        ("updated_text", ["o", "k", ""]),
        ("response_text", ["o", "ok", "ok"]),
        (None, [("o", "o", "begin"), ("ok", "k", "mid"), ("ok", "", "end")]),
    ],
)
def test_generate_gives_what_its_output_type_says(output_type, given):
    class Collecting(DatabaseHandler):
        async def process_request(self, request, request_body, streaming_finished_callback):
            prompt = self.create_chat_prompt()
            prompt.add_requester_msg("Hi")
            self.given = [step async for step in self.generate(prompt, output_type=output_type)]
            return await super().process_request(request, request_body, streaming_finished_callback)

    handler = Collecting({})
    chat_stream = ChatStream(engine=ScriptedEngine("ok"), chat_prompt_clazz=ChatPrompt, request_handler=handler)
    with live(app_of(chat_stream, apis=False)) as url:
        httpx2.post(f"{url}/chat_stream", json={"user_input": "Hi"}, headers={"x-login": "ann"})
    assert handler.given == given


def test_a_handler_without_process_request_says_what_to_do():
    with served(ChatStream(engine=ScriptedEngine("x"), request_handler=AbstractRequestHandler())) as client:
        assert ask(client).status_code == 500
    with pytest.raises(ServerError, match="serves no ChatStream"):
        AbstractRequestHandler().create_chat_prompt()
