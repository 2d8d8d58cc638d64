"""Message lists and JSON lines, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.errors import DialogueError, MessageTypeError, OutputError, PromptError, RoleOrderError
from chatlab.prompts.dialogue import Dialogue, Turn, read_dialogues
from chatlab.prompts.edit import fill_prompt
from chatlab.prompts.formats.registry import FORMATS, prompt_class
from chatlab.prompts.messages import dialogue_of, messages_of, prompt_of_messages, write_dialogues

LIST = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
]


@pytest.mark.parametrize("name", [n for n in FORMATS if not FORMATS[n].format.single_turn])
def test_a_message_list_comes_back_from_every_class(name):
    prompt = prompt_of_messages(LIST, FORMATS[name])
    assert messages_of(prompt) == LIST
    assert prompt.get_history()[-1].message is None
    assert prompt_of_messages(LIST, FORMATS[name], open_reply=False).get_history()[-1].message == "c"


def test_a_message_without_a_place_is_a_typed_error():
    phi3 = prompt_class("phi3")
    with pytest.raises(RoleOrderError, match="message 2 has role 'system'"):
        prompt_of_messages([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], phi3)
    with pytest.raises(RoleOrderError, match="role 'tool'"):
        prompt_of_messages([{"role": "tool", "content": "a"}], phi3)
    with pytest.raises(RoleOrderError, match="add_requester_msg first"):
        prompt_of_messages([{"role": "assistant", "content": "a"}], phi3)
    with pytest.raises(PromptError, match="no role is called 'bot'"):
        prompt_of_messages([{"role": "bot", "content": "a"}], phi3)
    with pytest.raises(MessageTypeError):
        prompt_of_messages([{"role": "user", "content": {"a": 1}}], phi3)
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    with pytest.raises(PromptError, match=r"message 2 has tool_calls, which ChatPromptPhi3 has no place for"):
        prompt_of_messages([{"role": "user", "content": "a"}, call], phi3)
    plain = {"role": "assistant", "content": "b", "tool_calls": [], "refusal": None}
    assert prompt_of_messages([{"role": "user", "content": "a"}, plain], phi3).get_history()[-1].message == "b"


turns = st.lists(st.builds(lambda u, a: Turn(user=u, assistant=a), st.text(), st.text()), min_size=1, max_size=5)


@given(turns, st.one_of(st.none(), st.text()), st.booleans())
def test_a_dialogue_comes_back_from_its_prompt(turns, system, is_open):
    if is_open:
        turns[-1] = Turn(user=turns[-1].user)
    dialogue = Dialogue(id="d", turns=tuple(turns), system=system, labels={"a": 1})
    prompt = fill_prompt(dialogue, prompt_class("chatml"))
    assert dialogue_of(prompt, id="d", labels={"a": 1}) == dialogue


def test_a_single_turn_prompt_gives_all_that_was_said():
    dialogue = Dialogue(id="d", turns=tuple(Turn(user=f"q{n}", assistant=f"a{n}") for n in range(3)))
    prompt = fill_prompt(dialogue, prompt_class("weblab-10b"))
    shown = prompt.create_prompt()
    assert dialogue_of(prompt, id="d") == dialogue
    assert prompt.create_prompt() == shown


def test_an_empty_prompt_is_no_dialogue():
    with pytest.raises(DialogueError, match="empty"):
        dialogue_of(prompt_class("chatml")())


@given(st.lists(st.tuples(turns, st.one_of(st.none(), st.text())), max_size=4))
def test_json_lines_come_back(tmp_path_factory, many):
    path = tmp_path_factory.mktemp("jsonl") / "d.jsonl"
    dialogues = [Dialogue(id=str(n), turns=tuple(t), system=s) for n, (t, s) in enumerate(many)]
    assert write_dialogues(path, dialogues) == len(dialogues)
    assert list(read_dialogues(path)) == dialogues


def test_surrogates_and_line_separators_survive_the_file(tmp_path):
    dialogue = Dialogue(id="d", turns=(Turn(user="\ud800\u2028\x85\r\n", assistant="é"),))
    write_dialogues(tmp_path / "d.jsonl", [dialogue])
    assert list(read_dialogues(tmp_path / "d.jsonl")) == [dialogue]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("before")

    def breaks():
        yield Dialogue(id="d", turns=(Turn(user="a"),))
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_dialogues(path, breaks())
    assert [p.name for p in tmp_path.iterdir()] == ["d.jsonl"]
    assert path.read_text() == "before"
    write_dialogues(path, [])
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    with pytest.raises(OutputError, match="cannot write"):
        write_dialogues(tmp_path / "no" / "where.jsonl", [])
