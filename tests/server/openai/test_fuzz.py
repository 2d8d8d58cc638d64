"""Any body at all: an answer or a refusal that names what is wrong, never a 5xx, and nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.openai.conftest import ScriptedServers

CASES = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 300

PATHS = ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize")
WORDS = st.sampled_from(
    ["Hi", "", "日本", "<|im_end|>", "👍", "\x00", "\ud800", "a" * 500, "{{ 7 * 7 }}", "\u202e", "../x"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["weather", "f", "", "<|im_start|>"])
CALL = st.fixed_dictionaries(
    {
        "function": st.fixed_dictionaries(
            {"name": NAMES, "arguments": st.sampled_from(["{}", '{"a": [1]}', "{", "5", ""]) | ANY}
        )
    },
    optional={"id": WORDS, "type": st.just("function") | ANY},
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "user", "user", "assistant", "system", "tool", "<|im_start|>"])},
    optional={
        "content": WORDS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}), max_size=2) | ANY,
        "tool_calls": st.lists(CALL, max_size=2) | ANY,
        "name": WORDS,
        "reasoning_content": WORDS | ANY,
        "extra": ANY,
    },
)
FUNCTION = st.fixed_dictionaries(
    {"name": NAMES}, optional={"parameters": st.dictionaries(WORDS, ANY) | ANY, "description": WORDS}
)
FIELDS = {
    "messages": st.lists(MESSAGE, max_size=3)
    | st.lists(MESSAGE, max_size=2).map(lambda m: [*m, {"role": "user", "content": "Hi"}]),
    "prompt": WORDS | st.lists(st.integers(-1, 700), max_size=5) | st.lists(WORDS, max_size=2),
    "tokens": st.lists(st.integers(-1, 700), max_size=5),
    "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION}), max_size=2),
    "tool_choice": st.sampled_from(["auto", "none", "required"]),
    "chat_template_kwargs": st.dictionaries(
        st.sampled_from(["enable_thinking", "tools", "x", "eos_token"]), ANY, max_size=2
    ),
    "documents": st.lists(st.dictionaries(WORDS, ANY, max_size=2), max_size=2),
    "model": st.sampled_from(["tiny", "other"]),
    "max_tokens": st.integers(-1, 8),
    "temperature": st.floats(-1, 3),
    "top_k": st.integers(-2, 9),
    "stop": WORDS | st.lists(WORDS, max_size=3),
    "stop_token_ids": st.lists(st.integers(-1, 700), max_size=3),
    "seed": st.integers(-1, 2**64),
    "logprobs": st.booleans() | st.integers(-1, 21),
    "top_logprobs": st.integers(-1, 21),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}),
    "echo": st.booleans(),
    "add_special_tokens": st.booleans(),
    "skip_special_tokens": st.booleans(),
    "return_token_ids": st.booleans(),
    "return_token_strs": st.booleans(),
    "include_stop_str_in_output": st.booleans(),
    "add_generation_prompt": st.booleans(),
    "n": st.integers(0, 2),
    "user": WORDS,
}
LIKELY = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/tokenize": "prompt",
    "/detokenize": "tokens",
}


@st.composite
def bodies(draw) -> tuple[str, bytes]:
    """A path, and a body that is nearly right; sometimes its bytes are damaged."""
    path = draw(st.sampled_from(PATHS))
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True))
    data = {name: draw(FIELDS[name]) for name in sorted({LIKELY[path], *names})}
    if names and draw(st.integers(0, 3)) == 0:
        data[names[0]] = draw(ANY)
    body = json.dumps(data).encode()
    kind = draw(st.integers(0, 9))
    if kind == 8:
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 5))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at + length :]
    elif kind == 9:
        body = draw(
            st.binary(max_size=60) | st.sampled_from([b"", b"[]", b"null", b"5", b"[" * 5000, b'{"a":' * 3000, b"\xff"])
        )
    return path, body


@pytest.fixture(scope="module")
def live():
    with ScriptedServers() as servers:
        yield servers("<think>\nHm 👍\n</think>\n\nHi\n<tool_call>\n{\n</tool_call>", running=1, waiting=0)


def ask(live, path: str, body: bytes) -> tuple[int, bytes]:
    host, port = live.url.removeprefix("http://").split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        line.request("POST", path, body, {"Content-Type": "application/json"})
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def test_no_body_breaks_the_server(live) -> None:
    statuses: dict[int, int] = {}
    known = ("/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode())
    before = json.loads(ask(live, *known)[1])

    @settings(max_examples=CASES)
    @given(bodies())
    def law(sent) -> None:
        status, said = ask(live, *sent)
        statuses[status] = statuses.get(status, 0) + 1
        assert status in (200, 400, 404), said
        if status != 200:
            error = json.loads(said)["error"]
            assert error["message"]
            assert error["type"] in ("invalid_request_error", "not_found_error")
        elif said.startswith(b"data: "):
            assert said.endswith(b"data: [DONE]\n\n")
            assert b'"error"' not in said
        else:
            json.loads(said)
        live.idle()

    law()
    after = json.loads(ask(live, *known)[1])
    assert [after["choices"], after["usage"]] == [before["choices"], before["usage"]]
    assert statuses[200] > CASES // 20
    assert statuses[400] > CASES // 20
