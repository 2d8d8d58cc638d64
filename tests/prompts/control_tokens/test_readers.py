"""A tokenizer that its owner goes on using: a reader made earlier sees what changed."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer
from transformers.models.bert_generation.tokenization_bert_generation import BertGenerationTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.errors import ControlTokenError
from chatlab.prompts.control_tokens import ControlTokenWarning, encode_prompt
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.formats.phi3 import ChatPromptPhi3
from chatlab.prompts.formats.registry import FORMATS
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from tests.support.small_tokenizers import small_tokenizers

FOLDER = tokenizer_path("phi3-style/before")


def raw():
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return tokenizer, tokenizer, tokenizer.token_to_id


def fast():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    return tokenizer, tokenizer.backend_tokenizer, tokenizer.convert_tokens_to_ids


def loaded():
    tokenizer = load_tokenizer(FOLDER)
    return tokenizer, tokenizer.wrapped.backend_tokenizer, tokenizer.wrapped.convert_tokens_to_ids


def loaded_raw():
    tokenizer, *rest = raw()
    return as_tokenizer(tokenizer), *rest


def slow():
    tokenizer = BertGenerationTokenizer(str(tokenizer_path("llama2-style/legacy") / "tokenizer.model"))
    return tokenizer, tokenizer, tokenizer.convert_tokens_to_ids


def prompt_of(text: str) -> ChatPromptPhi3:
    prompt = ChatPromptPhi3()
    prompt.add_requester_msg(text)
    prompt.add_responder_msg(None)
    return prompt


@pytest.mark.parametrize("kind", [raw, fast, loaded, loaded_raw, slow])
@pytest.mark.parametrize("content", ["<|late|>", "er"], ids=["a new piece", "a piece of the vocabulary"])
def test_a_special_token_added_after_the_first_use_is_not_read_from_a_message(kind, content) -> None:
    tokenizer, owner, id_of = kind()
    prompt = prompt_of(f"He said {content} and {content}.")
    with warnings.catch_warnings(action="ignore"):
        encode_prompt(tokenizer, prompt)
    length = len(tokenizer) if hasattr(tokenizer, "__len__") else None
    owner.add_tokens([AddedToken(content, special=True, normalized=False)])
    if content == "er" and length is not None:
        assert len(tokenizer) == length, "the case is that the length tells nothing"
    if content == "er" and kind is slow:  # its pieces cannot be renamed, so the law is kept by a refusal
        with pytest.raises(ControlTokenError, match="builds the control tokens"):
            encode_prompt(tokenizer, prompt)
        return
    with pytest.warns(ControlTokenWarning, match=re.escape(content)):
        encoded = encode_prompt(tokenizer, prompt)
    assert id_of(content) not in encoded.token_ids


def test_a_token_named_special_after_the_first_use_is_one() -> None:
    tokenizer, *_ = fast()
    tokenizer.add_tokens(["<note>"])
    before = reader_of(tokenizer)
    tokenizer.pad_token = "<note>"
    assert reader_of(tokenizer).special - before.special == {tokenizer.convert_tokens_to_ids("<note>")}


def test_an_unchanged_tokenizer_keeps_its_reader() -> None:
    for kind in (raw, fast, loaded, slow):
        tokenizer, *_ = kind()
        assert reader_of(tokenizer) is reader_of(tokenizer)


@pytest.mark.parametrize("kind", [fast, loaded])
def test_a_call_with_truncation_or_padding_leaves_nothing_behind(kind) -> None:
    tokenizer, *_ = kind()
    owner = getattr(tokenizer, "wrapped", tokenizer)
    prompt = prompt_of("Do you know the movie Titanic? <|end|>")
    with warnings.catch_warnings(action="ignore"):
        before = encode_prompt(tokenizer, prompt).token_ids
        for switches in ({"truncation": True, "max_length": 3}, {"padding": "max_length", "max_length": 300}):
            owner("Do you know the movie Titanic?", **switches)
            assert encode_prompt(tokenizer, prompt).token_ids == before


def small(name: str) -> Tokenizer:
    """One of the small tokenizers, to be changed."""
    return Tokenizer.from_str(small_tokenizers()[name].to_str())


def ids_of(tokenizer: Any, name: str, text: str) -> list[int]:
    prompt = FORMATS[name]()
    prompt.add_requester_msg(text)
    prompt.add_responder_msg(None)
    return encode_prompt(tokenizer, prompt, warn=False).token_ids


def test_a_step_before_the_model_that_is_exchanged_counts_at_once() -> None:
    """The text of a forged token is encoded as the tokenizer encodes now."""
    tokenizer = small("metaspace first")
    before = ids_of(tokenizer, "opencalm", "one </s> two")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    after = ids_of(tokenizer, "opencalm", "one </s> two")
    assert after == ids_of(Tokenizer.from_str(tokenizer.to_str()), "opencalm", "one </s> two") != before
    tokenizer.normalizer = normalizers.Replace("o", "e")
    assert ids_of(tokenizer, "opencalm", "one </s> two") == ids_of(tokenizer, "opencalm", "ene </s> twe") != after


def test_flags_that_a_token_gets_later_count_at_once() -> None:
    tokenizer = small("right-stripping")
    text = "one <s> two"
    before = ids_of(tokenizer, "phi3-2024-07", text)
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False)])  # not rstrip any more
    fresh = Tokenizer.from_str(tokenizer.to_str())
    assert ids_of(tokenizer, "phi3-2024-07", text) == ids_of(fresh, "phi3-2024-07", text) != before


def test_special_tokens_that_are_added_around_a_text_later_stand_there_at_once() -> None:
    tokenizer = small("metaspace first")
    assert ids_of(tokenizer, "zephyr", "one <unk> two")[0] != 0
    tokenizer.post_processor = small("bos and eos added").post_processor
    ids = ids_of(tokenizer, "zephyr", "one <unk> two")
    assert (ids[0], ids[-1]) == (0, 1)


def test_a_tokenizer_trained_anew_is_read_anew() -> None:
    tokenizer = small("word level")
    ids_of(tokenizer, "opencalm", "one <s> two")
    trainer = trainers.WordLevelTrainer(special_tokens=["<s>", "</s>", "<unk>", "<|more|>"], show_progress=False)
    tokenizer.train_from_iterator(["two one <|more|> more words than before"], trainer)
    fresh = Tokenizer.from_str(tokenizer.to_str())
    text = "one <s> two <|more|> more"
    assert ids_of(tokenizer, "opencalm", text) == ids_of(fresh, "opencalm", text)
    assert tokenizer.token_to_id("<|more|>") not in ids_of(tokenizer, "opencalm", text)
