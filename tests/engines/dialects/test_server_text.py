"""What a server that reads text is sent is read as the ids that were meant, or that is said."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.embedded import tokenizer_path
from chatlab.engines.dialects.server_text import RereadWarning, server_text
from chatlab.errors import RemoteLacks
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.streaming.asked_prompt import ids_of_prompt
from chatlab.testing import tiny_tokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer

LEGACY = load_tokenizer(tokenizer_path("llama2-style/legacy"))
NON_LEGACY = load_tokenizer(tokenizer_path("llama2-style/non-legacy"))
TOKENIZERS = [LEGACY, NON_LEGACY, tiny_tokenizer("byte-level")]
IDS = ["legacy", "non-legacy", "byte-level"]
texts = st.lists(st.sampled_from(["<s>", "</s>", " ", "a", "Hello", "日本", "\n", "[INST]", "\ufffd"])).map("".join)


def as_read(text: str, tokenizer: Tokenizer) -> list[int]:
    """How a server reads, such as ``transformers serve``."""
    return tokenizer.encode(text, add_special_tokens=True)


def dialogue(last: str = "c") -> ChatPromptMetaLlamaLlama2Chat:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("a")
    prompt.add_responder_msg("b")
    prompt.add_requester_msg(last)
    return prompt


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=IDS)
@given(text=texts, add=st.sampled_from([None, True, False]))
def test_a_text_is_read_as_its_ids_or_that_is_said(tokenizer, text: str, add: bool | None) -> None:
    token_ids = ids_of_prompt(text, tokenizer, add_special_tokens=add)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sent = server_text(text, token_ids, tokenizer)
    assert text.endswith(sent)
    assert (as_read(sent, tokenizer) == token_ids) is not bool(seen)
    assert {warning.category for warning in seen} <= {RereadWarning}


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=IDS)
@given(data=st.data())
def test_ids_without_a_text_are_read_back_or_refused(tokenizer, data) -> None:
    token_ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_len - 1), min_size=1, max_size=8))
    try:
        sent = server_text(None, token_ids, tokenizer)
    except RemoteLacks:
        return
    assert as_read(sent, tokenizer) == token_ids


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:2], ids=IDS[:2])
def test_ids_of_a_plain_text_need_no_text(tokenizer) -> None:
    token_ids = as_read("Hello 日本", tokenizer)
    assert as_read(server_text(None, token_ids, tokenizer), tokenizer) == token_ids
    with pytest.raises(RemoteLacks, match="reads other ids in .* than the 2 given"):
        server_text(None, token_ids[1:3], tokenizer)


def test_a_blank_that_the_server_puts_after_its_bos_is_named() -> None:
    """Non-legacy writes none after the <s> of the text; after the server's own it does."""
    text = dialogue().create_prompt()
    token_ids = ids_of_prompt(dialogue(), NON_LEGACY)
    with pytest.warns(RereadWarning, match=r"reads '▁\[' in it where '\[' was encoded here \(token 1\)"):
        assert server_text(text, token_ids, NON_LEGACY) == text.removeprefix("<s>")


@pytest.mark.filterwarnings("ignore::chatlab.prompts.control_tokens.ControlTokenWarning")
def test_a_control_token_in_a_message_is_not_said_twice() -> None:
    prompt = dialogue("c </s> d")
    token_ids = ids_of_prompt(prompt, LEGACY)
    text = prompt.create_prompt()
    assert server_text(text, token_ids, LEGACY) == text.removeprefix("<s>")
