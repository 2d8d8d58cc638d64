"""The pieces of an answer add up to the reply: text, ids, scores, messages, whatever the model wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.server.openai.answers import ChatChoices, CompletionChoices, whole_chat, whole_completion
from chatlab.server.openai.envelope import Envelope, event, finish_word, json_bytes, usage
from chatlab.server.openai.requests.asked import Asked
from chatlab.server.openai.requests.completion import read_completion
from chatlab.server.openai.scores import chat_scores, completion_scores
from chatlab.server.openai.token_names import TokenNames
from chatlab.server.openai.tool_calls import ChatDeltas
from chatlab.streaming.channel_formats.registry import FORMATS
from chatlab.streaming.result import Delta
from chatlab.streaming.stream import TextStream, stream
from chatlab.testing import ScriptedEngine, tiny_tokenizer

FAMILIES = ("byte-level", "byte-fallback")
TEXTS = ("Hello there", "👍🏽 日本", " a\n b", "naïve", "\x00", "e\u0301", "")


@cache
def tokenizer_of(family: str):
    return tiny_tokenizer(family)


@cache
def names_of(family: str) -> TokenNames:
    return TokenNames(tokenizer_of(family))


def asked(**fields: Any) -> Asked:
    return read_completion(
        {"prompt": "a", "max_tokens": 500, "return_token_ids": True} | fields, context_len=5000
    ).asked


def deltas_of(
    family: str, reply_ids: Sequence[int], wanted: Asked, prompt: str = "Hello"
) -> tuple[list[Delta], TextStream]:
    tokenizer = tokenizer_of(family)
    reply = stream(prompt, ScriptedEngine([list(reply_ids)], tokenizer), wanted.params, **wanted.options)
    return list(reply), reply


def ids_in(family: str):
    """Ids of any kind: a model that is lost says bytes that are no characters."""
    tokenizer = tokenizer_of(family)
    spelled = st.sampled_from(TEXTS).map(tokenizer.encode)
    return st.lists(spelled | st.lists(st.integers(0, tokenizer.vocab_len - 1), max_size=3), max_size=8).map(
        lambda parts: (family, [token_id for part in parts for token_id in part])
    )


REPLIES = st.sampled_from(FAMILIES).flatmap(ids_in)
"""A family, and what a model of it says."""


@given(REPLIES, st.sampled_from([(), ("a",), ("lo t",), ("👍",)]), st.booleans(), st.booleans())
def test_the_pieces_of_a_completion_are_the_reply(said, stop, include_stop, skip) -> None:
    family, reply_ids = said
    wanted = asked(stop=list(stop), include_stop_str_in_output=include_stop, skip_special_tokens=skip, logprobs=2)
    deltas, reply = deltas_of(family, reply_ids, wanted)
    choices = CompletionChoices(wanted, names_of(family), echo="Hello")
    pieces = [*choices.begin(), *(choice for delta in deltas for choice in choices.put(delta))]
    assert "".join(piece["text"] for piece in pieces) == "Hello" + reply.text
    assert [i for piece in pieces for i in piece["token_ids"]] == list(reply.token_ids)
    assert [piece["finish_reason"] for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1]["finish_reason"] == finish_word(reply.result().finish_reason)
    whole = whole_completion(pieces)
    assert whole["text"] == "Hello" + reply.text
    assert whole["token_ids"] == list(reply.token_ids)
    if reply.token_ids:
        assert {len(told) for told in whole["logprobs"].values()} == {len(reply.token_ids)}
    for piece in pieces:
        json.loads(event(piece)[6:])


@given(REPLIES)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(said) -> None:
    """Also of emoji, of bytes that are no character, and of a reply that ends inside one."""
    family, reply_ids = said
    joined = b"".join(map(names_of(family).bytes_of, reply_ids))
    _, reply = deltas_of(family, reply_ids, asked(skip_special_tokens=False))
    # A lone byte is a byte in the scores and U+FFFD in the text.
    shown = joined.decode("utf-8", "replace")
    assert shown.replace("\ufffd", "") == reply.text.replace("\ufffd", "")
    if "\ufffd" not in shown:
        assert joined == reply.text.encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_have_names_of_their_own(family) -> None:
    tokenizer = tokenizer_of(family)
    names = TokenNames(tokenizer)
    scored = [(token_id, -float(token_id)) for token_id in range(tokenizer.vocab_len)]
    table = names.table(scored)
    assert sorted(table.values()) == sorted(score for _, score in scored)
    assert names.table(scored, as_ids=True) == {f"token_id:{i}": score for i, score in scored}
    assert names.name(2) == "</s>"
    assert names.bytes_of(10**6) == b""


def test_a_part_of_a_character_is_named_by_its_bytes() -> None:
    names = TokenNames(tokenizer_of("byte-fallback"))
    found = [names.name(i) for i in tokenizer_of("byte-fallback").encode("👨")[1:]]
    assert found == [f"bytes:\\x{byte:02x}" for byte in "👨".encode()]


def delta(text: str, **fields: Any) -> Delta:
    return Delta(**{"text": text, "raw": text, "text_start": 0, "text_end": len(text), "timing": 0.0} | fields)


def test_what_json_cannot_say_is_said_otherwise() -> None:
    names = TokenNames(tokenizer_of("byte-level"))
    one = delta("a", token_ids=(70,), logprobs=(-math.inf,), top_logprobs=(((70, -math.inf), (71, 1e-9)),))
    told = chat_scores(one, names, as_ids=True)
    assert told is not None
    assert [told["content"][0]["logprob"], told["content"][0]["top_logprobs"][1]["logprob"]] == [-9999.0, 0.0]
    json_bytes(told)
    assert json.loads(json_bytes({"a": "\ud800"})) == {"a": "\ud800"}


def test_the_token_that_was_said_is_in_its_table() -> None:
    names = TokenNames(tokenizer_of("byte-level"))
    one = delta("a", token_ids=(70,), logprobs=(-3.0,), top_logprobs=(((71, -1.0), (72, -2.0)),))
    told = completion_scores(one, names, offset=5, as_ids=True)
    assert told == {
        "tokens": ["token_id:70"],
        "token_logprobs": [-3.0],
        "top_logprobs": [{"token_id:71": -1.0, "token_id:72": -2.0, "token_id:70": -3.0}],
        "text_offset": [5],
    }


def test_offsets_point_into_the_text() -> None:
    """Echo included; a token is where its text begins."""
    tokenizer = tokenizer_of("byte-level")
    reply_ids = tokenizer.encode("the dog 👍 the")
    wanted = asked(logprobs=0)
    deltas, reply = deltas_of("byte-level", reply_ids, wanted, prompt="Hello there")
    choices = CompletionChoices(wanted, TokenNames(tokenizer), echo="Hello there")
    whole = whole_completion([*choices.begin(), *(c for d in deltas for c in choices.put(d))])
    assert whole["text"] == "Hello there" + reply.text
    for name, offset in zip(whole["logprobs"]["tokens"], whole["logprobs"]["text_offset"], strict=True):
        assert name.startswith("bytes:") or whole["text"][offset:].startswith(name)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"properties": {"zip": {"type": "string"}, "n": {"type": "integer"}}},
        },
    }
]
CALLS = {
    "json": '{"name": "weather", "arguments": {"zip": "8001", "n": 2}}',
    "qwen_xml": "<function=weather>\n<parameter=zip>\n8001\n</parameter>\n</function>",
    "glm_xml": "weather\n<arg_key>zip</arg_key>\n<arg_value>8001</arg_value>",
    "pythonic": '[weather(zip="8001", n=2)]',
    "gemma4": 'call:weather{zip:<|"|>8001<|"|>}',
    "mistral": 'weather{"zip": "8001"}',
    "kimi": 'functions.weather:0<|tool_call_argument_begin|>{"zip": "8001"}',
    "deepseek": 'function<｜tool▁sep｜>weather\n```json\n{"zip": "8001"}\n```',
}


def replies_in(name: str):
    """Texts of a family: its delimiters, calls, broken calls, and words, in any order."""
    channels = FORMATS[name]
    call = CALLS.get(channels.calls, CALLS["json"])
    words = st.sampled_from(["Hi", " ", "\n", "<", "Hm.", "{", "</think>", "日本"])
    return st.lists(st.sampled_from([*channels.delimiters, call, call[:9]]) | words, max_size=10).map("".join)


def streamed(text: str, name: str, tools: Any) -> tuple[list[dict[str, Any]], list[str | None], TextStream]:
    with ScriptedEngine(text) as engine:
        reply = stream("Q", engine, channels=name, max_new_tokens=5000, context_len=50_000)
        wanted = Asked(model=None, params=reply.request.params, max_tokens=None)
        made = ChatDeltas(tools, FORMATS[name].calls, called_len=3)
        choices = ChatChoices(wanted, TokenNames(engine.tokenizer), made)
        pieces = [*choices.begin(), *(choice for delta in reply for choice in choices.put(delta))]
    return pieces, [piece["finish_reason"] for piece in pieces], reply


def as_told(message: dict[str, Any], first: int) -> dict[str, Any]:
    """The message of a reply as the face tells it: without what only our own has, ids counted on."""
    told = {key: message[key] for key in ("role", "content", "reasoning_content") if key in message}
    for number, call in enumerate(message.get("tool_calls", ())):
        own_id = f"call{first + number:05d}" if call["id"] == f"call{number:05d}" else call["id"]
        told.setdefault("tool_calls", []).append({"id": own_id, "type": "function", "function": call["function"]})
    return told


@given(st.sampled_from(sorted(FORMATS)).flatmap(lambda name: st.tuples(st.just(name), replies_in(name))))
def test_the_deltas_of_a_chat_are_its_message(said) -> None:
    """Reasoning, content, calls, and calls that cannot be read, in every family's own way."""
    name, text = said
    pieces, reasons, reply = streamed(text, name, TOOLS)
    message = as_told(reply.message(TOOLS), 3)
    assert whole_chat(pieces)["message"] == message
    assert reasons[:-1] == [None] * (len(reasons) - 1)
    assert reasons[-1] == ("tool_calls" if "tool_calls" in message else "stop")
    told = [call for piece in pieces for call in piece["delta"].get("tool_calls", ())]
    assert [call["index"] for call in told] == list(range(len(told)))


