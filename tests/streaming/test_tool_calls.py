"""A tool call is read as its family writes it, kept as it was written, and told of where it cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channel_formats.registry import FORMATS
from chatlab.streaming.channel_formats.tool_calls import WAYS, read_calls
from chatlab.streaming.channels import Passage, split_channels

CASES = [
    ("json", '{"name": "f", "arguments": {"n":1.0,  "s":"é"}}', [("f", '{"n":1.0,  "s":"é"}', None)]),
    ("json", '{"name": "f", "parameters": {}}', [("f", "{}", None)]),
    ("json", '{"name": "f", "arguments": "{\\"a\\": 1}"}', [("f", '{"a": 1}', None)]),
    ("json", '{"id": "x1", "type": "function", "function": {"name": "f", "arguments": {}}}', [("f", "{}", "x1")]),
    ("json", '[{"name": "f"}, {"name": "g"}]', [("f", "{}", None), ("g", "{}", None)]),
    ("json", '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}', [("f", "{}", None), ("g", "{}", None)]),
    ("json", '[{"tool_call_id": "0", "tool_name": "f", "parameters": {"a": []}}]', [("f", '{"a": []}', "0")]),
    ("mistral", '[{"name": "f", "arguments": {}, "id": "abc"}]', [("f", "{}", "abc")]),
    ("mistral", 'f[CALL_ID]abc[ARGS]{"a": "}"}', [("f", '{"a": "}"}', "abc")]),
    ("deepseek", "function<｜tool▁sep｜>f\n```json\n{}\n```", [("f", "{}", None)]),
    ("deepseek", 'f<｜tool▁sep｜>{"a": 1}', [("f", '{"a": 1}', None)]),
    ("kimi", "functions.a.f:3<|tool_call_argument_begin|>{}", [("a.f", "{}", "functions.a.f:3")]),
    ("harmony", "functions.f <|constrain|>json<|message|>{}", [("f", "{}", None)]),
    ("pythonic", "[f(a=1, b=['x', None]), m.g()]", [("f", '{"a": 1, "b": ["x", null]}', None), ("m.g", "{}", None)]),
    ("pythonic", 'f(a={"k": true})', [("f", '{"a": {"k": true}}', None)]),
    ("pythonic", r"f(a='\d')", [("f", '{"a": "\\\\d"}', None)]),
    ("gemma4", 'call:f{a:<|"|>{b:1}<|"|>,c:[{d:null}]}', [("f", '{"a":"{b:1}","c":[{"d":null}]}', None)]),
    ("glm_xml", "f\n", [("f", "{}", None)]),
    ("qwen_xml", "<function=f>\n<parameter=a>\n</function>\n</parameter>\n</function>", [("f", '{"a": "</function>"}', None)]),
]  # fmt: skip
BROKEN = [
    ("json", '{"name": "f", "arguments": {"a": 1}'),
    ("json", '{"arguments": {}}'),
    ("json", '{"name": 3, "arguments": {}}'),
    ("json", '{"name": "f", "arguments": [1]}'),
    ("json", '{"name": "f", "arguments": {"a": NaN}}'),
    ("json", "[]"),
    ("json", "[" * 100_000),
    ("pythonic", "f(__import__('os').getcwd())"),
    ("pythonic", "f(a=open('x'))"),
    ("pythonic", "(" * 100_000),
    ("deepseek", "f {}"),
    ("kimi", "{}"),
    ("mistral", "f"),
    ("harmony", "functions.f"),
    ("gemma4", "f{}"),
    ("glm_xml", "f<arg_key>a</arg_key>"),
    ("qwen_xml", "<function=f>"),
]


@pytest.mark.parametrize(("how", "text", "calls"), CASES)
def test_calls_are_read_as_they_were_written(how: str, text: str, calls: list[tuple[str, str, str | None]]) -> None:
    found, error = read_calls(text, how)
    assert error is None
    assert [(call.name, call.arguments, call.call_id) for call in found] == calls


@pytest.mark.parametrize(("how", "text"), BROKEN, ids=[f"{how} {text[:20]}" for how, text in BROKEN])
def test_what_is_no_call_is_told_of(how: str, text: str) -> None:
    found, error = read_calls(text, how)
    assert not found
    assert error
    assert error.startswith(f"this is no call as {how} writes it")


@given(st.sampled_from(sorted(WAYS)), st.text("{}[]()<>=:,\"'\\ fa1\n") | st.text())
def test_no_text_of_a_model_raises(how: str, text: str) -> None:
    for call in read_calls(text, how)[0]:
        assert isinstance(json.loads(call.arguments), dict)


@pytest.mark.parametrize(
    ("schema", "read"),
    [
        ({"type": "string"}, ["8001", "true", "null", "x"]),
        ({"type": ["string", "null"]}, ["8001", "true", None, "x"]),
        ({"type": "string", "nullable": True}, ["8001", "true", None, "x"]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["8001", "true", None, "x"]),
        ({"enum": ["8001", "x"]}, ["8001", "true", "null", "x"]),
        ({"const": "x"}, ["8001", "true", "null", "x"]),
        ({"type": ["string", "integer"]}, [8001, True, None, "x"]),
        ({"enum": ["x", 1]}, [8001, True, None, "x"]),
        ({"type": "integer"}, [8001, True, None, "x"]),
        ({}, [8001, True, None, "x"]),
        (True, [8001, True, None, "x"]),
        ({"type": 3, "anyOf": [7], "enum": []}, [8001, True, None, "x"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["qwen_xml", "glm_xml"])
def test_a_schema_tells_which_arguments_are_texts_however_it_says_so(how: str, schema: Any, read: list[Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema}}}}]
    found = []
    for value in ("8001", "true", "null", "x"):
        call = {
            "qwen_xml": f"<function=f>\n<parameter=a>\n{value}\n</parameter>\n</function>",
            "glm_xml": f"f\n<arg_key>a</arg_key>\n<arg_value>{value}</arg_value>",
        }[how]
        said = message_of([Passage("tool_call", call)], how, tools)
        found.append(json.loads(said["tool_calls"][0]["function"]["arguments"])["a"])
    assert found == read


@pytest.mark.parametrize(
    "tools",
    [[{}], [{"function": None}], [{"name": "f", "parameters": 3}], [{"name": "f", "parameters": {"properties": [1]}}]],
)
def test_what_is_no_schema_tells_nothing(tools: list[Any]) -> None:
    assert message_of([Passage("content", "Hi")], "qwen_xml", tools) == {"role": "assistant", "content": "Hi"}


def test_every_format_reads_its_calls() -> None:
    assert {channels.calls for channels in FORMATS.values()} <= WAYS


def message(text: str, name: str = "qwen3") -> dict[str, object]:
    return message_of(split_channels(text, FORMATS[name]), FORMATS[name].calls)


def test_the_message_holds_all_channels() -> None:
    call = '{"name": "f", "arguments": {"a":1}}'
    assert message(f"<think>\nHm\n</think>\n\nA\n<tool_call>\n{call}\n</tool_call>") == {
        "role": "assistant",
        "content": "A",
        "reasoning_content": "Hm",
        "tool_calls": [
            {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, "raw": call}
        ],
    }


def test_a_call_that_cannot_be_read_stays_text_between_those_that_can() -> None:
    good, bad = '{"name": "f", "arguments": {}}', '{"name": "f", '
    found = message(f"<tool_call>\n{good}\n</tool_call>\n<tool_call>\n{bad}\n</tool_call>", "hermes")
    assert [call["raw"] for call in found["tool_calls"]] == [good]  # type: ignore[attr-defined]
    assert bad in str(found["content"])
    ((told),) = found["unparsed_calls"]  # type: ignore[misc]
    assert told["raw"].startswith(bad)
    assert "this is no call as json writes it" in told["error"]


def test_a_plain_reply_is_content_alone() -> None:
    assert message("Hi") == {"role": "assistant", "content": "Hi"}
