"""RemoteEngine against a fake server that replays the faults of real ones: exact ids or a typed error, never less."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest

from chatlab.embedded import tokenizer_path
from chatlab.engines.dialects.heeded import SamplingWarning
from chatlab.engines.dialects.server_text import ServerTextWarning
from chatlab.engines.engine import EndEvent, TextEvent, TokenEvent
from chatlab.engines.remote import RemoteEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.engines.transport.connection import retry_after_s
from chatlab.errors import EngineClosed, RemoteBusy, RemoteCut, RemoteError, RemoteLacks
from chatlab.prompts.control_tokens import ControlTokenWarning
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.streaming.many import stream_many
from chatlab.streaming.stream import astream, stream
from chatlab.testing import tiny_tokenizer
from chatlab.tokenizers.load import load_tokenizer
from tests.support.forked import in_child, needs_fork

TOKENIZER = tiny_tokenizer("byte-level")
TEXT = "Hello 👍🏽 日本, how are you?"
IDS = TOKENIZER.encode(TEXT)
SSE = {"content-type": "text/event-stream"}


class Pieces(httpx2.AsyncByteStream):
    """A body that comes in given pieces, and may then fail or hang."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None, hang: bool = False) -> None:
        self.pieces, self.error, self.hang = pieces, error, hang
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            while isinstance(piece, Late) and not piece.event.is_set():
                await asyncio.sleep(0.01)
            yield piece
            await asyncio.sleep(0)
        if self.hang:
            await asyncio.sleep(60)
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


class Late(bytes):
    """A piece that comes when an event has happened."""

    def __new__(cls, event: threading.Event, data: bytes) -> Late:
        made = super().__new__(cls, data)
        made.event = event
        return made


def chunk(**choice) -> dict:
    return {"choices": [{"index": 0, "text": "", "finish_reason": None} | choice]}


def id_chunks(ids=IDS, finish: str | None = "stop", usage: bool = True, logprobs: bool = False) -> list[dict]:
    chunks = []
    for token_id in ids:
        extra = {}
        if logprobs:
            tops = [{f"token_id:{token_id}": -0.5, "token_id:7": -2.0}]
            extra = {"logprobs": {"token_logprobs": [-0.5], "top_logprobs": tops}}
        chunks.append(chunk(text=TOKENIZER.decode([token_id]), token_ids=[token_id], **extra))
    chunks.append(chunk(token_ids=[], finish_reason=finish))
    if usage:
        chunks.append({"choices": [], "usage": {"completion_tokens": len(ids)}})
    return chunks


def text_chunks(pieces=("Hel", "lo 👍🏽", " 日本"), finish: str | None = "stop") -> list[dict]:
    return [*(chunk(text=piece) for piece in pieces), chunk(finish_reason=finish)]


def wire(chunks: list[dict], *, done: bool = True, newline: str = "\n", comments: bool = False) -> bytes:
    lines = []
    for one in chunks:
        if comments:
            lines.append(": keep-alive" + newline * 2)
        lines.append(f"data: {json.dumps(one, ensure_ascii=False)}" + newline * 2)
    return ("".join(lines) + (f"data: [DONE]{newline * 2}" if done else "")).encode()


class Server:
    """What the fake server answers: to the probes by kind, then whatever ``answer`` says."""

    def __init__(self, kind: str = "vllm") -> None:
        self.kind = kind
        self.bodies: list[dict] = []
        self.answer: Callable[[dict], httpx2.Response] | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" or request.url.path.endswith("/tokenize"):
            return httpx2.Response(404)
        body = json.loads(request.content)
        self.bodies.append(body)
        if self.answer is not None:
            return self.answer(body)
        if self.kind == "vllm":
            return ok(wire(id_chunks([5], finish="length", logprobs=True)))
        if not isinstance(body["prompt"], str):
            return httpx2.Response(400, json={"error": "prompt must be a string"})
        if self.kind == "text" and "generation_config" in body:
            return httpx2.Response(422, json={"error": "unknown field"})
        heeds = self.kind == "transformers"
        words = "same" if heeds else str(body.get("seed"))
        return ok(wire(text_chunks([words]), done=False))


