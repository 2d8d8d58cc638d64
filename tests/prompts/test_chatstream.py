"""A program written for ChatStream finds its methods here, and they do what it relies on."""

from __future__ import annotations

import pytest

from chatlab.errors import ChatlabError, MessageTypeError, PromptError, RoleOrderError
from chatlab.prompts.base import AbstractChatPrompt, PromptTTL, RoleType
from chatlab.prompts.control_tokens.spans import span_prompt
from chatlab.prompts.formats.llama2 import SYSTEM_PROMPT, ChatPromptMetaLlamaLlama2Chat
from chatlab.prompts.formats.registry import FORMATS
from chatlab.prompts.messages import messages_of, prompt_of_messages
from chatlab.testing import ScriptedEngine
from tests.prompts.documented_style import DocumentedStyle, asked

TITANIC = (
    "Do you know the movie titanic", "Hello!",
    "Who is the director", 'The director of the movie "Titanic" is James Cameron.',
    "Who is starred", None,
)  # fmt: skip


class Ported(AbstractChatPrompt):
    """The article's Llama-2 class, as its readers pasted it; its rule counts turns."""

    def __init__(self):
        super().__init__()
        self.set_system(f"<s>[INST] <<SYS>>\n{SYSTEM_PROMPT}\n<</SYS>>\n\n")
        self.set_requester("")
        self.set_responder("")

    special_token_strs = ("<s>", "</s>")

    def get_custom_skip_echo_len(self, skip_echo_len):
        return skip_echo_len + 1 * self.get_turn() if self.get_turn() >= 2 else skip_echo_len

    def create_prompt(self, opts={}):  # noqa: B006 - as pasted
        ret = self.system
        for chat_content in self.get_contents(opts):
            if chat_content.get_message():
                is_asked = chat_content.get_role_type() == RoleType.REQUESTER
                ret += chat_content.get_message() + (" [/INST] " if is_asked else " </s><s>[INST] ")
        return ret


@pytest.mark.parametrize("prompt_class", [Ported, ChatPromptMetaLlamaLlama2Chat])
def test_skip_len_ends_with_the_classs_own_rule(prompt_class):
    prompt = asked(*TITANIC, prompt_class=prompt_class)
    plain = prompt.create_prompt().replace("<s>", "").replace("</s>", "")
    assert (len(plain), prompt.get_skip_len()) == (696, 699)


@pytest.mark.parametrize(("returned", "shown"), [(None, "None"), ("12", "'12'"), (1.5, "1.5"), (True, "True")])
def test_a_rule_that_gives_no_length_is_a_typed_error(returned, shown):
    class Forgot(DocumentedStyle):
        def get_custom_skip_echo_len(self, skip_echo_len):
            return returned

    with pytest.raises(PromptError, match=f"Forgot.get_custom_skip_echo_len must return an int.*not {shown}"):
        asked("Hi", prompt_class=Forgot).get_skip_len()


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("redpajama-incite-chat", "<bot>:"),
        ("chatml", "<|im_start|>assistant\n"),
        ("japanese-stablelm-instruct-alpha", "### 応答: "),
        ("llama2-chatstream", "[/INST] "),
    ],
)
def test_without_the_last_text_the_prompt_is_the_one_that_was_sent(name, end):
    prompt = asked("Hi", None, prompt_class=FORMATS[name])
    sent = prompt.create_prompt()
    assert sent.endswith(end)
    assert prompt.create_prompt({"omit_last_message": True}) == sent
    prompt.set_responder_last_msg("Hello")
    assert prompt.create_prompt({"omit_last_message": True}) == sent


def test_a_history_can_end_with_any_message():
    prompt = asked("a", "b", "c", None)
    assert [c.message for c in prompt.get_contents({"to_message_id": 2})] == ["a", "b"]
    assert prompt.create_prompt({"to_message_id": 3}) == "<human>: a\n<bot>: b\n<human>: c\n"
    assert prompt.create_prompt({"to_message_id": 2, "omit_last_message": True}) == "<human>: a\n<bot>:"
    assert len(prompt.get_contents({"to_message_id": None})) == 4
    prompt.set_prompt_ttl(PromptTTL.SINGLE_TURN)
    assert prompt.create_prompt({"to_message_id": 2}) == "<human>: a\n<bot>: b\n"
    with pytest.raises(PromptError, match="no message has id 9"):
        prompt.get_contents({"to_message_id": 9})


def test_what_was_said_last_can_be_taken_back():
    prompt = asked("a", "b", "c")
    assert not prompt.is_empty()
    prompt.clear_last_responder_message()
    assert [c.message for c in prompt.get_contents()] == ["a", None, "c"]
    assert prompt.remove_last_responder_msg().get_message_id() == 2
    assert prompt.remove_last_requester_msg().get_message() == "c"
    assert prompt.remove_last_requester_msg().get_message() == "a"
    assert prompt.is_empty()
    for act in (
        prompt.clear_last_responder_message,
        prompt.remove_last_responder_msg,
        prompt.remove_last_requester_msg,
        lambda: prompt.set_responder_last_msg_id("x"),
    ):
        with pytest.raises(RoleOrderError, match="the history holds no re"):
            act()


def test_a_reply_gets_an_id_of_the_programs_own():
    prompt = asked("a", "b")
    prompt.set_responder_last_msg_id("01HX")
    assert prompt.find_chat_content_by_message_id("01HX").get_message() == "b"
    assert prompt.find_chat_content_by_message_id(2) is None
    assert DocumentedStyle.from_dict(prompt.to_dict()).get_content("01HX").get_message_id() == "01HX"
    prompt.set_responder_last_msg_id(7)
    prompt.set_responder_last_msg_id(7)
    assert prompt.add_requester_msg("c") == 8
    for bad, match in ((1, "another message's"), (None, "an int or a str"), (1.5, "an int or a str")):
        with pytest.raises(PromptError, match=match):
            prompt.set_responder_last_msg_id(bad)