@given(
    st.sampled_from(["hermes", "harmony", "mistral", "qwen3"]).flatmap(lambda n: st.tuples(st.just(n), replies_in(n)))
)
def test_where_no_tools_are_offered_nothing_is_a_call(said) -> None:
    pieces, reasons, reply = streamed(said[1], said[0], None)
    message = whole_chat(pieces)["message"]
    kept = [p for p in reply.passages if p.channel == "tool_call" or (p.channel == "content" and not p.delimiter)]
    assert message["content"] == "".join(p.text for p in kept)
    assert "tool_calls" not in message
    assert reasons[-1] == "stop"


def test_the_pieces_of_a_chat_tell_every_id_and_score_once() -> None:
    text = "<think>\nHm.\n</think>\n\n<tool_call>\n" + CALLS["json"] + "\n</tool_call>"
    with ScriptedEngine(text) as engine:
        wanted = asked(logprobs=1)
        reply = stream("Q", engine, wanted.params, channels="qwen3")
        choices = ChatChoices(wanted, TokenNames(engine.tokenizer), ChatDeltas(TOOLS, "json"))
        pieces = [*choices.begin(), *(choice for delta in reply for choice in choices.put(delta))]
    whole = whole_chat(pieces)
    assert whole["token_ids"] == list(reply.token_ids)
    assert "".join(told["token"] for told in whole["logprobs"]["content"]) == text
    assert whole["message"]["reasoning_content"] == "Hm."
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"zip": "8001", "n": 2}'}


def test_a_word_for_every_end() -> None:
    assert [finish_word(reason) for reason in ("eos", "stop", "length", None)] == ["stop", "stop", "length", None]
    assert [finish_word(reason) for reason in ("cancelled", "error")] == [None, None]
    assert finish_word("length", called=True) == "length"


def test_what_stands_around_an_answer() -> None:
    envelope = Envelope(model="m", kind="chat.completion", answer_id="1", created=5)
    head = {"created": 5, "model": "m", "id": "chatcmpl-1"}
    assert envelope.chunk({"index": 0}, usage=None) == head | {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0}],
        "usage": None,
    }
    assert envelope.chunk(None)["choices"] == []
    whole = Envelope(model="m", kind="text_completion", answer_id="1", created=5).whole({"index": 0})
    assert (whole["object"], whole["id"]) == ("text_completion", "cmpl-1")
    assert usage(3, 4)["total_tokens"] == 7
    assert usage(3, 4, 2)["prompt_tokens_details"] == {"cached_tokens": 2}
    assert event({"a": "é\n"}) == 'data: {"a":"é\\n"}\n\n'.encode()