def ok(*pieces: bytes, **how) -> httpx2.Response:
    return httpx2.Response(200, headers=SSE, stream=Pieces(list(pieces), **how))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def engine(server: Server) -> Iterator[RemoteEngine]:
    with connect(server) as engine:
        yield engine
    assert not [t for t in threading.enumerate() if t.name == "chatlab-remote-engine"]


def connect(server: Server, tokenizer=TOKENIZER, **options) -> RemoteEngine:
    transport = httpx2.MockTransport(server)
    return RemoteEngine("http://server/v1", "m", tokenizer, transport=transport, **options)


def read(engine: RemoteEngine, params: SamplingParams | None = None) -> tuple[list[int], EndEvent]:
    run = engine.submit([5, 6], params)
    ids = [event.token_id for event in run if isinstance(event, TokenEvent)]
    assert run.end is not None
    return ids, run.end


def test_a_vllm_server_is_known_by_its_ids(engine, server) -> None:
    assert engine.capabilities.ids_in
    assert engine.capabilities.ids_out
    assert engine.capabilities.logprobs
    server.answer = lambda body: ok(wire(id_chunks()))
    result = stream([5, 6], engine, seed=4, stop_ids=[3], max_new_tokens=50).result()
    assert (result.text, result.token_ids, result.finish_reason, result.seed) == (TEXT, tuple(IDS), "eos", 4)
    body = server.bodies[-1]
    assert (body["prompt"], body["seed"], body["stop_token_ids"], body["max_tokens"]) == ([5, 6], 4, [3], 50)
    assert body["add_special_tokens"] is False


def test_logprobs_come_with_their_ids(engine, server) -> None:
    server.answer = lambda body: ok(wire(id_chunks([9, 11], logprobs=True)))
    events = list(engine.submit([5], SamplingParams(logprobs=2)))
    assert events[0].logprob == -0.5
    assert events[0].top_logprobs == ((9, -0.5), (7, -2.0))
    assert server.bodies[-1]["logprobs"] == 2


@pytest.mark.parametrize(("kind", "heeds"), [("transformers", True), ("ignoring", False), ("text", False)])
def test_a_text_server_is_seen_for_what_it_heeds(kind: str, heeds: bool) -> None:
    server = Server(kind)
    with connect(server) as engine:
        assert not engine.capabilities.ids_in
        assert not engine.capabilities.ids_out
        assert ("top_k" in engine.capabilities.sampling) is heeds
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        with contextlib.nullcontext() if heeds else pytest.warns(SamplingWarning, match="top_k=50 is what"):
            result = stream("Hi", engine).result()
        stream("Hi", engine).result()  # said once
        assert (result.text, result.token_ids, result.seed) == ("Hello 👍🏽 日本", (), None)
        assert server.bodies[-1]["prompt"] == "Hi"
        for lacking in ({"seed": 1}, {"logprobs": 1}):
            with pytest.raises(RemoteLacks, match="not seen to heed"):
                stream("Hi", engine, **lacking)
        if heeds:
            stream("Hi", engine, top_k=3).result()
            assert json.loads(server.bodies[-1]["generation_config"])["top_k"] == 3
        else:
            with pytest.raises(RemoteLacks, match="top_k"):
                stream("Hi", engine, top_k=3)


def test_without_a_tokenizer_the_prompt_goes_as_text() -> None:
    server = Server("transformers")
    with connect(server, tokenizer=None) as engine:
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        deltas = list(stream("日本 Hi", engine, stop=["lo"]))
        assert server.bodies[-1]["prompt"] == "日本 Hi"
        assert "".join(d.text for d in deltas) == "Hel"
        assert deltas[-1].finish_reason == "stop"


def dialogue(last: str = "c") -> ChatPromptMetaLlamaLlama2Chat:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.set_system_prompt("S")
    prompt.add_requester_msg("a")
    prompt.add_responder_msg("b")
    prompt.add_requester_msg(last)
    return prompt


