"""``ChatTemplatePrompt`` is ``apply_chat_template``: the same text, or both refuse, over the published templates."""

from __future__ import annotations

import dataclasses
import json
from itertools import product

import numpy
import pytest

from chatlab.errors import ChatlabError, MessageTypeError, PromptError
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from tests.support.templates import fast_tokenizer

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": " Weather in Oslo? "}
SAID = {"role": "assistant", "content": "Rain.\n"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather <b>&</b> é.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "where", "enum": ["Oslo", "Rome"]}},
                "required": ["place"],
            },
        },
    }
]


def call(arguments, id="abcdefghi", content="", **fields):
    function = {"name": "weather", "arguments": arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": id, "type": "function", "function": function}],
        **fields,
    }


RESULT = {"role": "tool", "content": '{"rain": 3}', "tool_call_id": "abcdefghi", "name": "weather"}
ARGUMENTS = {"place": "Oslo", "deep": {"a": [1.0, None, False]}, "é": "<&>"}
LISTS = {
    "one question": [USER],
    "answered": [USER, SAID],
    "two turns": [SYSTEM, USER, SAID, USER],
    "developer first": [{"role": "developer", "content": "Be brief."}, USER],
    "developer later": [USER, SAID, {"role": "developer", "content": "Be long."}, USER],
    "system later": [SYSTEM, USER, SAID, SYSTEM, USER],
    "empty system": [{"role": "system", "content": ""}, USER],
    "system in parts": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, USER],
    "system named": [{**SYSTEM, "name": "boss"}, USER],
    "two users": [USER, USER],
    "text parts": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, SAID],
    "image part": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}],
    "image url": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x.png"}}, "what?"]}],
    "answer in parts": [USER, {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]}, USER],
    "none content": [USER, {"role": "assistant", "content": None}, USER],
    "no content": [USER, {"role": "assistant"}, USER],
    "empty content": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, USER],
    "number content": [{"role": "user", "content": 3}],
    "call as object": [USER, call(ARGUMENTS), RESULT],
    "call as text": [USER, call(json.dumps(ARGUMENTS)), RESULT, SAID, USER],
    "call without content": [USER, call({"place": "Oslo"}, content=None), RESULT],
    "call with thoughts": [USER, call({}, reasoning_content="Look."), RESULT, {**SAID, "reasoning_content": "Said."}],
    "two calls": [USER, {**call({}), "tool_calls": call({})["tool_calls"] * 2}, RESULT, RESULT],
    "short id": [USER, call({}, id="1"), {**RESULT, "tool_call_id": "1"}],
    "null calls": [USER, {**SAID, "tool_calls": None, "refusal": None}, USER],
    "no calls": [USER, {**SAID, "tool_calls": []}, USER],
    "result as object": [USER, call({}), {**RESULT, "content": {"rain": 3}}],
    "result in parts": [USER, call({}), {**RESULT, "content": [{"type": "text", "text": "3"}]}],
    "result first": [RESULT, USER],
    "reasoning": [USER, {**SAID, "reasoning": "Hm."}, USER],
    "thinking": [USER, {**SAID, "thinking": "Hm."}],
    "thoughts in content": [USER, {**SAID, "content": "<think>\nHm.\n</think>\n\nRain."}, USER],
    "an answer first": [SAID, USER],
    "an unknown role": [USER, {"role": "observation", "content": "rain"}],
    "unknown fields": [{**USER, "weight": 1, "train": True}, {**SAID, "meta": {"a": None}}],
    "key order": [{"content": "Hi", "role": "user"}],
}


@pytest.fixture(scope="module")
def published(real):
    return json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]


