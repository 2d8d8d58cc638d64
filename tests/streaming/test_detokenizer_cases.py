"""The detokenizing faults of other systems, each as a case: facts/streaming.md §2, numbers 1–20."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from chatlab.errors import GenerationError, TokenIdError, TokenizerLoadError
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine, tiny_tokenizer
from chatlab.tokenizers.load import as_tokenizer
from tests.streaming.pieces import Llama

NL = "<0x0A>"


def test_01_words_decoded_one_by_one_keep_the_space_between_them() -> None:
    llama = Llama("▁Hello", "▁world")
    assert llama.deltas([], llama.ids("▁Hello", "▁world")) == ["Hello", " world", ""]


def test_02_no_space_is_lost_after_a_newline() -> None:
    llama = Llama("▁def", "▁f():", "▁▁▁", "▁return", "▁1", "a", "▁b")
    assert llama.text(llama.ids("<s>"), llama.ids("▁def", "▁f():", NL, "▁▁▁", "▁return", "▁1")).endswith(
        "\n    return 1"
    )
    assert llama.text(llama.ids("▁def"), llama.ids("a", NL, "▁b")) == "a\n b"


@pytest.mark.parametrize("text", ["こんにちはこんにちはこんにちはこんに", "안녕하세요안녕하세요안녕하세요안녕하"])
def test_03_text_without_spaces_comes_as_it_is_made(text: str) -> None:
    llama = Llama(*dict.fromkeys(text))
    assert llama.deltas(llama.ids("<s>"), llama.ids(*text)) == [*text, ""]


def test_04_a_chunk_that_starts_with_a_real_space_keeps_it() -> None:
    llama = Llama("▁The", "▁cat", "▁sat")
    assert llama.deltas(llama.ids("▁The"), llama.ids("▁cat", "▁sat")) == [" cat", " sat", ""]


def test_05_indentation_keeps_all_its_spaces() -> None:
    llama = Llama("▁▁▁", "▁indented", "x")
    assert llama.text(llama.ids("x", NL), llama.ids("▁▁▁", "▁indented")) == "    indented"


@given(st.lists(st.integers(0, 292), max_size=40), st.lists(st.integers(0, 292), max_size=40))
def test_06_no_sequence_of_ids_raises(prompt_ids: list[int], output_ids: list[int]) -> None:
    text = LLAMA.text(prompt_ids, output_ids)
    assert isinstance(text, str)
    # Every whole character of the output survives; how many U+FFFD stand between them is not promised.
    assert [c for c in text if c in "日本"] == [c for c in LLAMA.tokenizer.decode(output_ids) if c in "日本"]


LLAMA = Llama(*(f"▁w{n}" for n in range(20)), *(f"w{n}" for n in range(10)), "▁", "▁▁", "日", "本")


def test_07_a_stray_byte_after_a_newline_byte_is_no_error() -> None:
    llama = Llama("ieren", "x")
    assert llama.text(llama.ids("x"), llama.ids(NL, "<0xB8>", "ieren")) == "\n\ufffdieren"


@pytest.mark.parametrize("message", ["Invalid prefix", "Invalid prefix encountered while decoding, a longer wording"])
def test_08_a_failing_decoder_is_one_typed_error_whatever_its_message(message: str) -> None:
    engine = ScriptedEngine("abc")

    def decode(token_ids, **_):
        if ord("b") in token_ids:
            raise ValueError(message)
        return "".join(map(chr, token_ids))

    engine.tokenizer.decode = decode
    reply = stream([1], engine)
    with pytest.raises(GenerationError) as caught:
        reply.result()
    assert str(caught.value.__cause__) == message
    assert reply.text == "a"
    with pytest.raises(GenerationError):
        stream([ord("b")], engine)


def test_09_a_bad_byte_costs_neither_the_space_nor_the_newline_beside_it() -> None:
    llama = Llama("▁a", "▁word", "▁next", "x")
    assert llama.text(llama.ids("x"), llama.ids("▁a", NL, "<0xB8>", "▁word", "▁next")) == " a\n\ufffd word next"


def test_10_a_prompt_that_ends_inside_a_character_never_leaks() -> None:
    llama = Llama("▁Hello", "▁there", "▁you")
    prompt = llama.ids("▁Hello", "▁there", "<0xF0>")
    assert llama.text(prompt, llama.ids("<0x9F>", "<0x94>", "<0xA5>")) == "🔥"
    assert llama.text(prompt, llama.ids("▁you")) == "\ufffd you"


def test_11_an_unfinished_character_comes_out_at_the_end() -> None:
    llama = Llama("▁hi", "x")
    deltas = llama.deltas(llama.ids("x"), llama.ids("▁hi", "<0xF0>", "<0x9F>"))
    assert deltas[:3] == [" hi", "", ""]
    assert set(deltas[3]) == {"\ufffd"}


def test_12_what_was_whole_survives_a_cut_byte_after_it() -> None:
    llama = Llama("x")
    assert llama.text(llama.ids("x"), [*llama.ids(NL), *llama.ids("<0xF0>")]) == "\n\ufffd"
    assert llama.text(llama.ids("x"), [*llama.hex_ids("🔥"), *llama.ids("<0xF0>")]) == "🔥\ufffd"


@pytest.mark.parametrize("flood", ["<0xFF>", "</s>"])
def test_13_a_stalled_window_decodes_no_growing_list(flood: str) -> None:
    llama = Llama("▁hi")
    longest = 0

    def decode(token_ids):
        nonlocal longest
        longest = max(longest, len(token_ids))
        return llama.tokenizer.decode(token_ids)

    detokenizer = StreamingDetokenizer(decode, llama.ids("▁hi"), llama.tokenizer.special_ids)
    for token_id in llama.ids(flood) * 2_000:
        detokenizer.put([token_id])
    assert longest <= 16
    assert len(detokenizer.held_ids) <= 8


def test_14_a_combining_mark_changes_no_text_that_is_out() -> None:
    llama = Llama("e", "\u0301", "x")
    assert llama.deltas(llama.ids("x"), llama.ids("e", "\u0301", "x")) == ["e", "\u0301", "x", ""]


@pytest.mark.parametrize("character", ["é", "私", "🔥", "👍🏽"])
def test_15_bytes_of_a_character_wait_until_it_is_whole(character: str) -> None:
    llama = Llama("x")
    deltas = llama.deltas(llama.ids("x"), llama.hex_ids(character))
    assert "".join(deltas) == character
    assert not any("\ufffd" in delta for delta in deltas)


def test_16_bytes_of_two_characters_are_not_glued() -> None:
    llama = Llama("x", special=["<unk>", "<s>", "</s>", "<｜end｜>"])
    assert llama.text(llama.ids("x"), llama.hex_ids("私ç§")) == "私ç§"
    assert llama.text(llama.ids("x"), llama.ids("x", "<｜end｜>")) == "x"


def test_17_the_first_space_is_taken_once() -> None:
    llama = Llama("▁", "▁leading", "▁x", "y")
    assert llama.text([], llama.ids("▁", "▁leading", "▁x")) == " leading x"
    assert llama.text(llama.ids("y"), llama.ids("▁", "▁leading", "▁x")) == "  leading x"


def test_18_clean_up_of_spaces_never_shortens_emitted_text() -> None:
    rust = tiny_tokenizer("wordpiece", ["word ' sanitize it don ' t"] * 3)._rust
    cleaning = as_tokenizer(PreTrainedTokenizerFast(tokenizer_object=rust, clean_up_tokenization_spaces=True))
    ids = cleaning.encode("word ' sanitize don ' t")
    assert cleaning.decode(ids) == "word'sanitize don't"
    detokenizer = StreamingDetokenizer(cleaning.decoder(), ids[:1])
    assert "".join(map(detokenizer.put, [[i] for i in ids[1:]])) == " ' sanitize don ' t"


def test_19_several_ids_a_step_keep_the_space_between_them() -> None:
    llama = Llama("▁logs", "▁and", "▁more", "x")
    detokenizer = StreamingDetokenizer(llama.tokenizer.decoder(), llama.ids("x"))
    assert detokenizer.put(llama.ids("▁logs")) == " logs"
    assert detokenizer.put(llama.ids("▁and", "▁more")) == " and more"


def test_20_an_id_that_no_tokenizer_knows_fails_its_request_alone() -> None:
    llama = Llama("▁a", "▁b")
    a, b = llama.ids("▁a", "▁b")
    engine = ScriptedEngine([[a, 2**40, b], [a, b]], llama.tokenizer)
    reply = stream([a], engine)
    with pytest.raises(GenerationError) as caught:
        reply.result()
    assert isinstance(caught.value.__cause__, TokenIdError)
    assert reply.text == " a"
    assert stream([a], engine).result().text == " a b"


@pytest.mark.parametrize("kind", ["ours", "raw", "AutoTokenizer"])
def test_a_tokenizer_stands_for_its_decoder_and_what_is_none_is_refused_at_once(kind: str) -> None:
    ours = tiny_tokenizer("byte-level")
    raw = ours._rust
    tokenizer = {"ours": ours, "raw": raw, "AutoTokenizer": PreTrainedTokenizerFast(tokenizer_object=raw)}[kind]
    ids = ours.encode("Hello <s>é")
    detokenizer = StreamingDetokenizer(tokenizer, ids[:1])
    assert "".join(detokenizer.put([i]) for i in ids[1:]) == ours.decode(ids)[len(ours.decode(ids[:1])) :]
    for wrong in ([1], {"decode": 1}, None):
        with pytest.raises(TokenizerLoadError, match="is no tokenizer that chatlab knows: give"):
            StreamingDetokenizer(wrong)  # type: ignore[arg-type]