LLAMA2 = load_tokenizer(tokenizer_path("llama2-style/legacy"))
TURNS = "[INST] <<SYS>>\nS\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST] "


@pytest.mark.parametrize(
    ("prompt", "with_tokenizer", "without"),
    [
        (dialogue(), TURNS, "<s>" + TURNS),
        ("Hello  world", "Hello  world", "Hello  world"),
        (" x ", " x ", " x "),
        ("<s><s>x", "<s>x", "<s><s>x"),
        ("", "", None),
    ],
)
def test_a_text_server_is_sent_the_prompts_own_text(prompt, with_tokenizer: str, without: str | None) -> None:
    """The exact body: no drift of a decoded prompt, and no BOS beside the one that the server adds."""
    for tokenizer, sent in ((LLAMA2, with_tokenizer), (None, without)):
        if sent is None:
            continue
        server = Server("transformers")
        with connect(server, tokenizer) as engine:
            server.answer = lambda body: ok(wire(text_chunks(), done=False))
            asked = prompt if isinstance(prompt, str) else prompt.copy()
            stream(asked, engine, temperature=0, max_new_tokens=9, stop_ids=[LLAMA2.encode("Hello")[0]]).result()
            config = {"do_sample": False, "max_new_tokens": 9, "repetition_penalty": 1.0}
            stops = server.bodies[-1].pop("stop")
            assert len(stops) == 1
            assert server.bodies[-1] == {
                "model": "m",
                "prompt": sent,
                "stream": True,
                "max_tokens": 9,
                "temperature": 0,
                "top_p": 1.0,
                "generation_config": json.dumps(config),
            }


def test_several_streams_of_a_text_server_are_sent_their_own_text() -> None:
    server = Server("transformers")
    with connect(server, LLAMA2) as engine:
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        stream_many([dialogue(), "Hello  world"], engine).results()
        assert sorted(body["prompt"] for body in server.bodies[-2:]) == ["Hello  world", TURNS]


def test_what_is_left_out_for_the_context_is_not_sent() -> None:
    server = Server("transformers")
    with connect(server, LLAMA2) as engine:
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        prompt = dialogue()
        prompt.add_responder_msg("d " * 300)
        prompt.add_requester_msg("e")
        result = stream(prompt, engine, overflow="drop_turns", context_len=200, max_new_tokens=9).result()
        assert result.dropped_turns == 2
        assert server.bodies[-1]["prompt"] == "[INST] <<SYS>>\nS\n<</SYS>>\n\ne [/INST] "


@pytest.mark.parametrize("tokenizer", [LLAMA2, None], ids=["with its tokenizer", "without"])
def test_a_control_token_in_a_message_is_named_where_the_server_reads_text(tokenizer) -> None:
    server = Server("transformers")
    with connect(server, tokenizer) as engine:
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        with pytest.warns(ServerTextWarning, match="'</s>' is spelled there, and goes to the server as text") as seen:
            stream(dialogue("c </s> d"), engine).result()
        assert "plain text" not in "".join(str(warning.message) for warning in seen)
        assert "c </s> d" in server.bodies[-1]["prompt"]
        stream(dialogue("c </s> d"), engine, allow_control_tokens=True).result()
        stream(dialogue(), engine).result()


def test_a_server_that_reads_ids_keeps_law_l8() -> None:
    server = Server("vllm")
    with connect(server, LLAMA2) as engine:
        hello = LLAMA2.encode("Hello")
        server.answer = lambda body: ok(wire([chunk(text="Hello", token_ids=hello, finish_reason="stop")]))
        with pytest.warns(ControlTokenWarning, match="is encoded as plain text"):
            stream(dialogue("c </s> d"), engine).result()
        assert server.bodies[-1]["prompt"].count(2) == 1  # the format's own


