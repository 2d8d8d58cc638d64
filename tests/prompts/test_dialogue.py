"""Dialogues come from JSON lines, and go into a prompt turn by turn."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.errors import DialogueError, PromptError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.dialogue import Dialogue, Turn, new_prompt, prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat

GOOD = {"id": "d1", "labels": {"language": "en"}, "system": None, "turns": [{"user": "Hi", "assistant": "Hello!"}]}
BAD_LINES = {
    "{": "not JSON at character 2",
    "[]": "JSON object, not list",
    "3": "JSON object, not int",
    '{"id": "x"}': r'no "turns" and no "messages" in it, only \[.id.\]',
    '{"turns": []}': "empty: it has no turn",
    '{"messages": []}': "empty: it has no turn",
    '{"messages": [{"role": "system", "content": "s"}]}': "empty: it has no turn",
    '{"turns": "Hi"}': '"turns" must be a list',
    '{"turns": [1]}': "turn 1 is not an object",
    '{"turns": [{"assistant": "a"}]}': "turn 1 is not an object",
    '{"turns": [{"user": 1}]}': "turn 1: user must be a string, not int",
    '{"turns": [{"user": "a", "assistant": ["b"]}]}': "turn 1: assistant must be a string, not list",
    '{"turns": [{"user": "a"}, {"user": "b"}]}': "turn 1 has no answer, yet turn 2 follows",
    '{"turns": [{"user": "a"}], "system": 1}': "system must be a string",
    '{"turns": [{"user": "a"}], "labels": 1}': '"labels" must be an object or a list',
    '{"turns": [{"user": "a"}], "labels": [1]}': "a label must be a string",
    '{"messages": 1}': '"messages" must be a list',
    '{"messages": ["a"]}': "message 1 is not an object",
    '{"messages": [{"role": "user"}]}': "message 1: content must be a string, not NoneType",
    '{"messages": [{"role": "assistant", "content": "a"}]}': "message 1 has role 'assistant'",
    '{"messages": [{"role": "user", "content": 1}]}': "message 1: content must be a string or a list of parts, not int",
    '{"messages": [{"role": "user", "content": [1]}]}': "message 1: a part of the content must be an object",
    '{"messages": [{"role": "assistant", "tool_calls": "f"}]}': "message 1: tool_calls must be a list of objects",
    '{"messages": [{"role": "user", "content": "a"}], "tools": 1}': '"tools" must be a list, not int',
    '{"messages": [{"role": "user", "content": "a"}], "tools": ["f"]}': "a tool is a JSON schema, not 'f'",
    '{"messages": [{"role": "user", "content": "a"}], "tools": "{"}': "tools is text that is not JSON",
    '{"messages": [{"role": "user", "content": "a"}], "variables": 1}': "template variables are one object",
    '{"turns": [{"user": "a", "assistant": "b", "mood": "c"}]}': "turn 1 has mood, which a turn has no place for",
    '{"conversations": [{"from": "human"}]}': 'message 1 is not an object with "from" and "value"',
    '{"conversations": [{"from": "function_call", "value": "f()"}]}': "the function call is text that is not JSON",
    '{"prompt": "a", "chosen": "b", "rejected": "c"}': "chosen and rejected stand in it",
    '[{"role": "user", "content": "a"}]': "these are messages, give",
    "[" * 100_000: "nested too deep",
    '{"id": ' + "1" * 5000 + "}": "digits",
}  # fmt: skip


def write(tmp_path, *lines: str | bytes):
    path = tmp_path / "dialogues.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_a_file_of_dialogues_is_read_line_by_line(tmp_path):
    path = write(tmp_path, json.dumps(GOOD), "", '{"turns": [{"user": "日本語"}], "labels": ["short"]}', "")
    first, second = read_dialogues(path)
    assert first == Dialogue(id="d1", labels={"language": "en"}, turns=(Turn(user="Hi", assistant="Hello!"),))
    assert second == Dialogue(id="3", labels={"short": True}, turns=(Turn(user="日本語"),))


def test_message_lists_are_read_too(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    (dialogue,) = read_dialogues(write(tmp_path, b"\xef\xbb\xbf" + json.dumps({"messages": messages}).encode()))
    assert dialogue.system == "Be brief."
    assert dialogue.turns == (Turn(user="a", assistant="b"), Turn(user="c"))


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_with_its_number_and_reason(tmp_path, line):
    path = write(tmp_path, json.dumps(GOOD), line, json.dumps(GOOD))
    with pytest.raises(DialogueError, match="line 2: .*" + BAD_LINES[line]):
        list(read_dialogues(path))


def test_bad_lines_are_skipped_and_reported_when_asked(tmp_path):
    path = write(tmp_path, *BAD_LINES, b"\xff\xfe", json.dumps(GOOD))
    bad = []
    assert [dialogue.id for dialogue in read_dialogues(path, skip_bad=True, on_bad=bad.append)] == ["d1"]
    assert len(bad) == len(BAD_LINES) + 1
    assert f"line {len(BAD_LINES) + 1}: not UTF-8 at byte 0" in str(bad[-1])
    assert len(list(read_dialogues(path, skip_bad=True))) == 1


def test_a_file_that_is_not_there_is_a_typed_error(tmp_path):
    with pytest.raises(DialogueError, match="cannot read dialogues from .*nowhere.jsonl: No such file"):
        next(read_dialogues(tmp_path / "nowhere.jsonl"))


def test_reading_streams(tmp_path):
    path = write(tmp_path, json.dumps(GOOD), "{")
    assert next(read_dialogues(path)).id == "d1"


turns = st.lists(st.builds(lambda u, a: Turn(user=u, assistant=a), st.text(), st.text()), min_size=1, max_size=6)


@given(turns, st.one_of(st.none(), st.text()))
def test_plain_data_bring_a_dialogue_back(turns, system):
    dialogue = Dialogue(id="x", turns=tuple(turns), system=system, labels={"kind": "random"})
    assert Dialogue.from_dict(json.loads(json.dumps(dialogue.to_dict()))) == dialogue


@given(turns, st.one_of(st.none(), st.text()))
def test_each_prompt_equals_one_built_afresh(turns, system):
    """The slow reference: every prompt from nothing."""
    dialogue = Dialogue(id="x", turns=tuple(turns), system=system)
    made = list(prompts_of(dialogue, ChatPromptMetaLlamaLlama2Chat))
    assert [number for number, _ in made] == list(range(1, len(turns) + 1))
    for number, prompt in made:
        afresh = ChatPromptMetaLlamaLlama2Chat()
        if system is not None:
            afresh.set_system_prompt(system)
        for turn in turns[: number - 1]:
            afresh.add_requester_msg(turn.user)
            afresh.add_responder_msg(turn.assistant)
        afresh.add_requester_msg(turns[number - 1].user)
        afresh.add_responder_msg(None)
        assert prompt.create_prompt() == afresh.create_prompt()
        assert prompt.get_turn() == number


def test_a_turn_without_an_answer_may_only_stand_last():
    dialogue = Dialogue(id="x", turns=(Turn(user="a"), Turn(user="b")))
    with pytest.raises(DialogueError, match="'x': turn 1 has no answer"):
        list(prompts_of(dialogue, ChatPromptMetaLlamaLlama2Chat))


def test_a_prompt_class_without_the_method_needed_is_named():
    class NoText(AbstractChatPrompt):
        pass

    class Foreign:
        def create_prompt(self, opts=None):
            return ""

    dialogue = Dialogue(id="x", turns=(Turn(user="a"),))
    with pytest.raises(PromptError, match="NoText has no create_prompt:"):
        next(prompts_of(dialogue, NoText))
    with pytest.raises(PromptError, match="Foreign has no add_requester_msg, add_responder_msg"):
        next(prompts_of(dialogue, Foreign))
    with pytest.raises(PromptError, match="pass the class itself"):
        new_prompt(3)
