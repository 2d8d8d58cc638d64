"""A class of transformers with a ``decode`` of its own: chatlab shows, whole and streamed, what it shows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, WhisperTokenizer

from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.testing import tiny_tokenizer
from chatlab.tokenizers.decoding import BYTE_LEVEL
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

LETTERS = {letter: number for number, letter in enumerate(BYTE_LEVEL)}


class Shouting(PreTrainedTokenizerFast):
    """A user's own class, with the narrowest signature that works."""

    def decode(self, token_ids, skip_special_tokens=False):
        return super().decode(token_ids, skip_special_tokens=skip_special_tokens).upper()


class Dashed(PreTrainedTokenizerFast):
    """One that overrides the inner method."""

    def _decode(self, *args, **kwargs):
        return super()._decode(*args, **kwargs).replace("l", "-")


def whisper() -> WhisperTokenizer:
    tokenizer = WhisperTokenizer(vocab=LETTERS | {"<|endoftext|>": 256}, merges=[])
    tokenizer.add_tokens(["<|0.00|>", "<|1.00|>"])
    return tokenizer


def clip() -> CLIPTokenizer:
    ends = {f"{letter}</w>": 256 + number for letter, number in LETTERS.items()}
    return CLIPTokenizer(vocab=LETTERS | ends | {"<|startoftext|>": 512, "<|endoftext|>": 513}, merges=[])


KINDS: dict[str, Callable[[], Any]] = {
    "Whisper's time stamps": whisper,
    "CLIP's ends of words": clip,
    "a user's class": lambda: Shouting(tokenizer_object=tiny_tokenizer("byte-level")._rust),
    "a user's inner method": lambda: Dashed(tokenizer_object=tiny_tokenizer("byte-level")._rust),
}


@functools.cache
def tokenizer_of(kind: str) -> tuple[Any, Tokenizer]:
    theirs = KINDS[kind]()
    return theirs, as_tokenizer(theirs)


words = st.lists(st.sampled_from(["hello ", "cat", "日", "é", " ", "<|0.00|>", "<|1.00|>", "l"]), max_size=8).map(
    "".join
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=words, cut=st.floats(0, 1))
def test_the_text_is_the_one_that_the_class_shows(kind: str, text: str, cut: float) -> None:
    theirs, ours = tokenizer_of(kind)
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    whole = theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode(ids) == whole
    assert ours.decode_batch([ids, ids]) == [whole, whole]
    at = round(cut * len(ids))
    shown = theirs.decode(ids[:at], skip_special_tokens=True).rstrip("\ufffd")
    assume(whole.startswith(shown))
    detokenizer = StreamingDetokenizer(ours, ids[:at])
    assert "".join(detokenizer.put([i]) for i in ids[at:]) + detokenizer.flush() == whole[len(shown) :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_copy_decodes_as_its_class_does(kind: str) -> None:
    theirs, ours = tokenizer_of(kind)
    ids = theirs("hello cat", add_special_tokens=False)["input_ids"]
    copy = ours.change("add_byte_fallback_decoder")
    assert copy is not None
    assert copy.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
