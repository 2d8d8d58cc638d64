"""Law L2 on Python tokenizers: they strip both ends of whatever they decode, and may clean it up."""

from __future__ import annotations

import functools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import BertGenerationTokenizer, ByT5Tokenizer, PerceiverTokenizer, SpeechT5Tokenizer

from chatlab.embedded import tokenizer_path
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.slow import SlowTokenizer
from tests.streaming.cut_texts import in_pieces, texts

MODEL = str(tokenizer_path("llama2-style/legacy") / "tokenizer.model")
KINDS = {
    "sentencepiece": lambda: BertGenerationTokenizer(MODEL),
    "sentencepiece non-legacy": lambda: BertGenerationTokenizer(MODEL, legacy=False),
    "sentencepiece cleaned up": lambda: BertGenerationTokenizer(MODEL, clean_up_tokenization_spaces=True),
    "speech": lambda: SpeechT5Tokenizer(MODEL),
    "bytes": ByT5Tokenizer,
    "more bytes": PerceiverTokenizer,
}


@functools.cache
def tokenizer_of(kind: str) -> Tokenizer:
    return SlowTokenizer(KINDS[kind]())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(text=texts, random=st.randoms(use_true_random=False))
def test_joined_deltas_are_the_text_after_the_prompt_of_a_slow_tokenizer(kind: str, text: str, random) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    cut = random.randint(0, len(ids))
    decode = tokenizer.decoder()
    shown, whole = decode(ids[:cut]), decode(ids)
    assume("\ufffd" not in whole)
    assume(whole.startswith(shown))
    detokenizer = StreamingDetokenizer(decode, ids[:cut], tokenizer.special_ids)
    assert "".join(in_pieces(detokenizer, ids[cut:], random)) == whole[len(shown) :]


def test_clean_up_does_not_reach_a_stream() -> None:
    """It rewrites text that was already shown: ``a`` and then `` .`` become ``a.``."""
    tokenizer = tokenizer_of("sentencepiece cleaned up")
    ids = tokenizer.encode("a . b")
    assert tokenizer.decode(ids) == "a. b"
    detokenizer = StreamingDetokenizer(tokenizer.decoder())
    assert "".join(detokenizer.put([i]) for i in ids) + detokenizer.flush() == "a . b"
