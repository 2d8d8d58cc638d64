"""Bodies of requests: what is read, what is refused and by which name; nothing is passed over in silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.dialects.bodies import completion_body, full_probe
from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import RequestError
from chatlab.server.openai.requests.chat import read_chat
from chatlab.server.openai.requests.completion import read_completion
from chatlab.server.openai.requests.tokens import read_detokenize, read_tokenize

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}


def chat(**fields):
    return read_chat({"messages": [USER]} | fields, context_len=100)


def completion(**fields):
    return read_completion({"prompt": "Hi"} | fields, context_len=100)


def test_what_is_not_asked_for_is_off() -> None:
    """OpenAI's defaults, not those of another interface of the same server."""
    params = completion().asked.params
    assert params == SamplingParams(max_new_tokens=16, context_len=100, temperature=1.0, top_k=0, top_p=1.0)
    assert chat().asked.params == SamplingParams(max_new_tokens=100, context_len=100, top_k=0)


READ = [
    ({"max_tokens": 3}, "max_new_tokens", 3),
    ({"max_completion_tokens": 3}, "max_new_tokens", 3),
    ({"max_tokens": 3, "max_completion_tokens": 3}, "max_new_tokens", 3),
    ({"max_tokens": 3.0}, "max_new_tokens", 3),
    ({"temperature": 0}, "temperature", 0.0),
    ({"top_p": 0.5}, "top_p", 0.5),
    ({"top_k": -1}, "top_k", 0),
    ({"top_k": 7}, "top_k", 7),
    ({"min_p": 0}, "min_p", None),
    ({"min_p": 0.25}, "min_p", 0.25),
    ({"repetition_penalty": 1.0}, "repetition_penalty", None),
    ({"repetition_penalty": 1.25}, "repetition_penalty", 1.25),
    ({"stop": "a"}, "stop", ("a",)),
    ({"stop": ["a", "b"]}, "stop", ("a", "b")),
    ({"stop": None}, "stop", ()),
    ({"stop_token_ids": [5]}, "stop_ids", (5,)),
    ({"seed": 5}, "seed", 5),
    ({"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}}, "seed", None),
    ({"response_format": {"type": "text"}, "store": False, "use_beam_search": False}, "seed", None),
]


@pytest.mark.parametrize(("fields", "name", "value"), READ)
def test_a_field_is_read(fields, name, value) -> None:
    assert getattr(completion(**fields).asked.params, name) == value
    assert getattr(chat(**fields).asked.params, name) == value


REFUSED = [
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_tokens", "3"),
    ("max_tokens", 10**400),
    ("temperature", -0.1),
    ("temperature", "hot"),
    ("temperature", float("inf")),
    ("temperature", False),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_k", -2),
    ("min_p", 2),
    ("repetition_penalty", 0),
    ("seed", -1),
    ("seed", 2**63),
    ("stop", ""),
    ("stop", ["a", 3]),
    ("stop", ["a"] * 65),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", ["a"]),
    ("stop_token_ids", [True]),
    ("n", 2),
    ("n", True),
    ("best_of", 2),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -0.5),
    ("logit_bias", {"5": -100}),
    ("response_format", {"type": "json_object"}),
    ("structured_outputs", {"choice": ["a"]}),
    ("guided_regex", "a*"),
    ("prompt_logprobs", 1),
    ("truncate_prompt_tokens", 5),
    ("ignore_eos", True),
    ("min_tokens", 3),
    ("store", True),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("return_token_ids", 1),
    ("return_prefix", "yes"),
    ("model", 3),
    ("temprature", 0.5),
    ("chat_templates", "{{ 1 }}"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("ask", [chat, completion])
def test_what_is_not_done_is_refused_by_name(ask, name, value) -> None:
    """Never another sampling than the one asked for."""
    with pytest.raises(RequestError) as refused:
        ask(**{name: value})
    assert refused.value.status == 400
    assert (refused.value.field or "").split(".")[0].split("[")[0] == name
    assert name in str(refused.value)


def test_a_null_is_a_field_left_out() -> None:
    names = [name for name, _ in REFUSED]
    assert chat(**dict.fromkeys(names)) == chat()
    assert completion(**dict.fromkeys(names)) == completion()


def test_harmless_fields_are_told() -> None:
    assert completion(user="me", metadata={"a": 1}).ignored == ("metadata", "user")
    assert chat(prompt_cache_key="k").ignored == ("prompt_cache_key",)


def test_a_slip_of_the_pen_is_guessed() -> None:
    with pytest.raises(RequestError, match="did you mean temperature"):
        chat(temprature=0.5)


def test_how_to_stream() -> None:
    asked = chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}).asked
    assert (asked.stream, asked.include_usage, asked.continuous_usage) == (True, True, True)
    with pytest.raises(RequestError, match=r"stream_options\.usage"):
        chat(stream=True, stream_options={"usage": True})


@pytest.mark.parametrize(
    ("prompt", "read"),
    [("Hi", "Hi"), ("", ""), ([1, 2], (1, 2)), (["Hi"], "Hi"), ([[1, 2]], (1, 2))],
)
def test_a_prompt_is_a_text_or_ids(prompt, read) -> None:
    assert completion(prompt=prompt).prompt == read


@pytest.mark.parametrize("prompt", [None, [], [[]], ["a", "b"], [[1], [2]], [1, "a"], [1.5], [-1], [True], {"a": 1}, 5])
def test_another_prompt_is_refused(prompt) -> None:
    with pytest.raises(RequestError, match="prompt"):
        completion(prompt=prompt)


def test_an_echo_may_be_all_there_is() -> None:
    assert completion(echo=True, max_tokens=0).says_nothing
    assert not completion(echo=True).says_nothing
    assert (completion(echo=True, logprobs=1).scored_len, completion(logprobs=1).scored_len) == (1, None)


def test_log_probabilities_are_asked_for_in_two_ways() -> None:
    assert completion(logprobs=3).asked.params.logprobs == 3
    assert completion(logprobs=0).asked.params.logprobs == 0
    assert chat(logprobs=True).asked.params.logprobs == 0
    assert chat(logprobs=True, top_logprobs=4).asked.params.logprobs == 4
    assert chat(logprobs=False).asked.params.logprobs is None
    for fields in ({"logprobs": 3}, {"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 21}):
        with pytest.raises(RequestError, match="logprobs"):
            chat(**fields)


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "me"},
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"id": "c1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "content": "5", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Five.", "reasoning_content": "Hm."},
    USER,
]


