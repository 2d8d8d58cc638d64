"""The forms of an answer: bytes as a table, then over a real connection."""

from __future__ import annotations

import httpx2
import pytest

from chatlab import ChatStream
from chatlab.engines.engine import PrefixUse
from chatlab.errors import ServerError
from chatlab.server.chat.turn import Begun, Ended, Failed, Place
from chatlab.server.refusal import Refusal
from chatlab.server.wire.plain import Deltas, WholeText
from chatlab.server.wire.response import wire_name
from chatlab.server.wire.sse import ServerSentEvents
from chatlab.streaming.result import Delta
from chatlab.testing import ScriptedEngine
from tests.server.live import ask, events_of, mocked, served

SSE = {"accept": "text/event-stream"}
BEGUN = Begun(message_id=2, prompt_ids=(1, 2), dropped_turns=1, seed=7, prefix=PrefixUse(kept_len=1, lost_len=3))
ENDED = Ended(finish_reason="eos", text="Hé\n", token_len=3)
FAILED = Failed(refusal=Refusal(status=500, code="internal_server_error", message="the answer failed: EngineError"))


def delta(text, start, **fields):
    return Delta(text=text, raw=text, text_start=start, text_end=start + len(text), timing=0.0, **fields)


HE = delta("Hé", 0, token_ids=(5,), pieces=("Hé",), token_spans=((0, 2),), channel="reasoning", delimiter="<think>")
NL = delta("\n", 2, token_ids=(6,), pieces=("\n",), token_spans=((2, 3),), first_token=1)
END = delta("", 3, finish_reason="eos")


@pytest.mark.parametrize(
    ("wire", "batches", "written"),
    [
        (
            WholeText,
            [[Place(place=1)], [BEGUN], [HE], [NL, END], [ENDED]],
            [b"", b"", "Hé<::EOS::>", "Hé\n<::EOS::>", b""],
        ),
        (WholeText, [[BEGUN, HE, NL, END, ENDED]], ["Hé\n<::EOS::>"]),
        (WholeText, [[BEGUN], [END], [ENDED]], [b"", b"", "<::EOS::>"]),
        (Deltas, [[Place(place=1)], [BEGUN], [HE], [NL, END], [ENDED]], [b"", b"", "Hé", "\n", b""]),
    ],
)
def test_the_plain_forms_write(wire, batches, written):
    put = wire().put
    assert [put(batch) for batch in batches] == [w.encode() if isinstance(w, str) else w for w in written]


def test_server_sent_events_write():
    wire = ServerSentEvents(return_token_ids=True)
    text = b"".join(wire.put([event]) for event in (Place(place=2), BEGUN, HE, NL, ENDED)).decode()
    assert text.endswith("\n\n")
    events = events_of(text)
    assert [(name, number) for name, _, number in events] == [
        ("place", 0), ("begin", 1), ("delta", 2), ("delta", 3), ("end", 4)
    ]  # fmt: skip
    assert all(data["kind"] == name for name, data, _ in events)
    place, begin, first, second, end = (data for _, data, _ in events)
    assert place["place"] == 2
    assert begin | {"prompt_token_ids": [1, 2], "message_id": 2, "dropped_turns": 1, "seed": 7} == begin
    assert begin["prefix"] == {"kept_len": 1, "lost_len": 3}
    assert (first["text"], first["channel"], first["delimiter"]) == ("Hé", "reasoning", "<think>")
    assert (first["token_ids"], first["token_spans"], first["text_start"], first["text_end"]) == ([5], [[0, 2]], 0, 2)
    assert (second["text"], second["first_token"]) == ("\n", 1)
    assert (end["finish_reason"], end["text_len"], end["token_len"]) == ("eos", 3, 3)
    assert ServerSentEvents().put([]) == b": ping\n\n"
    assert b"prompt_token_ids" not in ServerSentEvents().put([BEGUN])
    assert events_of(ServerSentEvents().put([FAILED]).decode())[0][:1] == ("error",)


HARD = ["", "\n\n", "data: x\n\nevent: end", "\r\n\r", "😀👍🏽", "\u2028\u2029\x00", "<::EOS::", " a  b ", "é" * 300]


