"""A model's id or tokenizer picks its prompt class, and the choice says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.errors import PromptError, UnknownFormat
from chatlab.prompts.formats.registry import ALIASES, FORMATS, prompt_class
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.choice import prompt_for
from chatlab.tokenizers.load import load_tokenizer
from tests.support.templates import fast_tokenizer

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


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5"),
        ("Qwen/Qwen2-57B-A14B-Instruct", "qwen2"),
        ("lmsys/vicuna-33b-v1.3", "vicuna-v1.1"),
        ("google/gemma-1.1-7b-it", "gemma"),
    ],
)
def test_a_sibling_has_its_own_familys_default(model, name):
    assert prompt_for(model).name == name


@pytest.mark.parametrize(
    "model",
    [
        "Qwen/Qwen2.5-Math-7B-Instruct",
        "Qwen/Qwen2-Math-7B-Instruct",
        "Qwen/Qwen2-Audio-7B-Instruct",
        "Qwen/Qwen2.5-Omni-7B",
        "Qwen/Qwen2.5-7B",
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        "bartowski/Qwen2.5-7B-Instruct-GGUF",
        "someone/Qwen2.5-7B-Instruct",
        "Qwen/Qwen1.5-MoE-A2.7B-Chat",
        "google/gemma-1.1-9b-code-it",
        "google/codegemma-7b-it",
        "lmsys/vicuna-13b-delta-v1.3",
        "lmsys/longchat-7b-v1.5-32k",
        "mistralai/Mistral-7B-v0.3",
        "mistralai/Ministral-3-8B-Instruct-2512",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "microsoft/Phi-3-vision-128k-instruct",
        "microsoft/Phi-3.5-MoE-instruct",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B-GGUF",
    ],
)
def test_a_sibling_that_nobody_looked_at_is_not_claimed(model):
    with pytest.raises(PromptError, match="no prompt format is known for"):
        prompt_for(model)


def test_no_family_claims_models_by_pattern():
    assert not [m for cls in FORMATS.values() for m in cls.format.models if "*" in m or "?" in m]


def test_the_vl_class_says_what_the_published_template_says(real):
    template = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"][
        "qwen2_5_vl"
    ]
    tokenizer = fast_tokenizer("byte bpe", template)
    for system in (None, "Be brief."):
        ours, theirs = prompt_for("Qwen/Qwen2.5-VL-7B-Instruct")(), ChatTemplatePrompt(tokenizer)
        for prompt in (ours, theirs):
            if system is not None:
                prompt.set_system_prompt(system)
            prompt.add_requester_msg("Hi")
            prompt.add_responder_msg(None)
        assert ours.create_prompt() == theirs.create_prompt()


def test_an_unknown_name_says_which_are_near():
    for ask in (prompt_class, FORMATS.__getitem__):
        with pytest.raises(UnknownFormat, match="^no prompt format is called 'chat-ml': did you mean 'chatml'"):
            ask("chat-ml")
        with pytest.raises(KeyError):
            ask("nothing like it")
        with pytest.raises(PromptError):
            ask(None)
    assert FORMATS.get("chat-ml") is None
    assert "chat-ml" not in FORMATS


def test_an_unknown_id_names_the_models_that_are_near():
    with pytest.raises(PromptError, match="though for Qwen/Qwen2.5-7B-Instruct"):
        prompt_for("Qwen/Qwen2.5-7B-Instruct-AWQ")


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
