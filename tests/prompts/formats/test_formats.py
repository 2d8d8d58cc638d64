"""Every format gives its vendor's text, character for character, for three dialogues."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.prompts.base import PromptTTL
from chatlab.prompts.formats import chatml, instruct, llama2, named_roles
from chatlab.prompts.formats.registry import FORMATS

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text(encoding="utf-8"))
TITANIC = ["Do you know the movie Titanic?", "Yes, I do.", "Who is the director?"]
GUIDE = "You are a concise film guide."
DIALOGUES = {"A": (["Hi"], None), "B": (TITANIC, None), "C": (TITANIC, GUIDE)}
LONG_DEFAULTS = {"llama2-chatstream": llama2.SYSTEM_PROMPT, "mpt-7b-chat": chatml.MPT_SYSTEM_PROMPT}
CASES = [(name, case) for name, golden in GOLDENS.items() for case in DIALOGUES if golden[case] is not None]

# ChatStream's class names, each with the format it must write.
CHATSTREAM = {
    "ChatPromptTogetherRedPajamaINCITEChat": "redpajama-incite-chat",
    "ChatPromptRinnaJpGptNeoxInstSft": "rinna-gpt-neox-instruct",
    "ChatPromptCyberAgentOpenCalm": "opencalm",
    "ChatPromptStockmarkGptNeoxJp": "stockmark-gpt-neox",
    "ChatPromptMetaLlamaLlama2Chat": "llama2-chatstream",
    "ChatPromptOpenlmrOpenLlama": "open-llama-qa",
    "ChatPromptStabilityAiJpGptNeoxInstSft": "japanese-stablelm-instruct-alpha",
    "ChatPromptLineCorpJpLargeLmInstSft": "line-japanese-large-lm-chatstream",
    "ChatPromptMatsuoLabJpGptNeoxInstSft": "weblab-10b-chatstream",
    "ChatPromptMosaicmlMptChat": "mpt-chat-chatstream",
    "ChatPromptDatabricksDolly": "dolly-v2-chatstream",
}


def asked(name, messages, system=None):
    prompt = FORMATS[name]()
    if system is not None:
        prompt.set_system_prompt(system)
    for index, message in enumerate(messages):
        (prompt.add_responder_msg if index % 2 else prompt.add_requester_msg)(message)
    prompt.add_responder_msg(None)
    return prompt


def golden_text(name, text):
    return text.replace("{{DEFAULT_SYSTEM}}", LONG_DEFAULTS.get(name, "{{DEFAULT_SYSTEM}}"))


def test_every_golden_has_a_class_and_every_class_a_golden():
    assert set(FORMATS) == set(GOLDENS)
    assert len(CASES) >= 120


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_prompt_is_the_golden_text(name, case):
    messages, system = DIALOGUES[case]
    assert asked(name, messages, system).create_prompt() == golden_text(name, GOLDENS[name][case])


@pytest.mark.parametrize("name", GOLDENS)
def test_the_facts_around_the_text_are_the_goldens(name):
    golden, form = GOLDENS[name], FORMATS[name].format
    assert FORMATS[name]().get_stop_strs() == golden["stop_strs"]
    assert form.bos == golden["bos"]
    assert FORMATS[name].add_special_tokens is form.add_special_tokens is golden["add_special_tokens"]
    assert (form.bos == "in_text") == golden["A"].startswith(
        ("<s>", "<bos>", "<|begin_of", "<｜begin", "<|endoftext|>")
    )


@pytest.mark.parametrize("name", LONG_DEFAULTS)
def test_long_default_system_texts_have_the_golden_hash(name):
    fact = GOLDENS[name]["default_system"]
    digest = hashlib.sha256(LONG_DEFAULTS[name].encode()).hexdigest()
    assert (len(LONG_DEFAULTS[name]), digest) == (fact["chars"], fact["sha256"])


@pytest.mark.parametrize("class_name", CHATSTREAM)
def test_classes_of_chatstream_keep_their_names(class_name):
    assert FORMATS[CHATSTREAM[class_name]].__name__ == class_name


@pytest.mark.parametrize("name", [n for n, g in GOLDENS.items() if "C_chatstream" in (g.get("extra") or {})])
def test_where_no_place_is_set_system_goes_in_front_as_it_is(name):
    prompt = asked(name, TITANIC)
    prompt.set_system(GUIDE)
    assert prompt.create_prompt() == GOLDENS[name]["extra"]["C_chatstream"]


@pytest.mark.parametrize("name", ["japanese-stablelm-instruct-alpha", "weblab-10b-chatstream", "dolly-v2-chatstream"])
def test_where_there_is_a_preamble_set_system_replaces_it(name):
    prompt = asked(name, TITANIC)
    prompt.set_system(GUIDE)
    assert prompt.create_prompt() == GOLDENS[name]["C"]


def test_a_system_text_without_a_place_goes_before_the_first_question():
    assert asked("gemma", TITANIC, GUIDE).create_prompt() == GOLDENS["gemma"]["extra"]["C_merged"]
    prompt = asked("redpajama-incite-chat", TITANIC, GUIDE)
    assert prompt.create_prompt().startswith(f"<human>: {GUIDE}\n\nDo you know the movie Titanic?\n<bot>: ")


def test_no_reply_is_opened_unless_asked():
    for name in FORMATS:
        prompt = asked(name, ["Hi"])
        opened = prompt.create_prompt()
        prompt.remove_last_message()
        reply_open = FORMATS[name].format.reply_open
        assert opened.startswith(prompt.create_prompt())
        assert len(prompt.create_prompt()) == len(opened) - len(prompt._named(reply_open))


def test_open_calm_never_repeats_the_last_message():
    assert asked("opencalm", ["Hi"]).create_prompt() == "Hi"


def test_rinna_writes_every_newline_as_its_own():
    fact = GOLDENS["rinna-gpt-neox-instruct"]["extra"]["newlines_card"]
    prompt = asked("rinna-gpt-neox-instruct", fact["dialogue"])
    assert prompt.create_prompt() == fact["prompt"]
    assert prompt.get_replacement_when_input() == [("\n", "<NL>")]
    assert prompt.get_replacement_when_output() == [("<NL>", "\n")]


def test_a_new_role_name_reaches_the_stop_strings_too():
    prompt = named_roles.ChatPromptTogetherRedPajamaINCITEChat()
    prompt.set_requester("<user>")
    prompt.add_requester_msg("Hi")
    assert prompt.create_prompt() == "<user>: Hi\n"
    assert prompt.get_stop_strs() == ["<user>:", "<|endoftext|>"]


@pytest.mark.parametrize("name", ["llama3", "llama3.1", "gemma", "gemma3", "llama2-meta", "codellama-70b-instruct"])
def test_formats_that_strip_messages_strip_them(name):
    padded = asked(name, [f" \n{message}\n " for message in TITANIC]).create_prompt()
    assert padded == asked(name, TITANIC).create_prompt()


def test_meta_strips_the_question_with_the_system_text_before_it():
    prompt = asked("llama2-meta", ["  Hi  "], "S").create_prompt()
    assert prompt == "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n  Hi [/INST]"


def test_deepseek_shows_earlier_answers_without_their_thoughts():
    prompt = asked("deepseek-r1-distill", ["a", "<think>\nhm</think>b", "c"])
    assert "hm" not in prompt.create_prompt()
    assert "<｜Assistant｜>b<｜end▁of▁sentence｜>" in prompt.create_prompt()


@pytest.mark.parametrize("name", [n for n in FORMATS if FORMATS[n].format.single_turn])
def test_single_turn_formats_show_the_last_question_alone(name):
    assert asked(name, TITANIC).create_prompt() == asked(name, TITANIC[-1:]).create_prompt()
    prompt = asked(name, TITANIC)
    prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
    assert TITANIC[0] in prompt.create_prompt()


def test_weblab_in_many_turns_differs_from_rakuda_by_its_last_newline_only():
    prompt = asked("weblab-10b", TITANIC)
    prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
    assert prompt.create_prompt() + "\n" == GOLDENS["weblab-10b"]["extra"]["B_rakuda"]


def test_a_placeholder_that_was_never_filled_is_not_shown():
    for name in FORMATS:
        prompt = asked(name, ["a"])
        prompt.add_requester_msg("b")
        assert "None" not in prompt.create_prompt()


@given(st.sampled_from(sorted(FORMATS)), st.lists(st.text(), min_size=1, max_size=5), st.one_of(st.none(), st.text()))
def test_plain_data_bring_every_class_back(name, messages, system):
    prompt = asked(name, messages[: len(messages) - 1 + len(messages) % 2], system)
    back = type(prompt).from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert back.create_prompt() == prompt.create_prompt()
    assert back.to_dict() == prompt.to_dict() == pickle.loads(pickle.dumps(prompt)).to_dict()


def test_japanese_preambles_differ_by_card():
    assert instruct.ChatPromptWeblab10b.format.preamble != instruct.ChatPromptJapaneseStableLMInstructV2.format.preamble


@pytest.mark.parametrize("name", FORMATS)
def test_building_a_prompt_is_linear_in_its_turns(name):
    """Counted in function calls, which no slow machine changes."""

    def calls(turns):
        prompt = asked(name, ["a question"] + ["an answer", "a question"] * (turns - 1))
        prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
        count = 0

        def counting(*_):
            nonlocal count
            count += 1

        sys.setprofile(counting)
        try:
            prompt.create_prompt()
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(50), calls(100)
    assert many - few <= few * 1.02