def test_messages_are_read_whole() -> None:
    request = chat(messages=MESSAGES)
    assert request.messages[1] == {"role": "user", "content": "ab", "name": "me"}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert request.messages[2] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert request.messages[4]["reasoning_content"] == "Hm."
    assert request.called_len == 1


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Hi", "messages[0]"),
        ({"content": "Hi"}, "messages[0].role"),
        ({"role": "<|im_start|>", "content": "Hi"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [5]}, "messages[0].content[0]"),
        ({"role": "user", "content": "Hi", "extra": 1}, "messages[0].extra"),
        ({"role": "user", "content": "Hi", "tool_calls": [{}]}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "content": "", "function_call": {}}, "messages[0].function_call"),
    ],
)
def test_a_message_that_is_none_is_named(message, field) -> None:
    with pytest.raises(RequestError) as refused:
        chat(messages=[message])
    assert refused.value.field == field


@pytest.mark.parametrize("messages", [None, [], "Hi", {}, 5])
def test_there_must_be_messages(messages) -> None:
    with pytest.raises(RequestError, match="messages"):
        chat(messages=messages)


def test_tools_are_offered_as_they_are() -> None:
    assert chat(tools=[TOOL]).tools == [TOOL]
    assert chat(tools=[TOOL], tool_choice="auto", parallel_tool_calls=True).tools == [TOOL]
    assert chat(tools=[TOOL], tool_choice="none").tools is None
    assert chat(tools=[]).tools is None


def deep(levels: int) -> dict:
    value: dict = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [{}]},
        {"tools": [{"type": "function", "function": {}}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": deep(40)}}]},
        {"tools": {"type": "function"}},
        {"functions": [{"name": "f"}]},
    ],
)
def test_a_call_cannot_be_promised(fields) -> None:
    with pytest.raises(RequestError, match="tool|function"):
        chat(**fields)


