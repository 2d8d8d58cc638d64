"""Law L2 on every family of tokenizers: the joined deltas are the text of the output ids, however they are cut."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatlab.streaming.detokenizer import HELD_CAP, SEED_LEN, TAIL_LEN, StreamingDetokenizer
from chatlab.testing import Family, tiny_tokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer
from tests.streaming.cut_texts import ALPHABET, in_pieces, texts

FAMILIES: list[Family] = ["byte-fallback", "byte-level", "unigram", "wordpiece"]
cuts = st.randoms(use_true_random=False)


@functools.cache
def tokenizer_of(family: Family) -> Tokenizer:
    return tiny_tokenizer(family)


def reference(decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
    """Decode everything at once and take the prompt's whole characters off: slow, obvious, for valid UTF-8 only."""
    # Some decoders turn whole bytes beside an unfinished character into U+FFFD; fewer ids show those.
    shown = (decode(prompt_ids[: len(prompt_ids) - n]) for n in range(4))
    prompt = max((text.rstrip("\ufffd") for text in shown), key=len)
    whole = decode([*prompt_ids, *output_ids])
    assert whole.startswith(prompt)
    return whole[len(prompt) :]


def check_law(tokenizer: Tokenizer, text: str, random) -> None:
    ids = tokenizer.encode(text)
    cut = random.randint(0, len(ids))
    prompt_ids, output_ids = ids[:cut], ids[cut:]
    decode = tokenizer.decoder()
    detokenizer = StreamingDetokenizer(decode, prompt_ids, tokenizer.special_ids)
    deltas = in_pieces(detokenizer, output_ids, random)
    assert "".join(deltas) == reference(decode, prompt_ids, output_ids)
    assert detokenizer.flush() == ""
    detokenizer.clear()
    assert "".join(in_pieces(detokenizer, output_ids, random)) == "".join(deltas)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=400)
@given(text=texts, random=cuts)
def test_joined_deltas_are_the_text_after_the_prompt(family: Family, text: str, random) -> None:
    check_law(tokenizer_of(family), text, random)


REAL = {
    "llama-2": "llama-2",
    "mistral v1": "mistral/v1",
    "mistral v3": "mistral/v3",
    "phi-3 before": "phi-3/before",
    "phi-3 after": "phi-3/after",
    "stories260k": "stories260k",
}


@functools.cache
def real_tokenizer(folder: Path) -> Tokenizer:
    file = next((folder / name for name in ("tokenizer.json", "tokenizer.model") if (folder / name).exists()), None)
    file = file or next(folder.glob("*.model*"))
    return load_tokenizer(file)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=400)
@given(text=texts, random=cuts)
def test_joined_deltas_are_the_text_after_the_prompt_on_real_tokenizers(
    real: Path, name: str, text: str, random
) -> None:
    check_law(real_tokenizer(real / REAL[name]), text, random)