def test_stop_ids_go_to_a_text_server_as_the_text_they_add() -> None:
    server = Server("transformers")
    word = LLAMA2.encode("a Hello")[-1]
    part = next(i for i in range(LLAMA2.vocab_len) if LLAMA2.piece(i) == "<0xE3>")
    newline = next(i for i in range(LLAMA2.vocab_len) if LLAMA2.piece(i) == "<0x0A>")
    with connect(server, LLAMA2) as engine:
        server.answer = lambda body: ok(wire(text_chunks(), done=False))
        for token_id, text in ((word, LLAMA2.piece(word).replace("\u2581", " ")), (2, "</s>"), (newline, "\n")):
            stream("Hi", engine, stop_ids=[token_id]).result()
            assert server.bodies[-1]["stop"] == [text]
        with pytest.raises(RemoteLacks, match=r"stops as text only, and token id \d+ \('<0xE3>'\)"):
            stream("Hi", engine, stop_ids=[part])


def test_a_stream_cut_at_any_byte_is_an_error_and_never_a_short_answer(engine, server) -> None:
    """Every offset of the stream: all ids, or RemoteCut with the ids before the cut."""
    data = wire(id_chunks(usage=False), done=False)
    for at in range(len(data) + 1):
        server.answer = lambda body, at=at: ok(data[:at])
        ids, end = read(engine)
        assert ids == IDS[: len(ids)]
        if at == len(data):
            assert (ids, end.finish_reason) == (IDS, "eos")
        else:
            assert isinstance(end.error, RemoteCut)


def test_a_connection_that_breaks_is_an_error(engine, server) -> None:
    data = wire(id_chunks(usage=False))
    for at in range(40, len(data) - 60, 37):
        server.answer = lambda body, at=at: ok(data[:at], error=httpx2.ReadError("reset"))
        ids, end = read(engine)
        assert ids == IDS[: len(ids)]
        assert isinstance(end.error, RemoteError)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize("done", [False, True])
def test_line_ends_comments_and_split_utf8_change_nothing(engine, server, newline, comments, done) -> None:
    data = wire(id_chunks(), newline=newline, comments=comments, done=done)
    draw = random.Random(1)
    cuts = sorted({0, len(data), *(draw.randrange(len(data)) for _ in range(200))})
    pieces = [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    server.answer = lambda body: ok(*pieces)
    ids, end = read(engine)
    assert (ids, end.finish_reason) == (IDS, "eos")


FAULTS = {
    "no finish_reason": lambda: wire(id_chunks(finish=None)),
    "no finish_reason, but [DONE]": lambda: wire(id_chunks(finish=None, usage=False)),
    "nothing at all": lambda: b"",
    "only [DONE]": lambda: b"data: [DONE]\n\n",
    "a doubled chunk": lambda: wire([id_chunks()[0], *id_chunks()]),
    "a lost chunk": lambda: wire(id_chunks()[1:]),
    "text without ids": lambda: wire([chunk(text="x"), *id_chunks()]),
    "no JSON": lambda: b"data: {broken\n\n" + wire(id_chunks()),
    "JSON that is no object": lambda: b"data: 5\n\n" + wire(id_chunks()),
    "JSON nested too deep": lambda: b"data: " + b"[" * 100_000 + b"\n\n" + wire(id_chunks()),
    "an error in mid-stream": lambda: wire([*id_chunks()[:3], {"error": {"message": "out of memory"}}]),
    "broken error JSON": lambda: wire(id_chunks()[:3]) + b'data: {"error": "say "x""}\n\n',
    "an unknown finish_reason": lambda: wire(id_chunks(finish="content_filter")),
    "more after the end": lambda: wire([*id_chunks(usage=False), id_chunks()[0]]),
    "an endless line": lambda: b"data: " + b"x" * 3_000_000,
    "a web page": lambda: b"<html>hello</html>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_typed_error_with_the_ids_before_it(engine, server, fault: str) -> None:
    server.answer = lambda body: ok(FAULTS[fault]())
    ids, end = read(engine)
    assert end.finish_reason == "error"
    assert isinstance(end.error, RemoteError)
    assert fault == "a doubled chunk" or fault == "a lost chunk" or ids == IDS[: len(ids)]
    server.answer = lambda body: ok(wire(id_chunks()))
    assert read(engine)[0] == IDS


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, RemoteError),
        (404, RemoteError),
        (500, RemoteError),
        (307, RemoteError),
        (413, RemoteError),
        (400, RemoteLacks),
    ],
)
def test_a_refusal_is_a_typed_error_and_is_not_repeated(engine, server, status: int, error: type) -> None:
    headers = {"location": "http://169.254.169.254/"}
    server.answer = lambda body: httpx2.Response(status, headers=headers, text="no " * 1000)
    before = len(server.bodies)
    _, end = read(engine)
    assert type(end.error) is error
    assert len(str(end.error)) < 700
    assert len(server.bodies) == before + 1


