"""The conversations think, call tools and are refused by no reader; the same bytes whenever they are made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.embedded import conversations_path
from chatlab.errors import ChatlabError
from chatlab.prompts.dialogue import Dialogue, prompts_of, read_dialogues
from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from tests.support.templates import fast_tokenizer


@pytest.fixture(scope="module")
def conversations() -> list[Dialogue]:
    return list(read_dialogues(conversations_path()))


def calls_of(dialogue: Dialogue) -> Iterator[dict[str, Any]]:
    for message in dialogue.messages:
        yield from (call["function"] for call in message.get("tool_calls", ()))


def values_in(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from values_in(item)


def test_there_are_enough_of_them_and_no_two_are_alike(conversations: list[Dialogue]) -> None:
    assert len(conversations) >= 150
    assert len({dialogue.id for dialogue in conversations}) == len(conversations)
    assert len({json.dumps(dialogue.messages) for dialogue in conversations}) == len(conversations)
    assert conversations_path().stat().st_size < 1_000_000
    kinds = Counter(dialogue.labels["kind"] for dialogue in conversations)
    assert min(kinds.values()) >= 8


def test_they_hold_what_templates_write_in_ways_of_their_own(conversations: list[Dialogue]) -> None:
    messages = [message for dialogue in conversations for message in dialogue.messages]
    thoughts = [message[key] for message in messages for key in ("reasoning_content", "reasoning") if key in message]
    assert len(thoughts) >= 100
    assert any("</think>" in thought for thought in thoughts)
    assert sum(len(message.get("tool_calls", ())) >= 2 for message in messages) >= 20
    assert (
        sum(m["role"] == "assistant" and (m["content"] or "") != (m["content"] or "").strip() for m in messages) >= 20
    )
    assert {message["role"] for message in messages} == {"system", "developer", "user", "assistant", "tool"}
    given = [call["arguments"] for dialogue in conversations for call in calls_of(dialogue)]
    texts, objects = [a for a in given if isinstance(a, str)], [a for a in given if isinstance(a, dict)]
    assert min(len(texts), len(objects)) >= 40
    assert {} in objects
    assert "" in texts
    found = [repr(value) for arguments in objects for value in values_in(arguments)]
    assert all(found.count(wanted) >= 3 for wanted in ("False", "None", "1.0", "0.0", "[]", "{}"))
    assert sum(not json.dumps(arguments, ensure_ascii=False).isascii() for arguments in objects) >= 20
    assert any(isinstance(value, dict) and value for arguments in objects for value in arguments.values())


def test_every_result_answers_a_call_and_every_call_is_of_a_tool_on_offer(conversations: list[Dialogue]) -> None:
    for dialogue in conversations:
        asked = [call["id"] for message in dialogue.messages for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in dialogue.messages if message["role"] == "tool"]
        assert set(answered) <= set(asked)
        assert len(set(asked)) == len(asked)
        names = {tool["function"]["name"] for tool in dialogue.tools or ()}
        assert {call["name"] for call in calls_of(dialogue)} <= names
        for call in calls_of(dialogue):
            if isinstance(call["arguments"], str) and call["arguments"]:
                json.loads(call["arguments"])


def test_they_come_back_from_plain_data(conversations: list[Dialogue]) -> None:
    for dialogue in conversations:
        assert Dialogue.from_dict(json.loads(json.dumps(dialogue.to_dict()))) == dialogue


def test_a_plain_class_takes_them_or_names_what_it_has_no_place_for(conversations: list[Dialogue]) -> None:
    said = dict(filter(None, (refusal(dialogue) for dialogue in conversations)))
    assert all(repr(name) in str(error) for name, error in said.items())
    assert 10 <= len(conversations) - len(said) <= 20  # parts and plain talk
    named = Counter(error.kind for error in said.values())
    assert any(kind == "ChatPromptPhi3 has no place for tools" for kind in named)
    assert any("reasoning_content" in kind for kind in named)
    assert len(named) < 15


def test_the_prompts_of_every_call_are_those_of_apply_chat_template(conversations: list[Dialogue], real: Path) -> None:
    """Over the published templates: the same text, or both refuse."""
    published = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    same = 0
    for number, (name, template) in enumerate(sorted(published.items())):
        tokenizer = fast_tokenizer("byte bpe", template, bos="<s>", eos="</s>")
        for dialogue in conversations[number::40]:
            made = list(drained(prompts_of(dialogue, lambda tokenizer=tokenizer: ChatTemplatePrompt(tokenizer))))
            assert len(made) == len(dialogue.calls)
            for call, prompt in zip(dialogue.calls, made, strict=True):
                wanted = theirs(tokenizer, dialogue, list(call.messages))
                assert text_of(prompt) == wanted, (name, dialogue.id)
                same += wanted is not None
    assert same > 150


def drained(prompts: Iterator[tuple[int, ChatTemplatePrompt]]) -> Iterator[ChatTemplatePrompt]:
    return (prompt for _, prompt in prompts)


def refusal(dialogue: Dialogue) -> tuple[str, ChatlabError] | None:
    try:
        list(prompts_of(dialogue, prompt_class("phi3")))
    except ChatlabError as error:
        return dialogue.id, error
    return None


def text_of(prompt: ChatTemplatePrompt) -> str | None:
    try:
        return prompt.create_prompt()
    except ChatlabError:
        return None


def theirs(tokenizer: Any, dialogue: Dialogue, messages: list[Any]) -> str | None:
    tools = None if dialogue.tools is None else list(dialogue.tools)
    try:
        return tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, tokenize=False, **dialogue.variables
        )
    except Exception:
        return None


def test_the_script_makes_the_same_bytes_again(tmp_path: Path, run_script: Callable[..., None]) -> None:
    run_script("make_conversations.py", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == conversations_path().read_bytes()