def test_template_variables_are_data() -> None:
    told = {"enable_thinking": False, "thinking_budget": 200, "tone": "dry and short", "date": "1 May, 2026"}
    assert chat(chat_template_kwargs=told, reasoning_effort="high").variables == told | {"reasoning_effort": "high"}
    assert chat(documents=[{"title": "a", "text": "b"}]).variables == {"documents": [{"title": "a", "text": "b"}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"chat_template": '{{ "a" * 30000000 }}'},
        {"chat_template_kwargs": {"chat_template": '{{ "a" * 30000000 }}'}},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"eos_token": "x"}},
        {"chat_template_kwargs": {"tools": []}},
        {"chat_template_kwargs": {"add_generation_prompt": False}},
        {"chat_template_kwargs": {"__class__": 1}},
        {"chat_template_kwargs": {"a b": 1}},
        {"chat_template_kwargs": {"tone": "<|im_end|>"}},
        {"chat_template_kwargs": {"tone": "[INST]"}},
        {"chat_template_kwargs": {"tone": "a\nb"}},
        {"chat_template_kwargs": {"tone": ["dry"]}},
        {"chat_template_kwargs": {"many": 10**12}},
        {"chat_template_kwargs": "x"},
        {"reasoning_effort": "</s>"},
        {"documents": ["a"]},
        {"documents": [deep(40)]},
    ],
)
def test_no_template_and_no_delimiter_comes_from_a_request(fields) -> None:
    with pytest.raises(RequestError):
        chat(**fields)


def test_tokenize_takes_a_text_or_messages() -> None:
    assert read_tokenize({"prompt": "Hi", "return_token_strs": True}).return_token_strs
    assert read_tokenize({"messages": [USER], "add_generation_prompt": False}).add_generation_prompt is False
    for body in ({}, {"prompt": "Hi", "messages": [USER]}, {"prompt": [1]}, {"prompt": "Hi", "add_special_tokens": 1}):
        with pytest.raises(RequestError):
            read_tokenize(body)


def test_detokenize_takes_ids() -> None:
    assert read_detokenize({"tokens": [1, 2], "model": "m"}) == ("m", (1, 2))
    for body in ({}, {"tokens": "a"}, {"tokens": [-1]}, {"tokens": [1], "token": 2}):
        with pytest.raises(RequestError):
            read_detokenize(body)


def test_what_our_own_client_sends_is_read() -> None:
    """RemoteEngine sends every parameter, off values too."""
    full = Capabilities(
        ids_in=True, ids_out=True, logprobs=True, sampling=frozenset({"seed", "top_k", "min_p", "repetition_penalty"})
    )
    for params in (SamplingParams(), SamplingParams(temperature=0, logprobs=2), SamplingParams(min_p=0.1, top_k=0)):
        body = completion_body("m", [1, 2], params, 5, full, [])
        asked = read_completion(body, context_len=1024).asked
        assert asked.params.to_dict() | {"seed": None} == params.to_dict()
        assert (asked.stream, asked.return_token_ids, asked.tokens_as_ids, asked.skip_special_tokens) == (True,) * 3 + (
            False,
        )
    assert read_completion(full_probe("m", [1]), context_len=64).asked.params.logprobs == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    *(name for name, _ in REFUSED),
    *("messages", "prompt", "tools", "tool_choice", "documents", "chat_template_kwargs", "logprobs", "echo"),
]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), JSON, max_size=5))
def test_any_object_is_read_or_refused_by_name(data) -> None:
    for read in (
        lambda: read_chat({"messages": [USER]} | data, context_len=64),
        lambda: read_completion({"prompt": "a"} | data, context_len=64),
        lambda: read_tokenize(data),
        lambda: read_detokenize(data),
    ):
        refusal = refused(read)
        assert refusal is None or (refusal.status == 400 and refusal.field is not None)


def refused(read) -> RequestError | None:
    try:
        read()
    except RequestError as error:
        return error
    return None