def test_a_busy_server_is_asked_again_as_it_wishes(engine, server) -> None:
    times = []

    def answer(body):
        times.append(time.perf_counter())
        if len(times) < 3:
            return httpx2.Response(429, headers={"retry-after": "0.05"})
        return ok(wire(id_chunks()))

    server.answer = answer
    ids, _ = read(engine)
    assert ids == IDS
    assert len(times) == 3
    assert times[2] - times[0] >= 0.1


def test_a_server_that_stays_busy_says_for_how_long(server) -> None:
    with connect(server, retries=1) as engine:
        server.answer = lambda body: httpx2.Response(429, headers={"retry-after": "0.01"})
        before = len(server.bodies)
        _, end = read(engine)
        assert isinstance(end.error, RemoteBusy)
        assert end.error.retry_after == 0.01
        assert len(server.bodies) == before + 2
        server.answer = lambda body: httpx2.Response(503, headers={"retry-after": "3600"})
        start = time.perf_counter()
        _, end = read(engine)
        assert end.error.retry_after == 3600
        assert time.perf_counter() - start < 5


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("nonsense") is None
    assert retry_after_s(None) is None
    assert retry_after_s("2") == 2.0
    assert retry_after_s("-5") == 0.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 -0000") == 0.0
    here, utc = (retry_after_s(f"Mon, 21 Oct 2999 07:28:00 {zone}") for zone in ("-0000", "GMT"))
    assert here == pytest.approx(utc, abs=5)
    assert here > 1e9
    assert retry_after_s("nan") is None
    assert retry_after_s("inf") is None


def test_after_the_first_token_nothing_is_asked_again(engine, server) -> None:
    server.answer = lambda body: ok(wire(id_chunks()[:2]), error=httpx2.ReadError("reset"))
    before = len(server.bodies)
    ids, end = read(engine)
    assert ids == IDS[:2]
    assert isinstance(end.error, RemoteCut)
    assert len(server.bodies) == before + 1


def test_a_cancel_closes_the_connection(engine, server) -> None:
    bodies = []

    def answer(body):
        response = ok(wire(id_chunks()[:2], done=False), hang=True)
        bodies.append(response.stream)
        return response

    server.answer = answer
    run = engine.submit([5])
    assert [next(run).token_id for _ in range(2)] == IDS[:2]
    run.cancel()
    assert next(run).finish_reason == "cancelled"
    deadline = time.monotonic() + 5
    while not bodies[0].closed and time.monotonic() < deadline:
        time.sleep(0.005)
    assert bodies[0].closed
    assert engine.active_len == 0


def test_100_cancels_at_random_moments_leave_nothing_open(engine, server) -> None:
    server.answer = lambda body: ok(*(wire([one], done=False) for one in id_chunks()[:5]), hang=True)
    draw = random.Random(4)
    for n in range(100):
        if n % 2:
            reply = stream([5], engine)
            time.sleep(draw.random() * 0.003)
            reply.close()
        else:

            async def one() -> None:
                task = asyncio.create_task(astream([5], engine).result())
                await asyncio.sleep(draw.random() * 0.003)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            asyncio.run(one())
    deadline = time.monotonic() + 5
    while engine.active_len and time.monotonic() < deadline:
        time.sleep(0.005)
    assert engine.active_len == 0