def test_the_requesters_prefix_ends_a_reply_where_it_may():
    prompt = asked("a", None)
    prompt.get_stop_strs = lambda: ["</s>"]
    assert prompt.get_all_stop_strs() == ["</s>"]
    prompt.set_prefix_as_stop_str_enabled(True)
    prompt.set_requester("<user>")
    assert prompt.is_prefix_as_stop_str_enabled()
    assert prompt.get_all_stop_strs() == ["<user>:", "</s>"]
    prompt.set_requester("")
    assert prompt.get_all_stop_strs() == ["</s>"]
    prompt.set_requester("<user>")
    prompt.set_chat_mode_enabled(False)
    assert prompt.get_all_stop_strs() == ["</s>"]


@pytest.mark.parametrize(
    ("name", "by_class", "without"),
    [
        ("redpajama-incite-chat", ["<human>:", "<|endoftext|>"], ["<|endoftext|>"]),
        ("line-japanese-large-lm-chatstream", ["ユーザー: "], []),
        ("open-llama-qa", ["\nQ:", "\nB:", "\nC:"], ["\nB:", "\nC:"]),
        ("llama2-chatstream", [], []),
        ("chatml", ["<|im_end|>"], ["<|im_end|>"]),
    ],
)
def test_a_formats_own_prefix_can_be_switched_off_and_on(name, by_class, without):
    prompt = FORMATS[name]()
    assert prompt.get_all_stop_strs() == by_class
    prompt.set_prefix_as_stop_str_enabled(False)
    assert prompt.get_all_stop_strs() == without
    assert FORMATS[name].from_dict(prompt.to_dict()).get_all_stop_strs() == without
    prompt.set_prefix_as_stop_str_enabled(True)
    prefix = prompt.get_prefix_stop_str()
    assert prompt.get_all_stop_strs()[: bool(prefix)] == [prefix][: bool(prefix)]


def test_a_stream_stops_at_the_prefix():
    from chatlab import stream

    prompt = asked("Hi")
    prompt.set_prefix_as_stop_str_enabled(True)
    assert stream(prompt, ScriptedEngine("Hello!\n<human>: more")).result().text == "Hello!\n"


def test_a_question_that_is_still_to_come_shows_its_name_alone():
    prompt = asked("a", "b", None)
    assert prompt.create_prompt() == "<human>: a\n<bot>: b\n<human>:"
    assert prompt.get_requester_last_msg() is None
    assert messages_of(prompt) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert DocumentedStyle.from_dict(prompt.to_dict()).create_prompt() == prompt.create_prompt()
    only = asked(None, prompt_class=DocumentedStyle)
    only.set_system_prompt("S")
    assert only.create_prompt() == "<human>:"
    by_format = asked("a", "b", None, prompt_class=FORMATS["redpajama-incite-chat"])
    assert by_format.create_prompt() == "<human>: a\n<bot>: b\n<human>:"


@pytest.mark.parametrize(
    ("name", "child"),
    [
        ("japanese-stablelm-instruct-alpha", "### 入力: \nContext\n\n"),
        ("japanese-stablelm-instruct-v2", "### 入力: \nContext\n\n"),
        ("weblab-10b-chatstream", "### 入力: \nContext\n\n"),
        ("dolly-v2", "Input:\nContext\n\n"),
    ],
)
def test_a_child_message_stands_behind_its_question(name, child):
    with_child, without = FORMATS[name](), FORMATS[name]()
    with_child.add_requester_msg("Hi", "Context")
    without.add_requester_msg("Hi")
    for prompt in (with_child, without):
        prompt.add_responder_msg(None)
    question, end = "Hi\n\n", FORMATS[name].format.reply_open
    assert without.create_prompt().endswith(question + end)
    assert with_child.create_prompt() == without.create_prompt().removesuffix(end) + child + end
    assert FORMATS[name].from_dict(with_child.to_dict()).create_prompt() == with_child.create_prompt()
    assert prompt_of_messages(messages_of(with_child), FORMATS[name]).create_prompt() == with_child.create_prompt()
    assert "child of requester message 1" in {span.whose for span in span_prompt(with_child).spans}


def test_a_child_message_without_a_place_is_a_typed_error():
    prompt = FORMATS["chatml"]()
    with pytest.raises(PromptError, match="chatml has no place for a child message"):
        prompt.add_requester_msg("Hi", "Context")
    with pytest.raises(MessageTypeError):
        asked().add_requester_msg("Hi", 3)
    own = asked()
    own.add_requester_msg("Hi", child_message="Context")
    content = own.get_contents()[0]
    assert (content.get_child_message(), content.get_role(), content.get_role_name()) == (
        "Context",
        "<human>",
        "<human>",
    )


@pytest.mark.parametrize(
    "act",
    [
        lambda p: p.create_prompt(5),
        lambda p: p.get_contents("omit_last_message"),
        lambda p: p.get_history([]),
        lambda p: p.set_prompt_ttl("forever"),
        lambda p: p.get_content([]),
        lambda p: p.set_responder_last_msg_id([]),
    ],
)
def test_no_method_raises_what_is_no_chatlab_error(act):
    with pytest.raises(ChatlabError):
        act(asked("a", "b"))