def ends_whole(tokenizer: Tokenizer, token_ids: Sequence[int]) -> bool:
    """Whether no character is left unfinished, by the bytes of the ids."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(b"".join(tokenizer.token_bytes(i) or b"" for i in token_ids))
    return not decoder.getstate()[0]


def check_written(tokenizer: Tokenizer, text: str, seed: int) -> None:
    random = Random(seed)
    ids = tokenizer.encode(text)
    cut = random.randint(0, len(ids))
    while not ends_whole(tokenizer, ids[:cut]):
        cut -= 1
    decode = tokenizer.decoder()
    detokenizer = StreamingDetokenizer(decode, ids[:cut], tokenizer.special_ids)
    deltas = in_pieces(detokenizer, ids[cut:], random)
    assert "".join(deltas) == decode(ids)[len(decode(ids[:cut])) :]


written = st.lists(st.sampled_from([*ALPHABET, *["\ufffd"] * 12, "\ufffd\ufffd"]), max_size=20).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=400)
@given(written, st.integers(0, 999))
@example("See \ufffd\ufffd\ufffd here", 0)
@example("\ufffd  ", 5)
def test_a_replacement_character_that_was_written_is_text_like_any_other(family: Family, text: str, seed: int) -> None:
    check_written(tokenizer_of(family), text, seed)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@given(text=written, seed=st.integers(0, 999))
def test_a_replacement_character_that_was_written_is_text_on_real_tokenizers(
    real: Path, name: str, text: str, seed: int
) -> None:
    check_written(real_tokenizer(real / REAL[name]), text, seed)


def byte_decode(token_ids: Sequence[int]) -> str:
    return bytes(token_ids).decode("utf-8", "replace")


def incremental(token_ids: Sequence[int]) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(bytes(token_ids)) + decoder.decode(b"", final=True)


@settings(max_examples=1000)
@given(st.binary(max_size=40), st.binary(max_size=40), cuts)
@example(b"", b"\xf0\x9f", None)
@example(b"abc " + b"\xff" * 7 + b"\xe6", b"\x97\xa5", None)  # an unfinished tail behind a long run of strays
@example(b"\x80" * 7 + b"\xc2", b"\x80", None)
@example(b"\xf0\x9f", b"\x94\xa5", None)
def test_invalid_bytes_lose_no_character_and_rewrite_nothing(prompt: bytes, output: bytes, random) -> None:
    """Invariant I2: the valid characters are those of an incremental UTF-8 decoder."""
    detokenizer = StreamingDetokenizer(byte_decode, prompt)
    deltas = (
        in_pieces(detokenizer, output, random)
        if random
        else [*map(detokenizer.put, [[b] for b in output]), detokenizer.flush()]
    )
    expected = incremental(prompt + output)[len(incremental(prompt).rstrip("\ufffd")) :]
    assert "".join(deltas).replace("\ufffd", "") == expected.replace("\ufffd", "")


@given(st.lists(st.integers(0, 511), max_size=30), st.lists(st.integers(0, 511), max_size=30))
def test_no_delta_depends_on_ids_that_come_later(prompt_ids: list[int], output_ids: list[int]) -> None:
    """Invariant I3: the deltas of a beginning are the beginning of the deltas."""
    tokenizer = tokenizer_of("byte-fallback")

    def deltas(ids: Sequence[int]) -> list[str]:
        detokenizer = StreamingDetokenizer(tokenizer.decoder(), prompt_ids, tokenizer.special_ids)
        return [detokenizer.put([i]) for i in ids]

    every = deltas(output_ids)
    assert deltas(output_ids[: len(output_ids) // 2]) == every[: len(output_ids) // 2]


@given(st.lists(st.sampled_from([*range(3, 260), 300, 400, 500]), max_size=200))
def test_the_work_for_an_id_is_bounded(token_ids: list[int]) -> None:
    tokenizer = tokenizer_of("byte-fallback")
    read = calls = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal read, calls
        read, calls = max(read, len(ids)), calls + 1
        return tokenizer.decode(ids)

    detokenizer = StreamingDetokenizer(decode, (), tokenizer.special_ids)
    for token_id in token_ids:
        detokenizer.put([token_id])
        assert len(detokenizer.held_ids) < HELD_CAP
    assert read <= SEED_LEN + TAIL_LEN + HELD_CAP
    assert calls <= 12 * len(token_ids) + 2


def test_special_ids_cost_no_decoding() -> None:
    calls = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal calls
        calls += 1
        return byte_decode(ids)

    detokenizer = StreamingDetokenizer(decode, b"abc", special_ids=[0])
    before = calls
    assert [detokenizer.put([0]) for _ in range(100)] == [""] * 100
    assert calls == before
    assert detokenizer.put(b"\0d\0") == "d"


def test_many_ids_in_one_step_give_the_same_text() -> None:
    tokenizer = tokenizer_of("byte-fallback")
    text = "Hello there 👍🏽 こんにちは\n  indented " * 20
    ids = tokenizer.encode(text)
    detokenizer = StreamingDetokenizer(tokenizer.decoder(), ids[:3])
    assert detokenizer.put(ids[3:]) + detokenizer.flush() == reference(tokenizer.decoder(), ids[:3], ids[3:])