def test_close_breaks_off_what_runs(server) -> None:
    engine = connect(server)
    server.answer = lambda body: ok(wire(id_chunks()[:2], done=False), hang=True)
    run = engine.submit([5])
    next(run)
    engine.close()
    engine.close()
    assert list(run)[-1].finish_reason == "cancelled"
    with pytest.raises(EngineClosed):
        engine.submit([5])


def test_an_engine_that_nobody_holds_ends_its_thread(server) -> None:
    engine = connect(server)
    client, thread = engine._connection.client, engine._connection.thread
    server.answer = lambda body: ok(wire(id_chunks()))
    run = engine.submit([5])
    del engine
    gc.collect()
    assert [event.token_id for event in run if isinstance(event, TokenEvent)] == IDS  # a run holds its engine
    del run
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    assert client.is_closed


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "host/v1", "file:///etc/passwd", "http://user:pw@host/v1", "http://", ""]
)
def test_only_plain_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(RemoteError, match="base_url"):
        RemoteEngine(url, "m")
    assert not [t for t in threading.enumerate() if t.name == "chatlab-remote-engine"]


def test_a_key_is_sent_and_never_shown(server) -> None:
    seen = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return httpx2.Response(401, text="bad key")

    with pytest.raises(RemoteError) as caught:
        RemoteEngine("http://server/v1", "m", TOKENIZER, api_key="s3cret", transport=httpx2.MockTransport(answer))
    assert seen[0] == "Bearer s3cret"
    assert "s3cret" not in str(caught.value)


def test_nobody_there_is_a_typed_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match="could not be asked"):
        RemoteEngine(f"http://127.0.0.1:{port}/v1", "m", TOKENIZER)


def test_a_real_socket_that_closes_in_mid_chunk_is_an_error() -> None:
    """Chunked transfer over a real socket: the probe is whole, the request breaks off."""
    probe = wire(id_chunks([5], finish="length", logprobs=True))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def serve(listener: socket.socket) -> None:
        answers = [(probe, b"0\r\n\r\n"), (wire(id_chunks()[:3], done=False), b"")]
        while answers:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(65536).startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                body, end = answers.pop(0)
                connection.sendall(head + f"{len(body):x}\r\n".encode() + body + b"\r\n" + end)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with RemoteEngine(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", TOKENIZER) as engine:
            ids, end = read(engine)
        thread.join(5)
    assert ids == IDS[:3]
    assert isinstance(end.error, RemoteCut)


def test_text_events_carry_the_servers_pieces() -> None:
    server = Server("transformers")
    with connect(server) as engine:
        server.answer = lambda body: ok(wire(text_chunks(["a", "b"]), done=False))
        events = list(engine.submit([5]))
    assert [event.text for event in events if isinstance(event, TextEvent)] == ["a", "b"]


@needs_fork
def test_a_forked_child_asks_the_server_itself_and_its_parents_reply_goes_on(engine, server) -> None:
    """Three uses of the child's: a new request, the inherited one, and the end of the engine."""
    forked = threading.Event()

    def answer(body: dict) -> httpx2.Response:
        if body["prompt"] == [9]:
            return ok(wire(id_chunks([5])[:1], done=False), Late(forked, wire(id_chunks([6, 7], usage=False))))
        return ok(wire(id_chunks([11, 12])))

    server.answer = answer
    run = engine.submit([9])
    assert next(run).token_id == 5

    def work() -> None:
        assert [run.get(5).finish_reason, str(run.end.error)[:22]] == ["error", "the process was forked"]
        for _ in range(2):
            assert read(engine)[0] == [11, 12]
        run.cancel()
        engine.close()
        with pytest.raises(EngineClosed):
            engine.submit([5])

    in_child(work)
    in_child(engine.close)
    forked.set()
    assert [event.token_id for event in run if isinstance(event, TokenEvent)] == [6, 7]
    assert run.end.finish_reason in ("stop", "eos")
    assert read(engine)[0] == [11, 12]
