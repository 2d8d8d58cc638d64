"""Every shape of chunk that was met, with the file it was read in; and what is no chunk is a typed error with its words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.engines.dialects.asked import Asked
from chatlab.engines.dialects.completions import CompletionReader
from chatlab.engines.engine import Emitter, EndEvent, TextEvent, TokenEvent
from chatlab.errors import ContextLengthError, EngineError, RemoteCut, RemoteError
from chatlab.tokenizers.load import load_tokenizer

TOKENIZER = load_tokenizer(tokenizer_path("llama2-style/legacy"))
HELLO = TOKENIZER.encode("Hello you")


@dataclass
class Reply:
    """What a reader made of a stream."""

    text: str
    ids: list[int]
    scores: list[Any]
    reason: str
    error: EngineError | None
    reader: CompletionReader


def read(chunks: list[Any], *, ids_out: bool = False, asked: Asked | None = None) -> Reply:
    emitter = Emitter()
    reader = CompletionReader(emitter, ids_out=ids_out, asked=asked)
    error = None
    try:
        for chunk in chunks:
            reader.put(chunk if isinstance(chunk, str) else json.dumps(chunk))
        reader.flush()
    except EngineError as raised:
        error = raised
    emitter.end("error" if error else reader.finish_reason, error)
    events = []
    while not isinstance(event := emitter.get(1), EndEvent):
        events.append(event)
    return Reply(
        text="".join(e.text for e in events if isinstance(e, TextEvent)),
        ids=[e.token_id for e in events if isinstance(e, TokenEvent)],
        scores=[(e.logprob, e.top_logprobs) for e in events if isinstance(e, TokenEvent)],
        reason=event.finish_reason,
        error=error,
        reader=reader,
    )


def choice(**fields: Any) -> dict[str, Any]:
    return {"object": "text_completion", "choices": [{"index": 0, **fields}]}


# Each: where the shape was read, the stream, the text, the reason, and the prompt's length where the server tells it.
SHAPES: dict[str, tuple[str, list[Any], str, str, int | None]] = {
    "OpenAI completions": (
        "openai/openai-python src/openai/types/completion.py",
        [choice(text="He", logprobs=None, finish_reason=None), choice(text="y", finish_reason="length"), "[DONE]"],
        "Hey", "length", None,
    ),
    "OpenAI chat": (
        "openai/openai-python src/openai/types/chat/chat_completion_chunk.py",
        [
            choice(delta={"role": "assistant", "content": "", "refusal": None}, finish_reason=None),
            choice(delta={"content": "Hey"}, finish_reason=None),
            choice(delta={}, finish_reason="stop"),
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}},
        ],
        "Hey", "eos", 9,
    ),
    "OpenAI chat, not streamed": (
        "openai/openai-python src/openai/types/chat/chat_completion.py",
        [choice(message={"role": "assistant", "content": "Hey"}, finish_reason="stop")],
        "Hey", "eos", None,
    ),
    "a chat delta on completions": ("seen behind a proxy", [choice(delta={"content": "Hey"}, finish_reason="stop")], "Hey", "eos", None),
    "content in parts": (
        "mistralai/client-python, ContentChunk",
        [choice(delta={"content": [{"type": "text", "text": "He"}, {"type": "text", "text": "y"}]}, finish_reason="stop")],
        "Hey", "eos", None,
    ),
    "vLLM": (
        "vllm-project/vllm vllm/entrypoints/openai/completion/protocol.py @002032ee",
        [
            choice(text="Hey", logprobs=None, finish_reason=None, stop_reason=None, prompt_token_ids=None, token_ids=None),
            choice(text="", finish_reason="stop", stop_reason=None),
            {"choices": [], "usage": {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1}},
        ],
        "Hey", "eos", 3,
    ),
    "SGLang completions": (
        "sgl-project/sglang python/sglang/srt/entrypoints/openai/serving_completions.py @004c82e0",
        [
            choice(text="Hey", logprobs=None, finish_reason=None, matched_stop=None, token_ids=None),
            choice(text="", finish_reason="stop", matched_stop=2),
        ],
        "Hey", "eos", None,
    ),
    "SGLang /generate, all so far each time": (
        "sgl-project/sglang python/sglang/srt/managers/tokenizer_manager.py",
        [
            {"text": "He", "output_ids": [5], "meta_info": {"id": "a", "finish_reason": None, "prompt_tokens": 7, "completion_tokens": 1}},
            {"text": "Hey", "output_ids": [5, 6], "meta_info": {"finish_reason": {"type": "stop", "matched": 2}, "prompt_tokens": 7}},
        ],
        "Hey", "eos", 7,
    ),
    "llama.cpp /v1/completions": (
        "ggml-org/llama.cpp tools/server/server-task.cpp to_json_oaicompat @00efb3e1",
        [
            choice(text="Hey", logprobs=None, finish_reason=None),
            choice(text="", logprobs=None, finish_reason="stop") | {"usage": {"completion_tokens": 2, "prompt_tokens": 4}, "timings": {"cache_n": 3}},
        ],
        "Hey", "eos", 4,
    ),
    "llama.cpp /completion": (
        "ggml-org/llama.cpp tools/server/server-task.cpp to_json_non_oaicompat @00efb3e1",
        [
            {"index": 0, "content": "", "tokens": [0], "stop": False, "prompt_progress": {"total": 4, "cache": 0, "processed": 4}},
            {"index": 0, "content": "Hey", "tokens": [9], "stop": False, "id_slot": -1, "tokens_predicted": 1, "tokens_evaluated": 4},
            {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "stopping_word": "", "tokens_predicted": 2, "tokens_evaluated": 4, "timings": {"cache_n": 1}},
        ],
        "Hey", "eos", 4,
    ),
    "llama.cpp /completion, at a stop text": (
        "ggml-org/llama.cpp tools/server/server-task.cpp stop_type_to_str @00efb3e1",
        [{"content": "Hey", "stop": True, "stop_type": "word", "stopping_word": "###"}],
        "Hey", "stop", None,
    ),
    "koboldcpp completions": (
        "LostRuins/koboldcpp koboldcpp.py handle_sse_stream",
        [choice(finish_reason=None, text="He"), choice(finish_reason=None, text="y"), choice(finish_reason="length", text=""), "[DONE]"],
        "Hey", "length", None,
    ),
    "koboldcpp before 1.50: every piece is called the last": (
        "LostRuins/koboldcpp koboldcpp.py handle_sse_stream, 2023",
        [choice(finish_reason="length", text="He"), choice(finish_reason="length", text="y"), "[DONE]"],
        "Hey", "length", None,
    ),
    "koboldcpp's own stream": (
        "LostRuins/koboldcpp koboldcpp.py send_kai_sse_event",
        [{"token": "Hey", "finish_reason": None}, {"token": "", "finish_reason": "stop"}],
        "Hey", "eos", None,
    ),
    "koboldcpp's own, not streamed": (
        "LostRuins/koboldcpp koboldcpp.py generate",
        [{"results": [{"text": "Hey", "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 1}]}],
        "Hey", "length", 3,
    ),
    "TGI completions: an empty word until the end": (
        "huggingface/text-generation-inference router/src/server.rs, CompletionComplete",
        [choice(text="Hey", logprobs=None, finish_reason=""), choice(text="", finish_reason="stop_sequence")],
        "Hey", "stop", None,
    ),
    "TGI /generate_stream": (
        "huggingface/text-generation-inference docs/openapi.json StreamResponse @003eaec0",
        [
            {"index": 1, "token": {"id": 5, "text": "Hey", "logprob": -0.5, "special": False}, "generated_text": None, "details": None},
            {"index": 2, "token": {"id": 2, "text": "</s>", "logprob": 0, "special": True}, "generated_text": "Hey", "details": {"finish_reason": "eos_token", "generated_tokens": 2, "seed": None}},
        ],
        "Hey", "eos", None,
    ),
    "TGI /, not streamed": (
        "huggingface/text-generation-inference docs/openapi.json GenerateResponse @003eaec0",
        [[{"generated_text": "Hey", "details": {"finish_reason": "length", "generated_tokens": 1}}]],
        "Hey", "length", None,
    ),
    "transformers serve": (
        "transformers/cli/serving/completion.py 5.23",
        [choice(text="Hey", logprobs=None), choice(text="", finish_reason="stop") | {"usage": {"completion_tokens": 2, "prompt_tokens": 5, "total_tokens": 7}}],
        "Hey", "eos", 5,
    ),
    "FastChat completions": (
        "lm-sys/FastChat fastchat/serve/openai_api_server.py @014e122e",
        [choice(text="Hey", logprobs=None, finish_reason=None), choice(text="", logprobs=None, finish_reason="stop"), "[DONE]"],
        "Hey", "eos", None,
    ),
    "FastChat's worker, all so far each time": (
        "lm-sys/FastChat fastchat/serve/model_worker.py",
        [
            {"text": "He", "error_code": 0, "usage": {"prompt_tokens": 5, "completion_tokens": 1}, "finish_reason": None},
            {"text": "Hey", "error_code": 0, "usage": {"prompt_tokens": 5, "completion_tokens": 2}, "finish_reason": "stop"},
        ],
        "Hey", "eos", 5,
    ),
    "Ollama /api/generate": (
        "ollama/ollama docs/api.md",
        [{"model": "m", "response": "Hey", "done": False}, {"response": "", "done": True, "done_reason": "stop", "prompt_eval_count": 6, "eval_count": 2}],
        "Hey", "eos", 6,
    ),
    "a ping": ("OpenRouter", [{"type": "ping"}, choice(text="Hey", finish_reason="stop")], "Hey", "eos", None),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_that_was_met_is_read(shape: str) -> None:
    _, chunks, text, reason, prompt_len = SHAPES[shape]
    reply = read(chunks)
    assert (reply.text, reply.reason, reply.error) == (text, reason, None)
    assert reply.reader.prompt_len == prompt_len


@pytest.mark.parametrize("shape", [name for name, row in SHAPES.items() if len(row[1]) > 1 and name != "a ping"])
def test_a_stream_that_lacks_its_end_is_cut(shape: str) -> None:
    *most, last = SHAPES[shape][1]
    if last == "[DONE]" and "before 1.50" not in shape or isinstance(last, dict) and last.get("choices") == []:
        most = most[:-1]
    assert isinstance(read(most).error, RemoteCut)


def test_ids_and_scores_come_in_every_shape_that_has_them() -> None:
    text, ids = "Hello you", HELLO
    vllm = {
        "token_logprobs": [-0.5] * len(ids),
        "top_logprobs": [{f"token_id:{i}": -0.5, "token_id:3": -2.0} for i in ids],
    }
    sglang = {"token_logprobs": [-0.5] * len(ids), "top_logprobs": [{" Paris": -0.5} for _ in ids]}
    chat = {
        "content": [
            {"id": i, "token": "x", "logprob": -0.5, "top_logprobs": [{"id": 3, "token": "y", "logprob": -2.0}]}
            for i in ids
        ]
    }
    tops = {
        "vllm": tuple(((i, -0.5), (3, -2.0)) for i in ids),
        "sglang": (None,) * len(ids),
        "chat": (((3, -2.0),),) * len(ids),
    }
    for name, logprobs in (("vllm", vllm), ("sglang", sglang), ("chat", chat)):
        reply = read([choice(text=text, token_ids=ids, logprobs=logprobs, finish_reason="stop")], ids_out=True)
        assert (reply.ids, reply.error) == (ids, None), name
        assert reply.scores == [(-0.5, top) for top in tops[name]], name
    meta = {"finish_reason": {"type": "length"}, "output_token_logprobs": [[-0.5, i, None] for i in ids]}
    reply = read([{"text": text, "output_ids": ids, "meta_info": meta}], ids_out=True)
    assert (reply.ids, [own for own, _ in reply.scores]) == (ids, [-0.5] * len(ids))


@pytest.mark.parametrize("halves", [["a\ud83d", "\ude00b"], ["a", "\ud83d", "\ude00", "b"], ["a\ud83d", "", "\ude00b"]])
def test_half_a_character_waits_for_its_other_half(halves: list[str]) -> None:
    assert read([*(choice(text=t) for t in halves), choice(text="", finish_reason="stop")]).text == "a😀b"


@pytest.mark.parametrize("texts", [["\ud83d", "x"], ["\ude00"], ["x\ud83d"], ["\ud83d", "\ud83d\ude00"]])
def test_half_a_character_without_its_other_half_is_an_error(texts: list[str]) -> None:
    reply = read([*(choice(text=t) for t in texts), choice(text="", finish_reason="stop")])
    assert "half a character" in str(reply.error)
    assert not any("\ud800" <= c <= "\udfff" for c in reply.text)


@pytest.mark.parametrize(
    ("text", "ids", "agrees"),
    [
        ("Hello you", HELLO, True),
        ("Hello you", [*HELLO, 2], True),
        (" Hello you</s>", [*HELLO, 2], True),
        ("Hello you", [*TOKENIZER.encode("the prompt's tail"), *HELLO], False),
        ("Hello", HELLO, False),
        ("Hello you and more", HELLO, False),
        ("other", HELLO, False),
        ("\ufffd", TOKENIZER.encode("日"), True),
        ("日\ufffd", TOKENIZER.encode("日本"), True),
    ],
)
def test_text_and_ids_that_disagree_are_named(text: str, ids: list[int], agrees: bool) -> None:
    asked = Asked(prompt_ids=(1, *TOKENIZER.encode("A prompt")), tokenizer=TOKENIZER)
    reply = read([choice(text=text, token_ids=ids, finish_reason="stop")], ids_out=True, asked=asked)
    assert (reply.error is None) is agrees
    assert agrees or "two different replies" in str(reply.error)


@pytest.mark.parametrize(
    "fields",
    [
        {"token_ids": [1.5]},
        {"token_ids": [True]},
        {"token_ids": "12"},
        {"token_ids": [-1]},
        {"token_ids": {"1": 2}},
        {"text": 5},
        {"text": ["a"]},
        {"text": {"a": 1}},
        {"text": True},
        {"finish_reason": 5},
        {"finish_reason": {"type": "stop"}},
        {"logprobs": 5},
        {"logprobs": {"token_logprobs": ["a"]}},
        {"logprobs": {"token_logprobs": [float("nan")]}},
        {"logprobs": {"token_logprobs": [-1.0], "top_logprobs": [5]}},
        {"logprobs": {"content": [5]}},
        {"stop_reason": {"a": 1}},
        {"prompt_token_ids": [None]},
        {"delta": 5},
        {"message": []},
        {"index": 1, "text": "of another choice"},
    ],
)
def test_a_value_of_a_wrong_kind_is_a_typed_error(fields: dict) -> None:
    whole = fields if {"delta", "message"} & set(fields) else {"text": "x", "token_ids": [1], **fields}
    reply = read([choice(**whole)], ids_out=True)
    assert type(reply.error) is RemoteError
    assert any(word in str(reply.error) for word in ("token id", "text", "list", "log probability", "object", "choice"))
    assert ": " in str(reply.error)


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [5]}, {"choices": 5}, {"choices": {}}, {"choices": "x"}, {"usage": 5, "choices": []},
        {"usage": {"completion_tokens": "5"}}, {"choices": [{}]}, {"choices": [{"txet": "lost", "finish_reason": "stop"}]},
        {"choices": [{"text": "a", "index": 0}, {"text": "b", "index": 1}]}, {"choises": [{"text": "lost"}]},
        {"choices": [{"delta": {"contnet": "lost"}}]}, {}, [], [1, 2], None, 5, "text", "{broken", "[" * 100_000,
        {"meta_info": 5, "text": "x"}, {"token": 5}, {"token": {"text": "no id"}}, {"results": []}, {"done": False, "response": 5},
    ],
    ids=lambda chunk: str(chunk)[:30],
)  # fmt: skip
def test_what_is_no_chunk_is_a_typed_error(chunk: Any) -> None:
    reply = read([chunk, choice(text="", finish_reason="stop")])
    assert isinstance(reply.error, RemoteError)
    assert (reply.text, reply.ids) == ("", [])


@pytest.mark.parametrize(
    "chunk",
    [
        {"object": "error", "message": "CUDA out of memory"},
        {"error": "CUDA out of memory"},
        {"error": {"message": "CUDA out of memory", "type": "server_error", "code": 500}},
        {"error": {"error": "CUDA out of memory"}},
        {"errors": ["CUDA out of memory"]},
        {"error": "CUDA out of memory", "error_type": "generation"},
        {"text": "CUDA out of memory", "error_code": 50002},
        {"detail": "CUDA out of memory"},
        {"message": "CUDA out of memory", "code": 500},
        {"type": "error", "error": {"type": "overloaded", "message": "CUDA out of memory"}},
        {"choices": [], "error": {"message": "CUDA out of memory"}},
        {"text": "", "meta_info": {"finish_reason": {"type": "abort", "message": "CUDA out of memory"}}},
    ],
    ids=str,
)
def test_a_failure_told_in_band_keeps_the_servers_words(chunk: dict) -> None:
    reply = read([choice(text="so far"), chunk])
    assert type(reply.error) is RemoteError
    assert "CUDA out of memory" in str(reply.error)
    assert reply.text == "so far"


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 4000 output tokens",
        "The input (3000 tokens) is longer than the model's context length (2048 tokens).",
        "the request exceeds the available context size (512 tokens), try increasing it",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1532",
        "Requested token count exceeds the model's maximum context length of 2048 tokens.",
        "prompt is too long: 150000 tokens > 128000 maximum",
    ],
)
def test_a_prompt_that_is_too_long_is_told_as_such(words: str) -> None:
    error = read([{"error": {"message": words}}]).error
    assert isinstance(error, ContextLengthError)
    assert words[:40] in str(error)


@pytest.mark.parametrize("word", ["content_filter", "abort", "error", "cancelled", "something new"])
def test_an_end_that_is_none_is_an_error_with_the_servers_word(word: str) -> None:
    assert word in str(read([choice(text="x", finish_reason=word)]).error)


@pytest.mark.parametrize("word", ["", None, "null", False, " "])
def test_an_empty_word_is_no_end(word: Any) -> None:
    chunks = [choice(text="a", finish_reason=word), choice(text="b", finish_reason="stop")]
    assert (read(chunks).text, read(chunks).error) == ("ab", None)
    assert isinstance(read(chunks[:1]).error, RemoteCut)


@pytest.mark.parametrize(
    ("fields", "ids_out", "reason"),
    [
        ({"token_ids": [9, 835]}, True, "stop"),
        ({"token_ids": [9, 835], "stop_reason": 835}, True, "stop"),
        ({"token_ids": [9, 2], "stop_reason": 2}, True, "eos"),  # vLLM names the model's own end tokens, too
        ({"token_ids": [9, 2]}, True, "eos"),
        ({"stop_reason": "###"}, False, "stop"),
        ({"matched_stop": 2}, False, "eos"),
        ({"stop_reason": None}, False, "eos"),
        ({}, False, "stop"),
    ],
)
def test_a_stop_that_was_asked_for_is_told_from_an_end_token(fields: dict, ids_out: bool, reason: str) -> None:
    asked = Asked(stop_ids=frozenset([835]), stops=("###",))
    assert read([choice(text="x", finish_reason="stop", **fields)], ids_out=ids_out, asked=asked).reason == reason
    assert read([choice(text="x", finish_reason="stop", **fields)], ids_out=ids_out).reason == "eos"


def test_a_reply_that_goes_beyond_what_was_asked_for_is_cut() -> None:
    asked = Asked(max_new_tokens=5)
    for pieces, ids_out in (([1] * 9, True), (["x "] * 9, False), (["x" * 5000], False)):
        chunks = [choice(text="x ", token_ids=[p]) if ids_out else choice(text=p) for p in pieces]
        reply = read(chunks, ids_out=ids_out, asked=asked)
        assert "more than the 5 tokens" in str(reply.error)
        assert len(reply.ids) <= 5
        assert len(reply.text) <= 12
    end = choice(text="x", finish_reason="length") | {"usage": {"completion_tokens": 7}}
    assert "counts 7 tokens" in str(read([end], asked=asked).error)


def test_a_proxy_that_cuts_into_letters_is_believed_where_the_tokenizer_counts_no_more() -> None:
    chunks = [*(choice(text=letter) for letter in "Hello you"), choice(text="", finish_reason="length")]
    asked = Asked(max_new_tokens=len(HELLO), tokenizer=TOKENIZER)
    assert read(chunks, asked=asked).text == "Hello you"
    assert read(chunks, asked=Asked(max_new_tokens=2)).error is not None


@pytest.mark.parametrize(
    "chunks",
    [
        [choice(text="a", finish_reason="stop"), choice(text="b")],
        [choice(text="a"), choice(text="b", finish_reason="stop"), choice(text="b", finish_reason="stop")],
        [choice(text="a", finish_reason="stop"), choice(text="", finish_reason="length")],
        [{"text": "ab", "meta_info": {}}, {"text": "b", "meta_info": {}}],
        [{"text": "ab", "output_ids": [1], "meta_info": {}}, {"text": "ab", "output_ids": [2, 3], "meta_info": {}}],
    ],
)
def test_a_server_that_contradicts_itself_is_an_error(chunks: list[dict]) -> None:
    assert isinstance(read(chunks).error, RemoteError)


def test_what_was_held_may_come_with_the_end_without_ids_of_its_own() -> None:
    """The rest of a character belongs to ids that came before; in the middle such a piece is one that lost its ids."""
    ids = TOKENIZER.encode("👍")
    held = [
        *(choice(text="", token_ids=[i]) for i in ids[:2]),
        choice(text="\ufffd", token_ids=[], finish_reason="length"),
    ]
    asked = Asked(max_new_tokens=2, tokenizer=TOKENIZER)
    reply = read(held, ids_out=True, asked=asked)
    assert (reply.error, reply.ids, reply.reason) == (None, ids[:2], "length")
    for lost in ([choice(text="a", token_ids=[]), *held], [*held[:2], choice(text="lost", finish_reason="length")]):
        assert read(lost, ids_out=True, asked=asked).error is not None
