"""What a model reads of a request's messages is what its own template writes for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError as JinjaError

from chatlab.errors import NoPlaceError, PromptError, RequestError, TemplateError
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.server.openai.dialogue import prompt_of, taken_by
from chatlab.server.openai.requests.chat import ChatRequest, read_chat
from chatlab.tokenizers.load import as_tokenizer
from tests.server.openai.live import QWEN, chat_tokenizer
from tests.support.templates import fast_tokenizer

USER = {"role": "user", "content": "Rome?"}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tell it.", "parameters": {"type": "object", "properties": {}}},
}
ARGUMENTS = '{"city": "Z\u00fcrich", "n": 2}'
CALL = {"id": "abcdefgh0", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
CALLED = {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}
DIALOGUES = {
    "plain": [USER],
    "system": [{"role": "system", "content": "Be brief."}, USER],
    "turns": [USER, {"role": "assistant", "content": "18 degrees."}, {"role": "user", "content": "And now?"}],
    "call": [USER, CALLED, {"role": "tool", "tool_call_id": "abcdefgh0", "content": "18"}],
}


def read(messages, **fields) -> ChatRequest:
    return read_chat({"messages": messages, **fields}, context_len=4096)


def written(tokenizer, messages, tools, **how: Any) -> str | None:
    """What transformers writes, where the template takes the messages and passes none over."""
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False, **how)
    except (JinjaError, TypeError):
        return None
    return text if "Rome?" in text else None


def with_objects(messages):
    twin = json.loads(json.dumps(messages))
    for message in twin:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return twin


def in_parts(messages):
    return [message | {"content": [{"type": "text", "text": message["content"]}]} for message in messages]


@pytest.mark.real
def test_published_templates_write_what_transformers_writes(real: Path) -> None:
    """28 of them, with what each takes: arguments as objects or as text, contents as text or as parts."""
    templates = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    told = 0
    for template in templates.values():
        tokenizer = fast_tokenizer("byte bpe", template, bos="<s>", eos="</s>")
        for name, messages in DIALOGUES.items():
            tools = [TOOL] if name == "call" else None
            request = read(messages, **({"tools": tools} if tools else {}))
            forms = [with_objects(messages), messages, in_parts(messages)]
            wanted = next((text for form in forms if (text := written(tokenizer, form, tools)) is not None), None)
            try:
                found = prompt_of(request.messages, request.tools, {}, as_tokenizer(tokenizer)).create_prompt()
            except TemplateError:
                assert wanted is None
                continue
            assert found == wanted
            told += 1
    assert told > 90


def test_arguments_stay_as_they_were_written_where_the_template_asks() -> None:
    """A round through an object would space and escape them anew, and the model would read another turn than it said."""
    messages = [USER, json.loads(json.dumps(CALLED).replace(": 2}", ":  2}")), USER]
    prompt = prompt_of(messages, None, {}, chat_tokenizer())
    assert messages[1]["tool_calls"][0]["function"]["arguments"] in prompt.create_prompt()
    assert taken_by(QWEN).text_arguments
    assert not taken_by("{{ messages[-1].tool_calls | tojson }}").text_arguments


def test_variables_reach_the_template_and_no_more() -> None:
    bare = prompt_of([USER], None, {}, chat_tokenizer()).create_prompt()
    assert prompt_of([USER], None, {"enable_thinking": False}, chat_tokenizer()).create_prompt() == (
        bare + "<think>\n\n</think>\n\n"
    )


def test_a_prompt_class_takes_the_place_of_the_template() -> None:
    prompt = prompt_of([USER], None, {}, chat_tokenizer(), ChatPromptVicuna)
    assert prompt.create_prompt().endswith("USER: Rome? ASSISTANT:")
    for tools, variables in (([TOOL], {}), (None, {"enable_thinking": False})):
        with pytest.raises(NoPlaceError):
            prompt_of([USER], tools, variables, chat_tokenizer(), ChatPromptVicuna)


def test_messages_that_cannot_be_answered_are_refused() -> None:
    with pytest.raises(RequestError) as nothing:
        prompt_of([USER, {"role": "assistant", "content": "Hi"}], None, {}, chat_tokenizer())
    assert nothing.value.field == "messages[1].role"
    with pytest.raises(RequestError, match="no chat template"):
        prompt_of([USER], None, {}, as_tokenizer(fast_tokenizer("byte bpe", None)))
    broken = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "["}}],
    }
    objects = as_tokenizer(fast_tokenizer("byte bpe", "{{ messages | tojson }}"))
    with pytest.raises(RequestError) as arguments:
        prompt_of([USER, broken, USER], None, {}, objects)
    assert arguments.value.field == "messages[1].tool_calls"
    refusing = as_tokenizer(fast_tokenizer("byte bpe", "{{ raise_exception('No.') }}"))
    with pytest.raises(PromptError):
        prompt_of([USER], None, {}, refusing).create_prompt()
