"""Replies become the ids of a continuation, and those ids mean what the reply says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.echo.replies import Continuations, begin, carries_space
from chatlab.embedded import tokenizer_path
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer


@pytest.fixture(
    scope="module", params=["llama2-style/legacy", "llama2-style/non-legacy", "phi3-style/before", "byte-bpe"]
)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(tokenizer_path(request.param))


@given(texts=st.lists(st.text(st.sampled_from(list("ab \n\t\u65e5[\U0001f525")), max_size=12), max_size=4))
def test_a_continuation_decodes_to_its_reply(tokenizer: Tokenizer, texts: list[str]) -> None:
    continuations = Continuations(tokenizer)
    assert continuations.decode(continuations.encode(texts)) == texts


def test_a_bare_reply_gets_no_dummy_prefix() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    (bare,), (spaced,) = (Continuations(tokenizer).encode([text]) for text in ("Tokyo", " Tokyo"))
    assert not carries_space(tokenizer.piece(bare[0]))
    assert carries_space(tokenizer.piece(spaced[0]))


@pytest.mark.parametrize(
    ("reply", "begun"),
    [
        ("Yes", " Yes"),
        ("\u306f\u3044", "\u306f\u3044"),
        ("[1]", "[1]"),
        ("42", "42"),
        ("", ""),
        (" x", " x"),
        ("\u00c9t\u00e9", " \u00c9t\u00e9"),
    ],
)
def test_a_word_begins_with_its_space_where_the_script_writes_spaces(reply: str, begun: str) -> None:
    assert begin(reply, "word") == begun
    assert begin(reply, "bare") == reply
    assert begin(reply, "space") == f" {reply}"
