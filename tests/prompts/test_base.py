"""The history, the modes and the plain data of a prompt class."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import AbstractChatPrompt, ChatPromptMetaLlamaLlama2Chat
from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError, MessageTypeError, PromptError, RoleOrderError
from chatlab.prompts.base import PromptTTL
from chatlab.prompts.formats.llama2 import SYSTEM_PROMPT
from chatlab.prompts.formats.registry import FORMATS
from chatlab.tokenizers.load import load_tokenizer
from tests.prompts.documented_style import DocumentedStyle, asked

TITANIC = json.loads(Path(__file__).with_name("titanic.json").read_text(encoding="utf-8"))


def test_the_three_turn_titanic_prompt_comes_out_character_for_character():
    prompt = ChatPromptMetaLlamaLlama2Chat()
    for turn in TITANIC["turns"]:
        prompt.add_requester_msg(turn["user"])
        prompt.add_responder_msg(None)
        prompt.set_responder_last_msg(turn["assistant"])
    assert prompt.create_prompt() == TITANIC["prompt"]


def test_llama2_default_system_text_has_one_newline_between_its_paragraphs():
    assert len(SYSTEM_PROMPT) == 506
    digest = hashlib.sha256(SYSTEM_PROMPT.encode()).hexdigest()
    assert digest == "c5ca944bc2638d78ed9d6db6d8f8e9a11dcd5cda8a769b931047ebccf6922512"


def test_llama2_set_system_takes_the_whole_header_and_set_system_prompt_the_text():
    prompt = asked("Hi", None, prompt_class=ChatPromptMetaLlamaLlama2Chat)
    prompt.set_system_prompt("Be brief.")
    assert prompt.create_prompt() == "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] "
    prompt.set_system_prompt(None)
    assert prompt.create_prompt() == "<s>[INST] Hi [/INST] "
    prompt.set_system("Be brief.")
    assert prompt.create_prompt() == "Be brief.Hi [/INST] "
    assert prompt.get_system_prompt() is None


def test_llama2_plans_one_character_a_turn_from_turn_two_on():
    prompt = ChatPromptMetaLlamaLlama2Chat()
    planned = []
    for turn in range(1, 5):
        prompt.add_requester_msg("q")
        prompt.add_responder_msg("a")
        assert prompt.get_turn() == turn
        planned.append(prompt.get_custom_skip_echo_len(100))
    assert planned == [100, 102, 103, 104]


def test_the_reply_is_opened_then_filled():
    prompt = asked("Hi", None)
    assert prompt.create_prompt() == "<human>: Hi\n<bot>:"
    assert prompt.get_responder_last_msg() is None
    prompt.set_responder_last_msg("Hello!")
    assert prompt.create_prompt() == "<human>: Hi\n<bot>: Hello!\n"
    assert (prompt.get_requester_last_msg(), prompt.get_responder_last_msg()) == ("Hi", "Hello!")


def test_without_chat_mode_the_prompt_is_the_last_question():
    for prompt_class in (DocumentedStyle, ChatPromptMetaLlamaLlama2Chat):
        prompt = asked("a", "b", "c", None, prompt_class=prompt_class)
        prompt.set_chat_mode_enabled(False)
        assert not prompt.is_chat_mode_enabled()
        assert prompt.create_prompt() == "c"
        assert prompt.get_stop_strs() is None


def test_single_turn_mode_shows_the_last_question_only():
    prompt = asked("a", "b", "c", None)
    prompt.set_prompt_ttl(PromptTTL.SINGLE_TURN)
    assert prompt.create_prompt() == "<human>: c\n<bot>:"
    assert prompt.get_turn() == 2
    prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
    assert prompt.create_prompt() == "<human>: a\n<bot>: b\n<human>: c\n<bot>:"


def test_single_turn_mode_without_its_last_message_shows_no_earlier_turn():
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    prompt.add_responder_msg("A long answer of an earlier turn")
    prompt.add_requester_msg("Who?")
    whole = prompt.get_skip_len()
    prompt.set_prompt_ttl(PromptTTL.SINGLE_TURN)
    assert [c.message for c in prompt.get_history({"omit_last_message": True})] == [None]
    assert prompt.get_skip_len(omit_last_message=True) <= prompt.get_skip_len() < whole
    prompt.add_responder_msg(None)
    assert [c.message for c in prompt.get_history({"omit_last_message": True})] == ["Who?", None]


def test_no_format_needs_a_message_where_the_last_one_is_left_out():
    for prompt_class in FORMATS.values():
        prompt = prompt_class()
        prompt.set_prompt_ttl(PromptTTL.SINGLE_TURN)
        prompt.add_requester_msg("Who?")
        assert prompt.get_skip_len(omit_last_message=True) <= prompt.get_skip_len()


def test_a_new_name_reaches_the_messages_that_are_there():
    prompt = asked("a", "b")
    prompt.set_requester("<user>")
    assert [content.get_role_name() for content in prompt.get_contents()] == ["<user>", "<bot>"]


def test_the_initial_prompt_is_the_classes_own():
    prompt = DocumentedStyle()
    prompt.build_initial_prompt(prompt)
    assert prompt.create_prompt() == "<human>: Hello\n<bot>: Ask me.\n"
    bare = ChatPromptMetaLlamaLlama2Chat()
    bare.build_initial_prompt(bare)
    assert bare.get_contents() == []


def test_a_plain_system_text_stands_before_the_first_question_unless_a_class_says_where():
    prompt = asked("a", "b", "c", None)
    prompt.set_system_prompt("Be brief.")
    assert prompt.create_prompt().startswith("<human>: Be brief.\n\na\n<bot>: b\n<human>: c\n")
    assert prompt.get_requester_last_msg() == "c"


def test_message_ids_are_never_given_twice():
    prompt = asked("a", "b")
    removed = prompt.remove_last_message()
    assert (removed.get_message_id(), removed.get_message()) == (2, "b")
    assert prompt.add_responder_msg("c") == 3
    assert prompt.get_content(3).get_message() == "c"
    with pytest.raises(PromptError, match="no message has id 2"):
        prompt.get_content(2)
    prompt.clear_history()
    assert prompt.add_requester_msg("again") == 4


def test_the_last_message_can_be_cleared_or_removed():
    prompt = asked("a", "b")
    prompt.clear_last_message()
    assert prompt.get_responder_last_msg() is None
    prompt.set_responder_last_msg("c")
    prompt.remove_last_message()
    prompt.clear_last_message()
    assert prompt.get_requester_last_msg() == ""
    prompt.clear_history()
    for act in (prompt.clear_last_message, prompt.remove_last_message):
        with pytest.raises(RoleOrderError, match="empty"):
            act()


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["a"], True, {"content": "a"}])
def test_a_message_that_is_not_a_str_is_a_typed_error(bad):
    prompt = asked("a", None)
    with pytest.raises(MessageTypeError):
        prompt.set_responder_last_msg(bad)
    if bad is not None:
        with pytest.raises(MessageTypeError, match="must be a str"):
            prompt.add_requester_msg(bad)
        with pytest.raises(TypeError):
            prompt.add_responder_msg(bad)
    for setter in (prompt.set_system, prompt.set_requester, prompt.set_responder):
        with pytest.raises(MessageTypeError):
            setter(bad)
    assert prompt.create_prompt() == "<human>: a\n<bot>:"


def test_a_reply_before_the_first_question_is_a_typed_error():
    with pytest.raises(RoleOrderError, match="add_requester_msg first"):
        ChatPromptMetaLlamaLlama2Chat().add_responder_msg("Hello")
    with pytest.raises(RoleOrderError, match="no reply is open"):
        asked("a").set_responder_last_msg("lost?")

    class Greets(DocumentedStyle):
        responder_may_begin = True

    prompt = Greets()
    prompt.add_responder_msg("Welcome.")
    assert prompt.create_prompt() == "<bot>: Welcome.\n"


def test_a_class_without_create_prompt_says_so():
    with pytest.raises(PromptError, match="AbstractChatPrompt has no create_prompt"):
        AbstractChatPrompt().create_prompt()


def test_surrogates_and_empty_messages_are_kept_as_they_are():
    prompt = asked("\ud800", "", "")
    assert [content.get_message() for content in prompt.get_contents()] == ["\ud800", "", ""]


class FakeTransformersTokenizer:
    all_special_tokens = ["<s>", "[/INST]"]


def test_skip_len_counts_the_prompt_without_special_tokens():
    prompt = asked("Hi", "Yes.", "Who?", None, prompt_class=ChatPromptMetaLlamaLlama2Chat)
    prompt.set_system_prompt(None)
    text = "[INST] Hi [/INST] Yes. [INST] Who? [/INST] "
    assert prompt.get_skip_len() == len(text) + 2
    prompt.set_tokenizer(FakeTransformersTokenizer())
    assert prompt.get_skip_len() == len("[INST] Hi  Yes. </s>[INST] Who?  ") + 2


def test_skip_len_asks_a_raw_tokenizer_too():
    from tokenizers import AddedToken, Tokenizer, models

    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<human>"])
    tokenizer.add_tokens([AddedToken("Hi")])
    prompt = asked("Hi")
    prompt.set_tokenizer(tokenizer)
    assert prompt.get_skip_len() == len(": Hi\n")
    prompt.set_tokenizer(object())
    with pytest.raises(PromptError, match="all_special_tokens"):
        prompt.get_skip_len()


def test_skip_len_knows_the_special_tokens_of_a_loaded_tokenizer():
    prompt = asked("Hi<s></s>")
    prompt.set_tokenizer(load_tokenizer(tokenizer_path("llama2-style/legacy")))
    assert prompt.get_skip_len() == len("<human>: Hi\n")


def test_skip_len_can_leave_the_last_text_out_and_keeps_who_speaks():
    prompt = asked("Hi", None)
    assert prompt.get_skip_len() == prompt.get_skip_len(omit_last_message=True) == len("<human>: Hi\n<bot>:")
    prompt.set_responder_last_msg("Hello!")
    assert prompt.get_skip_len(omit_last_message=True) == len("<human>: Hi\n<bot>:")
    assert prompt.get_custom_skip_echo_len(7) == 7


def test_a_copy_goes_its_own_way():
    prompt = asked("a", None)
    twin = prompt.copy()
    twin.set_responder_last_msg("b")
    twin.add_requester_msg("c")
    assert prompt.create_prompt() == "<human>: a\n<bot>:"
    assert twin.create_prompt() == "<human>: a\n<bot>: b\n<human>: c\n"


@given(
    st.lists(st.text(), max_size=6),
    st.booleans(),
    st.sampled_from(PromptTTL),
    st.one_of(st.none(), st.text()),
    st.text(),
)
def test_plain_data_bring_a_prompt_back_whole(messages, chat_mode, ttl, system_prompt, system):
    for prompt_class in (DocumentedStyle, ChatPromptMetaLlamaLlama2Chat):
        prompt = asked(*messages, prompt_class=prompt_class)
        prompt.set_chat_mode_enabled(chat_mode)
        prompt.set_prompt_ttl(ttl)
        prompt.set_system(system)
        prompt.set_system_prompt(system_prompt)
        data = json.loads(json.dumps(prompt.to_dict()))
        back = prompt_class.from_dict(data)
        assert back.to_dict() == prompt.to_dict()
        assert back.create_prompt() == prompt.create_prompt()
        assert back.add_requester_msg("more") == prompt.add_requester_msg("more")


def test_data_of_another_class_or_broken_data_are_a_typed_error():
    data = asked("a").to_dict()
    with pytest.raises(PromptError, match="of 'DocumentedStyle', not of ChatPromptMetaLlamaLlama2Chat"):
        ChatPromptMetaLlamaLlama2Chat.from_dict(data)
    for field, value in [("contents", None), ("contents", [{"role_type": "god"}]), ("prompt_ttl", "forever")]:
        with pytest.raises(ChatlabError, match="not the data of a DocumentedStyle"):
            DocumentedStyle.from_dict({**data, field: value})
    del data["system"]
    with pytest.raises(PromptError, match="'system'"):
        DocumentedStyle.from_dict(data)


@pytest.mark.parametrize(
    "change",
    [
        {"system": 5},
        {"requester": None},
        {"system_prompt": 5},
        {"chat_mode": "yes"},
        {"next_message_id": "4"},
        {"contents": [{"message": 5}]},
        {"contents": [{"child_message": 5}]},
        {"prefix_as_stop_str": "yes"},
        {"contents": [{"role_name": 5}]},
        {"contents": [{"message_id": 1.5}]},
        {"contents": 5},
    ],
)
def test_data_of_a_wrong_type_are_a_typed_error(change):
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    data = json.loads(json.dumps(prompt.to_dict()))
    if isinstance(change.get("contents"), list):
        change = {"contents": [{**data["contents"][0], **change["contents"][0]}]}
    with pytest.raises(PromptError, match="not the data of a ChatPromptMetaLlamaLlama2Chat"):
        ChatPromptMetaLlamaLlama2Chat.from_dict({**data, **change})
