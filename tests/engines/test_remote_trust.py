"""RemoteEngine against servers that never end, give too much, speak another dialect, or send the key back."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import logging
import pickle
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx2
import pytest
from rich.console import Console

from chatlab.embedded import tokenizer_path
from chatlab.engines.dialects.server_text import RereadWarning
from chatlab.engines.engine import EndEvent, TextEvent, TokenEvent
from chatlab.engines.remote import RemoteEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.engines.transport import connection
from chatlab.engines.transport.limits import RemoteLimits
from chatlab.errors import ContextLengthError, RemoteCut, RemoteError, RemoteLacks
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.streaming.stream import stream
from chatlab.streaming.terminal import chat_in_terminal
from chatlab.tokenizers.load import load_tokenizer
from tests.support.keys import KEY, SPELLINGS

TOKENIZER = load_tokenizer(tokenizer_path("llama2-style/legacy"))
HELLO = TOKENIZER.encode("Hello")
SSE = {"content-type": "text/event-stream"}


class Body(httpx2.AsyncByteStream):
    """Pieces of a body, each after a pause."""

    def __init__(self, pieces: Iterable[bytes], pause: float = 0.0) -> None:
        self.pieces, self.pause, self.closed, self.given = pieces, pause, False, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
            self.given += 1
            await asyncio.sleep(self.pause)

    async def aclose(self) -> None:
        self.closed = True


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **fields}]}).encode() + b"\n\n"


def ok(pieces: Iterable[bytes], pause: float = 0.0, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(200, headers=SSE | (headers or {}), stream=Body(pieces, pause))


def ids_server(body: dict) -> list[bytes]:
    """What vLLM says to the probe."""
    first = body["prompt"][0]
    return [event(text=TOKENIZER.decode([first]), token_ids=[first], finish_reason="length")]


class Server:
    """A server that reads ids like vLLM, or text; facts by path, completions by ``answer``."""

    def __init__(
        self, *, ids: bool = True, facts: dict[str, Any] | None = None, completions: str = "/v1/completions"
    ) -> None:
        self.ids, self.facts, self.completions = ids, facts or {}, completions
        self.answer: Callable[[dict], httpx2.Response] | None = None
        self.bodies: list[dict] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path in self.facts:
            fact = self.facts[path]
            return httpx2.Response(200, json=fact(json.loads(request.content)) if callable(fact) else fact)
        if path != self.completions:
            return httpx2.Response(404, json={"detail": "Not Found"})
        body = json.loads(request.content)
        self.bodies.append(body)
        if self.answer is not None:
            return self.answer(body)
        if self.ids:
            return ok(ids_server(body))
        if not isinstance(body["prompt"], str):
            return httpx2.Response(400, json={"error": "prompt must be a string"})
        return ok([event(text="same", finish_reason="length")])


def connect(
    server: Callable[[httpx2.Request], httpx2.Response], url: str = "http://server/v1", **options: Any
) -> RemoteEngine:
    return RemoteEngine(
        url, "m", options.pop("tokenizer", TOKENIZER), transport=httpx2.MockTransport(server), **options
    )


def end_of(engine: RemoteEngine, params: SamplingParams | None = None) -> EndEvent:
    run = engine.submit([1, *HELLO], params)
    for _ in run:
        pass
    assert run.end is not None
    return run.end


# -- limits


ENDLESS = {
    "comments": lambda: (itertools.repeat(b": still here\n\n"), 0.001),
    "a byte at a time": lambda: ((bytes([b]) for b in b"data: " + b"x" * 10**6), 0.05),
    "blank lines": lambda: (itertools.repeat(b"\n\n"), 0.001),
    "silence": lambda: (itertools.repeat(b""), 0.01),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_is_no_piece_of_a_reply_does_not_keep_a_request_alive(kind: str) -> None:
    server = Server()
    with connect(server, timeout=0.3) as engine:
        server.answer = lambda body: ok(*ENDLESS[kind]())
        start = time.monotonic()
        error = end_of(engine).error
        assert time.monotonic() - start < 3
        assert isinstance(error, RemoteError)
        assert "within 0.3 s" in str(error)


def test_a_reply_that_drips_is_cut_at_the_total_time() -> None:
    server = Server()
    with connect(server, timeout=5, limits=RemoteLimits(total_s=0.4)) as engine:
        server.answer = lambda body: ok(itertools.repeat(event(text="Hello", token_ids=HELLO)), 0.05)
        start = time.monotonic()
        error = end_of(engine).error
        assert time.monotonic() - start < 3
        assert isinstance(error, RemoteCut)
        assert "not done within 0.4 s" in str(error)


@pytest.mark.parametrize("ids", [True, False])
def test_a_server_that_gives_more_than_it_was_asked_for_is_cut(ids: bool) -> None:
    server = Server(ids=ids)
    with connect(server) as engine:
        fields = {"token_ids": HELLO[:1]} if ids else {}
        endless = Body(itertools.repeat(event(text=" Hello", **fields)))
        server.answer = lambda body: httpx2.Response(200, headers=SSE, stream=endless)
        run = engine.submit_text("Hello", [1, *HELLO], SamplingParams(max_new_tokens=5, temperature=0))
        pieces = [e for e in run if isinstance(e, TextEvent | TokenEvent)]
        assert len(pieces) <= 12
        assert "more than the 5 tokens" in str(run.end.error)
        assert endless.closed


@pytest.mark.parametrize("status", [200, 500])
def test_a_bomb_is_not_unpacked(status: int) -> None:
    bomb = gzip.compress(b": x\n" * 10_000_000 if status == 200 else b"x" * 100_000_000, 1)
    server = Server()
    with connect(server, limits=RemoteLimits(body_bytes=100_000)) as engine:
        headers = SSE | {"content-encoding": "gzip"}
        server.answer = lambda body: httpx2.Response(status, headers=headers, stream=Body([bomb]))
        error = end_of(engine).error
        assert isinstance(error, RemoteError)
        assert len(str(error)) < 700


def test_a_body_longer_than_its_limit_is_refused() -> None:
    server = Server()
    with connect(server, limits=RemoteLimits(body_bytes=20_000, line_bytes=5_000)) as engine:
        server.answer = lambda body: ok(itertools.repeat(b": " + b"x" * 100 + b"\n"))
        assert "longer than the 20,000 bytes" in str(end_of(engine).error)
        server.answer = lambda body: ok(itertools.repeat(b"x" * 100))
        assert "5,000 bytes" in str(end_of(engine).error)


def test_a_whole_reply_does_not_wait_for_a_server_that_stays_on_the_line(monkeypatch) -> None:
    monkeypatch.setattr(connection, "_LINGER_S", 0.1)
    server = Server()
    with connect(server) as engine:
        whole = [event(text="Hello", token_ids=HELLO, finish_reason="stop")]
        server.answer = lambda body: ok(itertools.chain(whole, itertools.repeat(b": ping\n\n")), 0.01)
        start = time.monotonic()
        assert end_of(engine).finish_reason == "eos"
        assert time.monotonic() - start < 3


# -- keys


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["refusal", "in-band", "an end", "no event", "at connect"])
def test_a_key_that_a_server_sends_back_is_shown_nowhere(spelling: str, place: str, caplog) -> None:
    spelled = SPELLINGS[spelling](KEY)
    answers = {
        "refusal": lambda body: httpx2.Response(401, text=f"x{'y' * 470} bad key {spelled}", headers={"x-key": KEY}),
        "in-band": lambda body: ok([b"data: " + json.dumps({"error": {"message": spelled}}).encode() + b"\n\n"]),
        "an end": lambda body: ok([event(text="a", token_ids=[5], finish_reason=spelled)]),
        "no event": lambda body: ok([f"{spelled}: what\n\n".encode()]),
    }
    caplog.set_level(logging.DEBUG)
    server = Server()
    if place == "at connect":
        server.answer = answers["refusal"]
        with pytest.raises(RemoteError) as caught:
            connect(server, api_key=f"{KEY}\n")
        error: BaseException = caught.value
    else:
        with connect(server, api_key=f"{KEY}\n") as engine:
            server.answer = answers[place]
            error = end_of(engine).error
            assert KEY not in repr(vars(engine)) + repr(vars(engine._connection))
    assert isinstance(error, RemoteError)
    shown = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert spelled not in shown
    assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(error)
    assert error.__cause__ is None or KEY not in repr(error.__cause__)


def test_a_key_is_stripped_and_sent_and_the_address_may_hold_none() -> None:
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("authorization"))
        return httpx2.Response(401, text="bad key")

    with pytest.raises(RemoteError, match="bad key"):
        connect(answer, api_key=f" {KEY}\n")
    assert seen[0] == f"Bearer {KEY}"
    with pytest.raises(RemoteError, match="give a key as api_key") as caught:
        connect(answer, f"http://server/v1?api_key={KEY}")
    assert KEY not in str(caught.value)


# -- dialects


def test_a_missing_v1_is_found() -> None:
    for url in ("http://server", "http://server/", "http://server/v1/completions"):
        with connect(Server(), url) as engine:
            assert engine.capabilities.ids_out
            assert engine._url == "http://server/v1/completions"
    with connect(Server(completions="/api/completions"), "http://server/api") as engine:
        assert engine._url == "http://server/api/completions"


def test_a_chat_only_server_is_named_with_the_cure() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/chat/completions":
            return ok([event(delta={"content": "Hey"}, finish_reason="stop")])
        return httpx2.Response(404, json={"error": {"message": "not found"}})

    with pytest.raises(RemoteLacks, match="chat completions only.*LocalEngine"):
        connect(answer)


def test_a_wrong_path_keeps_the_servers_words() -> None:
    with pytest.raises(RemoteError, match="The model `m` does not exist"):
        connect(
            lambda request: httpx2.Response(404, json={"object": "error", "message": "The model `m` does not exist"})
        )


def test_an_answer_that_is_not_streamed_is_read_as_a_whole() -> None:
    server = Server(ids=False)
    with connect(server) as engine:
        whole = {
            "choices": [{"index": 0, "text": " Hello you", "finish_reason": "stop"}],
            "usage": {"completion_tokens": 2},
        }
        server.answer = lambda body: httpx2.Response(200, json=whole)
        result = stream("Hi", engine, temperature=0).result()
        assert (result.text, result.finish_reason) == (" Hello you", "eos")


def test_a_web_page_is_an_error_with_its_words() -> None:
    page = httpx2.Response(200, text="<html><title>Sign in</title></html>", headers={"content-type": "text/html"})
    with pytest.raises(RemoteError, match="Sign in"):
        connect(lambda request: page)


# -- what is in force


def test_all_sampling_is_sent_with_its_off_values_too() -> None:
    server = Server()
    with connect(server) as engine:
        end_of(engine)
        off = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
        off |= {"frequency_penalty": 0.0, "presence_penalty": 0.0}
        assert server.bodies[-1] == server.bodies[-1] | off
        end_of(engine, SamplingParams(top_k=0, min_p=0.1, repetition_penalty=1.2))
        assert server.bodies[-1] == server.bodies[-1] | {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.2}


def test_the_end_by_a_stop_id_is_a_stop_as_locally() -> None:
    for ids in (True, False):
        server = Server(ids=ids)
        with connect(server) as engine:
            stop_id = TOKENIZER.encode("a Hello")[-1]
            fields = {"token_ids": [*HELLO, stop_id]} if ids else {}
            server.answer = lambda body, fields=fields: ok([event(text="Hello", finish_reason="stop", **fields)])
            assert stream("Hi", engine, temperature=0, stop_ids=[stop_id]).result().finish_reason == "stop"
            fields = {"token_ids": [*HELLO, 2]} if ids else {}
            server.answer = lambda body, fields=fields: ok([event(text="Hello", finish_reason="stop", **fields)])
            assert stream("Hi", engine, temperature=0).result().finish_reason == "eos"


@pytest.mark.parametrize(
    ("facts", "context_len"),
    [
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 40}]}}, 40),
        ({"/v1/models": {"data": [{"id": "x", "max_model_len": 9}, {"id": "m", "max_model_len": 40}]}}, 40),
        ({"/v1/models": {"data": [{"id": "q", "owned_by": "llamacpp", "meta": {"n_ctx_train": 99, "n_ctx": 40}}]}}, 40),
        ({"/props": {"default_generation_settings": {"n_ctx": 40}}}, 40),
        ({"/info": {"max_total_tokens": 40}}, 40),
        ({"/v1/models": {"data": 5}, "/props": [], "/info": "x"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_context_is_as_long_as_the_server_says(facts: dict, context_len: int | None) -> None:
    server = Server(facts=facts)
    with connect(server) as engine:
        assert engine.context_len == context_len
        if context_len is None:
            return
        with pytest.raises(ContextLengthError):
            engine.submit([1] * context_len)
        engine.submit([1] * 30, SamplingParams(max_new_tokens=256))
        end_of(engine)
        assert server.bodies[-2]["max_tokens"] == 10


def test_a_prompt_beyond_the_servers_context_is_told_as_such() -> None:
    server = Server()
    with connect(server) as engine:
        words = "the request exceeds the available context size (512 tokens), try increasing it"
        error = {"error": {"code": 400, "message": words, "type": "exceed_context_size_error", "n_ctx": 512}}
        server.answer = lambda body: httpx2.Response(400, json=error)
        end = end_of(engine)
        assert isinstance(end.error, ContextLengthError)
        assert "512 tokens" in str(end.error)


# -- what the server reads


def test_a_server_that_counts_another_prompt_is_named() -> None:
    for ids in (True, False):
        server = Server(ids=ids)
        with connect(server) as engine:
            fields = {"token_ids": HELLO} if ids else {}

            def answer(body: dict, fields: dict = fields) -> httpx2.Response:
                return ok(
                    [event(text="Hello", finish_reason="stop", **fields), b'data: {"usage": {"prompt_tokens": 99}}\n\n']
                )

            server.answer = answer
            with pytest.warns(RereadWarning, match="counts 99 tokens in the prompt where this tokenizer reads"):
                stream("Hi", engine, temperature=0).result()


def test_a_server_that_tells_other_prompt_ids_is_named_with_the_first() -> None:
    server = Server()
    with connect(server) as engine:
        server.answer = lambda body: ok(
            [event(text="Hello", token_ids=HELLO, prompt_token_ids=[1, *body["prompt"]], finish_reason="stop")]
        )
        with pytest.warns(RereadWarning, match=r"reads '<s>' in it where .* was encoded here \(token 1\)"):
            stream("Hi", engine, temperature=0).result()


@pytest.mark.parametrize("shape", [lambda ids: {"tokens": ids}, lambda ids: [{"id": i, "text": "x"} for i in ids]])
def test_a_text_server_that_can_be_asked_is_asked_what_it_reads(shape: Callable[[list[int]], Any]) -> None:
    """The ids of a tokenizer without its configuration: the same text is another prompt to the server."""
    theirs: dict[str, Any] = {"ids": None}

    def reads(body: dict) -> Any:
        text = body["content"]
        return shape(theirs["ids"] or TOKENIZER.encode(text, add_special_tokens=True))

    server = Server(ids=False, facts={"/tokenize": reads})
    with connect(server) as engine:
        stream("Hi", engine, temperature=0).result()
        theirs["ids"] = [1, 403, 407]
        with pytest.warns(RereadWarning, match=r"reads .* in it where .* was encoded here \(token 1\)"):
            stream("Hi", engine, temperature=0).result()


def test_what_a_text_server_does_not_tell_is_not_shown() -> None:
    server = Server(ids=False)
    with connect(server) as engine:
        server.answer = lambda body: ok([event(text="Hello"), event(text=" you", finish_reason="stop")])
        prompt, screen, lines = ChatPromptMetaLlamaLlama2Chat(), io.StringIO(), iter(["Hi", "/quit"])
        console = Console(file=screen, width=80)
        params = SamplingParams(temperature=0)
        (result,) = chat_in_terminal(
            engine, prompt, params, show_tokens=True, console=console, ask=lambda _: next(lines)
        )
        assert "Hello you" in screen.getvalue()
        assert "tokens" not in screen.getvalue().split("\n", 1)[1]
        assert result.tokens_per_s is None
        assert "not known" in str(result)