def theirs(tokenizer, messages, **options):
    """What transformers gives, or None where it or the template refuses."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except Exception:
        return None


def ours(tokenizer, messages, add_generation_prompt=False, **options):
    try:
        prompt = prompt_of_messages(messages, lambda: ChatTemplatePrompt(tokenizer, **options), open_reply=False)
        if add_generation_prompt:
            prompt.add_responder_msg(None)
        return prompt.create_prompt()
    except ChatlabError:
        return None


SWITCHES = [{}, {"enable_thinking": False}, {"enable_thinking": True}]
OPTIONS = [{**switch, "add_generation_prompt": opened} for switch, opened in product(SWITCHES, (False, True))]
OPTIONS += [{"tools": TOOLS, "add_generation_prompt": opened} for opened in (False, True)]


def test_every_published_template_gives_the_text_of_apply_chat_template(published):
    assert len(published) >= 28
    assert len(LISTS) >= 20
    compared = same = 0
    for name, template in published.items():
        tokenizer = fast_tokenizer("byte bpe", template, bos="<s>", eos="</s>")
        for (kind, messages), options in product(LISTS.items(), OPTIONS):
            wanted = theirs(tokenizer, messages, **options)
            assert ours(tokenizer, messages, **options) == wanted, (name, kind, options)
            compared += 1
            same += wanted is not None
    assert (compared, same > compared / 2) == (28 * len(LISTS) * len(OPTIONS), True)


def told(word: str) -> str:
    """Tell a word.

    Args:
        word: which.
    """
    return word


@dataclasses.dataclass
class Said:
    role: str
    content: str


class Model:
    def model_dump(self):
        return {"role": "user", "content": "dumped", "name": None}


DUMP = (
    "{{ messages | tojson }}{{ tools | tojson }}{{ documents | tojson }}{{ x | tojson }}{{ bos_token }}{{ unk_token }}"
)
SHAPES = [
    ([USER], {"tools": []}),
    ([USER], {"tools": [told, TOOLS[0]]}),
    ([USER], {"tools": ["weather"]}),
    ([USER], {"tools": [len]}),
    ([USER], {"documents": [{"title": "a", "text": "b"}], "x": {"y": (1, 2)}}),
    ([USER], {"documents": ["a"]}),
    ([USER], {"x": numpy.bool_(False)}),
    ([USER], {"x": numpy.arange(3)}),
    ([{"role": "user", "content": [{"type": "image", "image": object()}]}], {"x": {1: None}}),
    ([{**USER, "weight": numpy.float32(0.5)}], {}),
    (["Hi"], {}),
    ([{"content": "x"}], {"x": "{{ 1 }}"}),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "options"), SHAPES)
def test_every_shape_is_handed_over_as_transformers_hands_it(messages, options):
    tokenizer = fast_tokenizer("byte bpe", DUMP.replace("{{ x ", "{{ (x or 0) "), bos="<s>")
    wanted, found = theirs(tokenizer, messages, **options), ours(tokenizer, messages, **options)
    if messages == [{"content": "x"}]:
        assert found is None  # a message without a role is refused before any template sees it
    else:
        assert found == wanted


def test_objects_of_clients_are_messages_too():
    found = ours(fast_tokenizer("byte bpe", "{{ messages | tojson }}"), [Said("user", "a"), Model()])
    assert json.loads(found) == [{"role": "user", "content": "a"}, {"role": "user", "content": "dumped"}]


@pytest.mark.parametrize("tools", [["weather"], [len], [lambda x: x], [3]])
def test_a_tool_that_is_none_is_a_typed_error(tools):
    with pytest.raises(PromptError):
        ChatTemplatePrompt(fast_tokenizer("byte bpe", DUMP), tools=tools)


def test_a_message_that_holds_itself_is_a_typed_error():
    message = {"role": "user", "content": []}
    message["content"].append(message)
    with pytest.raises(MessageTypeError, match="nested too deep"):
        ChatTemplatePrompt(fast_tokenizer("byte bpe", DUMP)).add_message(message)


def test_a_filled_reply_takes_the_place_of_what_it_was():
    prompt = ChatTemplatePrompt(fast_tokenizer("byte bpe", DUMP))
    prompt.add_message(USER)
    prompt.add_message({"role": "assistant", "content": [{"type": "text", "text": "old"}], "weight": 1})
    assert prompt.get_responder_last_msg() == "old"
    prompt.set_responder_last_msg("new")
    assert prompt.get_messages()[-1] == {"role": "assistant", "content": "new", "weight": 1}


def test_a_folder_tells_the_special_tokens_that_transformers_tells(tmp_path):
    config = {
        "chat_template": "{{ bos_token }}{{ image_token }}{{ sep_token }}",
        "bos_token": "<s>",
        "image_token": "<i>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"sep_token": {"content": "<sep>"}}))
    prompt = ChatTemplatePrompt(tmp_path)
    prompt.add_requester_msg("Hi")
    assert prompt.create_prompt() == "<s><sep>"
