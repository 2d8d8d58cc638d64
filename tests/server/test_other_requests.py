"""The chat request with all it may be asked, and the requests beside it."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from chatlab import ChatStream
from chatlab.errors import ServerError
from chatlab.testing import ScriptedEngine
from tests.server.live import app_of, ask, events_of, live, mocked, served, whole

ALL = [
    "chat_stream", "clear_context", "get_generation_params", "get_load", "get_prompt", "get_resource_usage",
    "set_feedback", "set_generation_params",
]  # fmt: skip


def counting(**options):
    """Answers that tell one from another."""
    return ChatStream(engine=ScriptedEngine(["one", "two", "three"]), chat_prompt_clazz="vicuna", **options)


def said(client):
    return [(m["role"], m["content"]) for m in client.get("/get_prompt").json()["messages"] if m["role"] != "system"]


def test_a_conversation_is_kept_and_its_messages_have_ids():
    with served(counting()) as client:
        first, second = ask(client, "a"), ask(client, "b")
        assert (whole(first), whole(second)) == ("one", "two")
        assert said(client) == [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]
        messages = client.get("/get_prompt").json()["messages"]
    ids = [
        first.headers["x-chatstream-last-generated-message-id"],
        second.headers["x-chatstream-last-generated-message-id"],
    ]
    assert [str(m["message_id"]) for m in messages if m["role"] == "assistant"] == ids


def test_regenerate_answers_the_last_question_again():
    with served(counting()) as client:
        told = ask(client, "a")
        again = client.post("/chat_stream", json={"regenerate": True, "user_input": "ignored"})
        assert whole(again) == "two"
        assert said(client) == [("user", "a"), ("assistant", "two")]
        name = "x-chatstream-last-generated-message-id"
        assert again.headers[name] == told.headers[name]


def test_regenerate_of_nothing_is_an_error():
    with served(counting()) as client:
        told = client.post("/chat_stream", json={"regenerate": True})
        assert (told.status_code, told.json()["field"]) == (400, "regenerate")
        assert whole(ask(client)) == "one"


def test_a_failed_regenerate_leaves_the_answer_there_was():
    engine = ScriptedEngine("Hello", fail_at=99)
    with served(ChatStream(engine=engine, chat_prompt_clazz="vicuna")) as client:
        engine.fail_at = None
        ask(client, "a")
        engine.fail_at = 2
        told = client.post("/chat_stream", json={"regenerate": True}, headers={"accept": "text/event-stream"})
        assert events_of(told.text)[-1][0] == "error"
        assert said(client) == [("user", "a"), ("assistant", "Hello")]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_the_callback_is_told_once(kind):
    told = []

    def plain(request, message):
        told.append((request.url.path, message))

    async def coroutine(request, message):
        await asyncio.sleep(0)
        plain(request, message)

    with served(mocked(), callback=plain if kind == "plain" else coroutine) as client:
        ask(client)
    assert told == [("/chat_stream", "success")]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_callback_that_fails_is_told_as_an_error_and_the_next_request_works(kind):
    def plain(request, message):
        raise KeyError("canary")

    async def coroutine(request, message):
        plain(request, message)

    with served(mocked(), callback=plain if kind == "plain" else coroutine) as client:
        told = ask(client, headers={"accept": "text/event-stream"})
        assert events_of(told.text)[-1][0] == "error"
        assert "canary" not in told.text
        assert said(client)[-1] == ("assistant", "Hi")


def test_the_callback_is_told_of_a_fault():
    told = []
    chat_stream = ChatStream(engine=ScriptedEngine("Hello", fail_at=2), chat_prompt_clazz="vicuna")
    with served(chat_stream, callback=lambda request, message: told.append(message)) as client:
        ask(client, headers={"accept": "text/event-stream"})
        ask(client, "x" * 5000)
    assert told == ["unknown_error_occurred: internal_server_error", "unknown_error_occurred: context_length_exceeded"]


def test_a_client_that_leaves_keeps_what_came_and_the_callback_knows():
    told = []
    chat_stream = mocked("long", delay=0.01)
    with served(chat_stream, callback=lambda request, message: told.append(message)) as client:
        ask(client, "kept")  # a session, so that there is something to look at afterwards
        with client.stream("POST", "/chat_stream", json={"user_input": "left"}) as response:
            for piece in response.iter_text():
                if "Sentence 1 says" in piece:
                    break
        for _ in range(200):
            if len(told) == 2:
                break
            asyncio.run(asyncio.sleep(0.02))
        history = said(client)
    assert told == ["success", "client_disconnected_while_streaming"]
    assert history[2] == ("user", "left")
    assert history[1][1].startswith(history[3][1])
    assert 0 < len(history[3][1]) < len(history[1][1])


def test_clear_context_forgets_the_history_and_keeps_the_parameters():
    with served(counting()) as client:
        ask(client, "a")
        client.post("/set_generation_params", json={"temperature": 0.25})
        told = client.post("/clear_context").json()
        assert told["success"] is True
        assert "message" in told
        assert said(client) == []
        assert client.get("/get_generation_params").json()["generation_params"]["temperature"] == 0.25


def test_clear_context_while_a_turn_runs_is_a_409():
    """The turn would bring the history back."""
    with served(
        ChatStream(engine=ScriptedEngine(["one", "word " * 40], delay=0.02), chat_prompt_clazz="vicuna")
    ) as client:
        ask_short = client.post("/chat_stream", json={"user_input": "first"}, timeout=20)
        assert ask_short.status_code == 200
        with client.stream("POST", "/chat_stream", json={"user_input": "second"}) as told:
            pieces = told.iter_text()  # kept: one that is dropped hangs up
            next(pieces)
            assert client.post("/clear_context").json()["error"] == "session_busy"


def test_parameters_are_a_sessions_own():
    class Recorder(ScriptedEngine):
        def submit(self, prompt_ids, params=None, *, seed=None):
            self.asked = params
            return super().submit(prompt_ids, params, seed=seed)

    engine = Recorder("x")
    with served(ChatStream(engine=engine, chat_prompt_clazz="vicuna")) as client:
        set_to = {"temperature": 0.5, "top_k_value": 500, "top_p_value": 0}
        told = client.post("/set_generation_params", json=set_to).json()
        assert told["generation_params"]["top_k_value"] == 500
        ask(client)
        assert (engine.asked.temperature, engine.asked.top_k) == (0.5, 500)
        assert 0 < engine.asked.top_p < 1e-6
        client.cookies.clear()
        ask(client)
        assert (engine.asked.temperature, engine.asked.top_k, engine.asked.top_p) == (1.0, 50, 1.0)


@pytest.mark.parametrize(
    "params",
    [{}, {"temperature": 1.1}, {"temperature": -0.1}, {"temperature": True}, {"temperature": "0.5"}, {"top_k_value": 0},
     {"top_k_value": 501}, {"top_k_value": 1.5}, {"top_p_value": 2}, {"top_k": 3}, {"temperature": None}],
)  # fmt: skip
def test_parameters_out_of_their_bounds_are_a_400(params):
    with served(mocked()) as client:
        assert client.post("/set_generation_params", json=params).status_code == 400


def test_feedback_is_for_a_message_of_the_session():
    with served(counting()) as client:
        message_id = ask(client).headers["x-chatstream-last-generated-message-id"]
        assert (
            client.post("/set_feedback", json={"message_id": message_id, "feedback": "good"}).json()["success"] is True
        )
        for body in (
            {"message_id": 99, "feedback": "x"},
            {"feedback": "x"},
            {"message_id": message_id, "feedback": [1]},
        ):
            assert client.post("/set_feedback", json=body).status_code == 400


def test_the_load_tells_who_runs_and_waits():
    chat_stream = mocked(num_of_concurrent_executions=1)
    with served(chat_stream) as client:
        tickets = [chat_stream.serving.admission.ask() for _ in range(3)]
        told = client.get("/get_load").json()
        assert told["success"] is True
        (worker,) = told["chatstream_workers"]
        assert (worker["processing"], worker["waiting"]) == (1, 2)
        for ticket in tickets:
            ticket.leave()


def test_the_memory_of_the_machine_is_told():
    with served(mocked()) as client:
        told = client.get("/get_resource_usage").json()
    assert told["cpu_memory"]["total"] > told["cpu_memory"]["process"] > 10**6
    assert isinstance(told["gpus"], list)


def paths(which):
    app = Starlette()
    mocked().append_apis(app, which)
    return sorted(route.path.strip("/") for route in app.routes)


def test_apis_are_added_by_name():
    assert paths({"all": True}) == paths(None) == ALL
    assert paths({"include": ["chat_stream", "/get_load"]}) == ["chat_stream", "get_load"]
    assert paths({"exclude": ["get_load"]}) == [name for name in ALL if name != "get_load"]
    for wrong in (
        {"include": ["no_such"]},
        {"some": []},
        {},
        {"include": "chat_stream"},
        {"include": [], "exclude": []},
    ):
        with pytest.raises(ServerError, match="APIs|no API"):
            paths(wrong)


def test_apis_and_middlewares_make_a_whole_server():
    chat_stream = mocked(allowed_hosts=["localhost"])
    app = FastAPI(lifespan=chat_stream.lifespan)
    chat_stream.append_apis(app, {"all": True})
    chat_stream.append_middlewares(app)
    app.get("/mine")(lambda: "mine")
    with live(app) as url, httpx2.Client() as client:
        there = url.replace("127.0.0.1", "localhost")
        assert client.get(f"{there}/mine").json() == "mine"
        assert whole(client.post(f"{there}/chat_stream", json={"user_input": "Hi"})) == "Hi"
        assert client.get(f"{url}/mine").status_code == 403
    with pytest.raises(ServerError, match="CORSMiddleware"):
        chat_stream.append_middlewares(app, {"cors": {"allow_origins": ["*"]}})


def test_the_console_chats_and_remembers():
    chat_stream = counting()

    async def chat():
        return [[step async for step in chat_stream.handle_console_input(text)] for text in ("a", "b")]

    first, second = asyncio.run(chat())
    assert [step[2] for step in first] == ["begin", "mid", "mid", "end"]
    assert "".join(step[1] for step in first) == first[-1][0] == "one"
    assert second[-1][0] == "two"
    assert "a ASSISTANT: one" in "".join(map(chr, chat_stream.serving.engine.prompts[1]))


def test_the_queue_worker_may_be_started_twice_or_not_at_all():
    chat_stream = mocked()

    async def start():
        await chat_stream.start_queue_worker()
        await chat_stream.start_queue_worker()

    asyncio.run(start())
    with served(chat_stream) as client:
        assert whole(ask(client)) == "Hi"


def test_overflow_drops_whole_turns_and_says_how_many():
    engine = ScriptedEngine("ok")
    options = {"chat_prompt_clazz": "vicuna", "context_len": 400, "max_new_tokens": 20}
    with served(ChatStream(engine=engine, **options)) as client:
        for number in range(6):
            told = ask(client, f"question {number} " + "x" * 40)
            assert told.status_code == 200
        assert int(told.headers["x-chatlab-dropped-turns"]) >= 2
        text = "".join(map(chr, engine.prompts[-1]))
        assert text.startswith("A chat between")  # the system text is kept
        assert "question 0" not in text
        assert text.count("question 5") == 1
        begun = events_of(ask(client, "last", headers={"accept": "text/event-stream"}).text)[0]
        assert begun[1]["dropped_turns"] >= 2
        assert len(said(client)) == 14  # the history itself is whole
    with served(ChatStream(engine=ScriptedEngine("ok"), overflow="error", **options)) as client:
        statuses = [ask(client, f"question {number} " + "x" * 40).status_code for number in range(6)]
    assert statuses[0] == 200
    assert statuses[-1] == 400


def test_a_body_that_the_program_read_stands_in():
    chat_stream = mocked()
    app = app_of(chat_stream, apis=False)

    @app.post("/mine")
    async def mine(request: __import__("fastapi").Request):
        body = await request.body()
        return await chat_stream.handle_chat_stream_request(request, request_body=body.decode())

    with live(app) as url:
        assert whole(httpx2.post(f"{url}/mine", json={"user_input": "Hi"})) == "Hi"
