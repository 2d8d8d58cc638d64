"""A model's id or tokenizer picks its prompt class, and the choice says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.errors import PromptError
from chatlab.prompts.formats.registry import ALIASES, FORMATS, prompt_class, prompt_for
from chatlab.tokenizers.load import load_tokenizer

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text(encoding="utf-8"))


def test_every_model_of_the_facts_finds_its_format():
    for name, golden in GOLDENS.items():
        for model in golden["models"]:
            if "(" in model or " " in model:  # "hub template of 2023": a state of a model, not its id
                continue
            choice = prompt_for(model.replace("*", "7B"))
            other = choice.why.split("; ")[1:]
            assert choice.name == name or any(name in text for text in other), (model, choice)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "llama2-meta"),
        ("meta-llama/Llama-2-7b-chat", "llama2-chatstream"),
        ("mosaicml/mpt-7b-chat", "mpt-7b-chat"),
        ("MISTRALAI/mistral-7b-instruct-v0.3", "mistral-v3"),
        ("microsoft/Phi-3-mini-128k-instruct", "phi3-2024-07"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5"),
        ("matsuo-lab/weblab-10b-instruction-sft", "weblab-10b"),
    ],
)
def test_the_vendors_own_current_format_comes_first(model, name):
    choice = prompt_for(model)
    assert choice.name == name
    assert type(choice()) is FORMATS[name]
    assert model in choice.why


def test_an_unknown_id_says_what_can_be_done():
    with pytest.raises(PromptError, match="no prompt format is known for 'nobody/nothing'.*pass its tokenizer"):
        prompt_for("nobody/nothing")


def test_a_folder_gives_its_own_template_or_says_how_to_go_on(tmp_path):
    folder = tokenizer_path("llama2-style/legacy")
    choice = prompt_for(folder)
    assert (choice.name, choice.why) == ("chat_template", "the folder legacy carries its own chat template")
    prompt = prompt_for(str(folder))()
    prompt.add_requester_msg("Hi")
    assert "Hi" in prompt.create_prompt()
    with pytest.raises(PromptError, match=r"without a chat template .*load_tokenizer\(folder\)"):
        prompt_for(tmp_path)


def test_a_raw_tokenizer_is_guessed_by_a_telling_control_token():
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE())
    with pytest.raises(PromptError, match="'Tokenizer' has no chat template, no known id"):
        prompt_for(tokenizer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    choice = prompt_for(tokenizer)
    assert (choice.name, choice.why) == ("chatml", "a guess: its vocabulary holds '<|im_start|>'")


def test_a_class_is_found_by_format_short_or_class_name():
    assert all(prompt_class(name) is cls is prompt_class(cls.__name__) for name, cls in FORMATS.items())
    assert all(prompt_class(alias) is FORMATS[name] for alias, name in ALIASES.items())
    with pytest.raises(PromptError, match="no prompt format is called 'gpt'"):
        prompt_class("gpt")


def test_a_loaded_tokenizer_gives_the_chat_template_that_it_wraps(tmp_path):
    inner = AutoTokenizer.from_pretrained(tokenizer_path("llama2-style/legacy"))
    inner.chat_template = "{% for m in messages %}{{ '<s>' + m['content'] }}{% endfor %}"
    inner.save_pretrained(tmp_path)
    choice = prompt_for(load_tokenizer(tmp_path, loader="transformers"))
    assert choice.name == "chat_template"
    assert str(tmp_path) not in choice.why
    prompt = choice()
    prompt.add_requester_msg("Hi")
    assert prompt.create_prompt() == "<s>Hi"


def test_a_loaded_tokenizer_without_a_template_is_known_by_its_name():
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"), loader="transformers")
    tokenizer.name = "HuggingFaceH4/zephyr-7b-beta"  # a hub id, as load_tokenizer("HuggingFaceH4/...") names it
    tokenizer.wrapped.chat_template = None
    assert prompt_for(tokenizer).name == "zephyr"
