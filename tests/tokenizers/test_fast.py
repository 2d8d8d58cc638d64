"""The Rust adapter: the same ids and text as the library it wraps, called directly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from chatlab.embedded import tokenizer_names, tokenizer_path
from chatlab.errors import TokenIdError
from chatlab.tokenizers.fast import FastTokenizer
from tests.tokenizers.samples import chat_texts

LINES = chat_texts("<s>", "</s>", "<|user|>", "<|end|>", "<|im_end|>", "[SEP]")


@pytest.fixture(scope="module", params=tokenizer_names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def auto(name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(tokenizer_path(name))


@pytest.fixture(scope="module")
def raw(name: str) -> RustTokenizer:
    return RustTokenizer.from_file(str(tokenizer_path(name) / "tokenizer.json"))


@given(text=LINES, add=st.booleans(), skip=st.booleans())
@settings(max_examples=80)
def test_it_is_autotokenizer_called_directly(auto: PreTrainedTokenizerFast, text: str, add: bool, skip: bool) -> None:
    ours = FastTokenizer.of_transformers(auto)
    token_ids = auto(text, add_special_tokens=add)["input_ids"]
    assert ours.encode(text, add_special_tokens=add) == token_ids
    assert ours.decode(token_ids, skip_special_tokens=skip) == auto.decode(token_ids, skip_special_tokens=skip)
    assert ours.decode_batch([token_ids], skip_special_tokens=skip) == auto.batch_decode(
        [token_ids], skip_special_tokens=skip
    )


@given(text=LINES, add=st.booleans(), skip=st.booleans())
@settings(max_examples=80)
def test_it_is_the_raw_tokenizer_called_directly(raw: RustTokenizer, text: str, add: bool, skip: bool) -> None:
    ours = FastTokenizer(raw)
    theirs = raw.encode(text, add_special_tokens=add)
    encoding = ours.encode_spans(text, add_special_tokens=add)
    assert (encoding.token_ids, encoding.spans) == (theirs.ids, theirs.offsets)
    assert ours.decode(theirs.ids, skip_special_tokens=skip) == raw.decode(theirs.ids, skip_special_tokens=skip)


def test_its_control_tokens_and_size_are_those_of_autotokenizer(auto: PreTrainedTokenizerFast) -> None:
    ours = FastTokenizer.of_transformers(auto)
    assert ours.vocab_len == len(auto)
    assert set(auto.all_special_tokens) <= set(ours.special_strs) | {"</s>"}  # phi3-style/after has special=false on it
    assert {t: auto.convert_tokens_to_ids(t) for t in ours.special_strs} == ours.special_strs


@pytest.mark.parametrize(
    ("name", "text", "piece"),
    [("unigram", "\U00029e3d", "<unk>"), ("wordpiece", "\U00029e3d", "[UNK]")],
    indirect=["name"],
)
def test_the_unknown_id_is_the_one_unknown_text_gets(name: str, text: str, piece: str, raw: RustTokenizer) -> None:
    ours = FastTokenizer(raw)
    assert ours.unk_id in ours.encode(text)
    assert ours.piece(ours.unk_id or 0) == piece


@pytest.mark.parametrize("name", ["byte-bpe"], indirect=True)
def test_a_model_that_knows_every_byte_has_no_unknown_id(raw: RustTokenizer) -> None:
    assert FastTokenizer(raw).unk_id is None


def test_an_empty_piece_is_not_the_unknown_token() -> None:
    assert FastTokenizer(RustTokenizer(models.BPE({"": 0, "a": 1}, []))).unk_id is None


def test_ids_may_have_holes() -> None:
    holed = FastTokenizer(RustTokenizer(models.WordLevel({"a": 0, "b": 7}, unk_token="a")))
    assert holed.vocab_len == 2
    assert holed.piece(7) == "b"
    with pytest.raises(TokenIdError, match="no token id 3: its ids end at 7"):
        holed.decode([0, 3])


def test_truncation_and_padding_of_a_loaded_autotokenizer_do_not_reach_a_plain_call() -> None:
    auto = AutoTokenizer.from_pretrained(tokenizer_path("byte-bpe"))
    cut = auto("Hello there, you three", truncation=True, max_length=3, padding="max_length")["input_ids"]
    assert len(cut) == 3
    whole = FastTokenizer.of_transformers(auto).encode("Hello there, you three")
    assert whole == auto("Hello there, you three", add_special_tokens=False)["input_ids"]
    assert len(whole) > 3


def test_a_file_that_truncates_and_pads_does_so_when_it_is_read_raw() -> None:
    raw = RustTokenizer.from_file(str(tokenizer_path("byte-bpe") / "tokenizer.json"))
    raw.enable_truncation(3)
    raw.enable_padding(length=5)
    ours = FastTokenizer(raw)
    assert len(ours.encode("a")) == 5
    cut = ours.encode("Hello there, you three")
    whole, unpadded = ours.change("no_truncation"), ours.change("no_padding")
    assert whole is not None
    assert unpadded is not None
    assert whole.encode("Hello there, you three")[:3] == cut[:3]
    assert len(whole.encode("Hello there, you three")) > 5
    assert len(unpadded.encode("a")) == 1


@pytest.mark.parametrize("name", ["wordpiece"], indirect=True)
def test_clean_up_runs_where_transformers_runs_it_and_can_be_switched_off(auto: PreTrainedTokenizerFast) -> None:
    ours = FastTokenizer.of_transformers(auto)
    token_ids = ours.encode("no , it is n't")
    assert ours.decode(token_ids) == auto.decode(token_ids) == "no, it isn't"
    assert ours.decoder()(token_ids) == auto.backend_tokenizer.decode(token_ids)
    quiet = ours.change("clean_up_off")
    assert quiet is not None
    assert quiet.clean_up is None
    assert quiet.change("clean_up_off") is None


def test_clean_up_is_ignored_for_bpe_as_in_transformers_5() -> None:
    rust = RustTokenizer(models.BPE({"a": 0, " ": 1, ".": 2}, []))
    rust.decoder = decoders.Fuse()
    auto = PreTrainedTokenizerFast(tokenizer_object=rust, clean_up_tokenization_spaces=True)
    ours = FastTokenizer.of_transformers(auto)
    assert ours.decode([0, 1, 2]) == auto.decode([0, 1, 2]) == "a ."
    assert ours.change("clean_up_off") is None


def test_a_change_is_a_copy_and_is_made_once() -> None:
    ours = FastTokenizer(RustTokenizer.from_file(str(tokenizer_path("llama2-style/legacy") / "tokenizer.json")))
    before = json.dumps(ours.state)
    copy = ours.change("prefix_first_only")
    assert copy is not None
    assert copy is ours.change("prefix_first_only")
    assert copy.name.endswith("+ prefix_first_only")
    assert copy.encode("a</s>b") != ours.encode("a</s>b")
    assert json.dumps(ours.state) == before == json.dumps(json.loads(ours._rust.to_str()))


def test_strip_flags_show_in_the_spans() -> None:
    rust = RustTokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.add_special_tokens([AddedToken("<x>", rstrip=True)])
    ours = FastTokenizer(rust)
    assert ours.encode_spans("a<x>  a").spans == [(0, 1), (1, 6), (6, 7)]


def test_its_library_versions_are_told() -> None:
    raw = RustTokenizer(models.BPE({"a": 0}, []))
    assert set(FastTokenizer(raw).versions) == {"tokenizers"}
    auto = PreTrainedTokenizerFast(tokenizer_object=raw)
    assert set(FastTokenizer.of_transformers(auto).versions) == {"tokenizers", "transformers"}