@pytest.mark.parametrize("text", HARD)
def test_whatever_a_model_says_every_form_tells_it_exactly(text):
    """Joined deltas are the text, the offsets lie end to end, and the plain forms hold just it."""
    engine = ScriptedEngine(list(map(ord, text)) if text else [[]])
    with served(ChatStream(engine=engine, chat_prompt_clazz="vicuna", max_new_tokens=400)) as client:
        events = events_of(ask(client, headers=SSE).text)
        pieces = ask(client).content.decode().split("<::EOS::>")
    deltas = [data for name, data, _ in events if name == "delta"]
    assert "".join(d["text"] for d in deltas) == text == pieces[-2]
    assert [d["text_start"] for d in deltas[1:]] == [d["text_end"] for d in deltas[:-1]]
    assert [i for d in deltas for i in d["token_ids"]] == list(map(ord, text))
    assert [name for name, _, _ in events if name in ("end", "error")] == ["end"]
    assert events[-1][0] == "end"
    assert [number for _, _, number in events] == list(range(len(events)))
    assert all(text.startswith(piece) for piece in pieces[:-1])


def test_the_client_or_the_program_chooses_the_form():
    with served(mocked()) as client:
        assert ask(client).headers["content-type"] == "text/plain; charset=utf-8"
        for accept in ("text/event-stream", "text/html, Text/Event-Stream;q=0.5"):
            assert ask(client, headers={"accept": accept}).headers["content-type"].startswith("text/event-stream")
    with served(mocked(), wire="delta") as client:
        assert ask(client, "as it is", headers=SSE).text == "as it is"
    with served(mocked(), wire="sse") as client:
        assert events_of(ask(client).text)[-1][0] == "end"
    with served(mocked(), wire="other") as client:
        assert ask(client).status_code == 500


@pytest.mark.parametrize("wire", ["chatstream", "delta"])
def test_a_plain_form_tells_a_fault_by_a_body_that_is_cut(wire):
    chat_stream = ChatStream(engine=ScriptedEngine("Hello you", fail_at=5, delay=0.01), chat_prompt_clazz="vicuna")
    body = {"user_input": "Hi"}
    with served(chat_stream, wire=wire) as client, client.stream("POST", "/chat_stream", json=body) as told:
        assert told.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            told.read()


@pytest.mark.parametrize("wire", ["chatstream", "delta", "sse"])
def test_a_fault_before_the_first_token_is_an_http_error_or_the_terminal_event(wire):
    chat_stream = ChatStream(engine=ScriptedEngine("Hello you"), chat_prompt_clazz="vicuna")
    chat_stream.serving.engine.close()
    with served(chat_stream, wire=wire) as client:
        told = ask(client)
    assert (told.status_code, told.json()["error"]) == (503, "engine_unavailable")


def test_bytes_on_the_wire_are_linear_in_the_answer_but_in_chatstreams_form():
    """And there a client that is slow gets fewer pieces."""
    sizes = {}
    for wire in ("sse", "delta"):
        for length in (100, 400):
            engine = ScriptedEngine("x" * length, delay=0)
            chat_stream = ChatStream(engine=engine, chat_prompt_clazz="vicuna", max_new_tokens=500)
            with served(chat_stream, wire=wire) as client:
                sizes[wire, length] = len(ask(client).content)
    assert sizes["delta", 400] == 400
    assert 3.5 < sizes["sse", 400] / sizes["sse", 100] < 4.5


def test_the_place_in_the_queue_is_told():
    chat_stream = mocked(num_of_concurrent_executions=1)
    with served(chat_stream) as client:
        first, second = (chat_stream.serving.admission.ask() for _ in range(2))
        with client.stream("POST", "/chat_stream", json={"user_input": "Hi"}, headers=SSE) as told:
            text = ""
            for piece in told.iter_text():
                text += piece
                if '"place": 2' in piece:
                    told_loop(chat_stream, first.leave)
                if '"place": 1' in piece:
                    told_loop(chat_stream, second.leave)
    events = events_of(text)
    assert [data["place"] for name, data, _ in events if name == "place"] == [2, 1]
    assert events[-1][0] == "end"


def told_loop(chat_stream, act):
    """In the server's own loop, where its admission lives."""
    chat_stream.loop.call_soon_threadsafe(act)


def test_sse_is_json_that_javascript_reads_whole():
    """A number of more than 53 bits would lose its end in a browser."""
    with served(mocked()) as client:
        seeds = [events_of(ask(client, headers=SSE).text)[0][1]["seed"] for _ in range(4)]
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert len(set(seeds)) == 4
    with served(mocked(seed=3)) as client:
        assert events_of(ask(client, headers=SSE).text)[0][1]["seed"] == 3


def test_a_wire_that_there_is_not_is_an_error_of_the_program():
    with pytest.raises(ServerError, match="no wire"):
        wire_name(None, "xml")
