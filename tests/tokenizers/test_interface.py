"""What every tokenizer promises, whichever library reads it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertGenerationTokenizer, ByT5Tokenizer

from chatlab.embedded import tokenizer_names, tokenizer_path
from chatlab.errors import EncodeError, TokenIdError
from chatlab.tokenizers.interface import Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from tests.tokenizers.samples import chat_texts

# ByT5 tells its own users not to spell </s>; these texts do so on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:This sequence already has </s>:UserWarning")

MODEL = tokenizer_path("llama2-style/legacy") / "tokenizer.model"
KINDS = [*tokenizer_names(), "sentencepiece legacy", "sentencepiece non-legacy", "slow bytes", "slow sentencepiece"]
LINES = chat_texts("<s>", "</s>", "<unk>", "<|user|>", "<|end|>", "[SEP]", "<|im_end|>", "[INST]")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    match request.param:
        case "sentencepiece legacy":
            return load_tokenizer(MODEL)
        case "sentencepiece non-legacy":
            return load_tokenizer(MODEL, legacy=False)
        case "slow bytes":
            return as_tokenizer(ByT5Tokenizer())
        case "slow sentencepiece":
            return as_tokenizer(BertGenerationTokenizer(str(MODEL)))
    return load_tokenizer(tokenizer_path(request.param))


@given(texts=st.lists(LINES, max_size=5), add=st.booleans(), skip=st.booleans())
@settings(max_examples=60)
def test_a_batch_is_its_texts_one_by_one(tokenizer: Tokenizer, texts: list[str], add: bool, skip: bool) -> None:
    batch = tokenizer.encode_batch(texts, add_special_tokens=add)
    assert batch == [tokenizer.encode(text, add_special_tokens=add) for text in texts]
    assert batch == [tokenizer.encode_spans(text, add_special_tokens=add).token_ids for text in texts]
    echoes = tokenizer.decode_batch(batch, skip_special_tokens=skip)
    assert echoes == [tokenizer.decode(token_ids, skip_special_tokens=skip) for token_ids in batch]


@given(text=LINES, add=st.booleans())
@settings(max_examples=60)
def test_spans_lie_in_the_text_and_run_left_to_right(tokenizer: Tokenizer, text: str, add: bool) -> None:
    encoding = tokenizer.encode_spans(text, add_special_tokens=add)
    if encoding.spans is None:
        return
    assert len(encoding.spans) == len(encoding.token_ids)
    assert all(0 <= start <= end <= len(text) for start, end in encoding.spans)
    own = [span for span in encoding.spans if span != (0, 0)]
    assert own == sorted(own)


@given(text=LINES)
@settings(max_examples=60)
def test_spans_cover_all_but_the_whitespace(tokenizer: Tokenizer, text: str) -> None:
    """Pre-tokenizers and strip flags drop whitespace, normalizers drop marks; no letter is without an id."""
    spans = tokenizer.encode_spans(text).spans
    if spans is None:
        return
    covered = {offset for start, end in spans for offset in range(start, end)}
    assert not [c for offset, c in enumerate(text) if offset not in covered and c.isascii() and c.isalnum()]


def test_every_id_has_a_piece_and_no_other_has(tokenizer: Tokenizer) -> None:
    assert all(isinstance(tokenizer.piece(token_id), str) for token_id in range(tokenizer.vocab_len))
    for token_id in (-1, tokenizer.vocab_len, 1 << 40, -(1 << 40)):
        with pytest.raises(TokenIdError, match=rf"no token id {token_id}\b.* end at {tokenizer.vocab_len - 1}"):
            tokenizer.piece(token_id)


@pytest.mark.parametrize("skip", [True, False])
def test_an_id_outside_the_vocabulary_is_never_left_out_in_silence(tokenizer: Tokenizer, skip: bool) -> None:
    good = tokenizer.encode("a b")
    for token_id in (-1, tokenizer.vocab_len, 1 << 40):
        with pytest.raises(TokenIdError, match=f"no token id {token_id}"):
            tokenizer.decode([*good, token_id], skip_special_tokens=skip)
        with pytest.raises(TokenIdError, match=f"no token id {token_id}"):
            tokenizer.decode_batch([good, [*good, token_id]], skip_special_tokens=skip)
        with pytest.raises(TokenIdError, match=f"no token id {token_id}"):
            tokenizer.decoder(skip_special_tokens=skip)([token_id])


def test_a_lone_surrogate_is_named_with_its_place(tokenizer: Tokenizer) -> None:
    for call in (tokenizer.encode, tokenizer.encode_spans, lambda text: tokenizer.encode_batch(["ok", text])):
        with pytest.raises(EncodeError, match=r"lone surrogate U\+DFFF at offset 3"):
            call("abc\udfffd")


def test_control_tokens_are_read_from_text_and_skipped(tokenizer: Tokenizer) -> None:
    assert tokenizer.special_strs
    for text, token_id in tokenizer.special_strs.items():
        assert tokenizer.encode(text)[-1] == token_id
        assert tokenizer.piece(token_id) == text
        assert tokenizer.decode([token_id], skip_special_tokens=True) == ""
        assert tokenizer.decode([token_id], skip_special_tokens=False) == text
    assert tokenizer.special_ids == set(tokenizer.special_strs.values())


def test_nothing_is_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert tokenizer.encode_batch([]) == tokenizer.decode_batch([]) == []
    assert tokenizer.decode([]) == tokenizer.decode([], skip_special_tokens=False) == ""


@given(text=LINES, skip=st.booleans())
@settings(max_examples=30)
def test_the_decoder_is_decode_with_its_switch_set(tokenizer: Tokenizer, text: str, skip: bool) -> None:
    token_ids = tokenizer.encode(text)
    if getattr(tokenizer, "clean_up", None) is None:  # clean-up rewrites shown text, so the stream's decoder has none
        assert tokenizer.decoder(skip_special_tokens=skip)(token_ids) == tokenizer.decode(
            token_ids, skip_special_tokens=skip
        )


def test_a_change_that_does_not_apply_is_none(tokenizer: Tokenizer) -> None:
    assert tokenizer.change("no such change") is None
    assert tokenizer.change("no_truncation") is None


def test_the_longest_control_token_is_taken_out_of_a_text() -> None:
    tokenizer = load_tokenizer(tokenizer_path("phi3-style/before"))
    assert tokenizer.without_special_strs("<s><|user|>\nHi<|end|> <s") == "\nHi <s"


@pytest.mark.parametrize("text", ["a\ud83d", "\ude00b", "\ud83d\ude00", "\ud83d\ud83d\ude00!"])
def test_the_advice_for_a_lone_surrogate_works(text: str) -> None:
    with pytest.raises(EncodeError, match=r"text\.encode\('utf-16', 'surrogatepass'\)\.decode\('utf-16', 'replace'\)"):
        refuse_lone_surrogates(text)
    refuse_lone_surrogates(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
