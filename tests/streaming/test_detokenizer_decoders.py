"""Law L2 on every kind of decoder that ``tokenizers`` has, alone and in sequence, over pieces that are hard for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

from chatlab.engines.scripted import ScriptedEngine
from chatlab.errors import DecodeError, GenerationError
from chatlab.streaming.detokenizer import SEED_LEN, TAIL_LEN, StreamingDetokenizer
from chatlab.streaming.stream import stream
from chatlab.tokenizers.fast import FastTokenizer

PIECES = [
    "<unk>",
    "a",
    "b",
    "ab",
    " ",
    "  ",
    "a ",
    " b",
    " c ",
    "▁",
    "▁▁",
    "▁a",
    "##a",
    "##",
    "Ġ",
    "Ġa",
    "Ċ",
    "é",
    "。",
]
PIECES += ["a</w>", "</w>", "|", "<pad>", ".", "n't", "<0x61>", "<0x20>", "<0xE3>", "<0x81>", "<0x82>"]


def spaced(*rest: decoders.Decoder) -> decoders.Decoder:
    """The Llama way, with other ends."""
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *rest])


DECODERS = (
    {
        "metaspace": lambda: decoders.Metaspace(),
        "metaspace first": lambda: decoders.Metaspace(prepend_scheme="first"),
        "metaspace never": lambda: decoders.Metaspace(prepend_scheme="never"),
        "byte level": lambda: decoders.ByteLevel(),
        "wordpiece": lambda: decoders.WordPiece(cleanup=False),
        "wordpiece cleanup": lambda: decoders.WordPiece(cleanup=True),
        "bpe": lambda: decoders.BPEDecoder(),
        "ctc": lambda: decoders.CTC(cleanup=False),
        "ctc cleanup": lambda: decoders.CTC(cleanup=True),
        "fuse": lambda: decoders.Fuse(),
        "byte fallback": lambda: decoders.ByteFallback(),
        "byte fallback, byte level": lambda: decoders.Sequence([decoders.ByteFallback(), decoders.ByteLevel()]),
        "byte fallback, metaspace": lambda: decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]),
        "metaspace, fuse, strip right": lambda: decoders.Sequence(
            [decoders.Metaspace(), decoders.Fuse(), decoders.Strip(" ", 0, 2)]
        ),
        "ctc, fuse, strip both": lambda: decoders.Sequence(
            [decoders.CTC(), decoders.Fuse(), decoders.Strip(" ", 1, 1)]
        ),
    }
    | {
        f"fused strip {left} {right} of {content!r}": functools.partial(
            lambda content, left, right: spaced(decoders.Strip(content, left, right)), content, left, right
        )
        for content, left, right in [(" ", 1, 0), (" ", 0, 1), (" ", 1, 1), (" ", 3, 2), (" ", 0, 7), ("a", 2, 1)]
    }
    | {
        f"strip {left} {right} of each piece": functools.partial(decoders.Strip, " ", left, right)
        for left, right in [(1, 0), (0, 1), (1, 1), (2, 2)]
    }
)


@functools.cache
def tokenizer_of(name: str) -> FastTokenizer:
    rust = RustTokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="<unk>"))
    rust.decoder = DECODERS[name]()
    return FastTokenizer(rust, name=name)


def ids_of(*pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces]


def in_pieces(detokenizer: StreamingDetokenizer, token_ids: Sequence[int], steps: Sequence[int]) -> list[str]:
    deltas, at = [], 0
    for step in [*steps, *[1] * len(token_ids)]:
        deltas.append(detokenizer.put(token_ids[at : at + step]))
        at += step
    return [*deltas, detokenizer.flush()]


pieces = st.one_of(
    st.integers(0, len(PIECES) - 1),
    st.sampled_from(ids_of("a", " ", "  ", "▁", "|", "<pad>", "##a", "a</w>")),
)
ids = st.lists(pieces, max_size=24)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=200)
@given(prompt_ids=ids, output_ids=ids, steps=st.lists(st.integers(0, 3), max_size=24))
def test_the_deltas_are_the_one_shot_text(name: str, prompt_ids: list[int], output_ids: list[int], steps) -> None:
    decode = tokenizer_of(name).decoder()
    try:
        shown, whole = decode(prompt_ids), decode([*prompt_ids, *output_ids])
    except DecodeError:
        assume(False)
    assume("\ufffd" not in whole)  # of invalid UTF-8 less is promised
    assume(not shown.endswith("\ufffd"))
    assume(whole.startswith(shown))
    deltas = in_pieces(StreamingDetokenizer(decode, prompt_ids), output_ids, steps)
    assert "".join(deltas) == whole[len(shown) :]


@pytest.mark.parametrize(
    ("name", "prompt", "output", "text"),
    [
        ("fused strip 0 1 of ' '", ["a"], [" ", "b"], " b"),
        ("fused strip 1 1 of ' '", ["a"], [" ", " ", "b"], "  b"),
        ("fused strip 3 2 of ' '", ["a"], [" "] * 20 + ["b"], " " * 20 + "b"),
        ("fused strip 0 7 of ' '", ["a"] + [" "] * 9, [" "] * 9 + ["b"], " " * 16 + "b"),
        ("metaspace, fuse, strip right", ["a"], ["▁", "b"], " b"),
        ("bpe", [], ["a</w>", " ", "b"], "a  b"),
        ("ctc", [], ["a", "<pad>", "a"], "aa"),
        ("ctc cleanup", [], ["a", " ", "a", "|", "|", "b"], "a a b"),
    ],
)
def test_blanks_that_a_decoder_owes_come_with_what_follows(name: str, prompt, output, text: str) -> None:
    detokenizer = StreamingDetokenizer(tokenizer_of(name).decoder(), ids_of(*prompt))
    assert "".join(in_pieces(detokenizer, ids_of(*output), [])) == text


def test_blanks_that_a_decoder_owed_come_once_when_a_stray_byte_shows_them() -> None:
    detokenizer = StreamingDetokenizer(tokenizer_of("fused strip 0 1 of ' '").decoder(), ids_of("a"))
    deltas = in_pieces(detokenizer, ids_of(" ", "<0x81>", "<0xE3>", "<0x81>", "<0x82>", "b"), [])
    assert "".join(deltas) == " \ufffdあb"


@pytest.mark.parametrize("name", ["byte fallback", "byte fallback, byte level", "byte fallback, metaspace"])
def test_byte_pieces_wait_until_their_character_is_whole(name: str) -> None:
    detokenizer = StreamingDetokenizer(tokenizer_of(name).decoder(), ids_of("a"))
    assert in_pieces(detokenizer, ids_of("<0xE3>", "<0x81>", "<0x82>"), []) == ["", "", "あ", ""]


def test_a_long_run_of_blanks_keeps_a_short_window() -> None:
    decode, longest = tokenizer_of("byte level").decoder(), 0

    def watched(token_ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(token_ids))
        return decode(token_ids)

    detokenizer = StreamingDetokenizer(watched, ids_of("a"))
    assert "".join(in_pieces(detokenizer, ids_of("Ċ") * 500 + ids_of("b"), [])) == "\n" * 500 + "b"
    assert longest <= SEED_LEN + TAIL_LEN + 1


def test_text_too_short_for_its_strip_waits_for_more() -> None:
    detokenizer = StreamingDetokenizer(tokenizer_of("fused strip 1 1 of ' '").decoder())
    assert [detokenizer.put(ids_of(piece)) for piece in (" ", "b")] == ["", "b"]


def test_a_panic_of_the_decoder_is_a_typed_error() -> None:
    """``tokenizers`` panics where a right Strip meets text shorter than it strips; a panic is no ``Exception``."""
    tokenizer = tokenizer_of("strip 1 1 of each piece")
    for fail in (
        lambda: tokenizer.decode(ids_of("a", " ")),
        lambda: tokenizer.decode_batch([ids_of("a", " ")]),
        lambda: in_pieces(StreamingDetokenizer(tokenizer.decoder()), ids_of("a", " ", "b"), []),
    ):
        with pytest.raises(DecodeError, match="strip 1 1 of each piece, Strip, fails .* right Strip .*tokenizer.json"):
            fail()


def test_a_panic_reaches_the_stream_as_its_typed_error() -> None:
    tokenizer = tokenizer_of("strip 1 1 of each piece")
    engine = ScriptedEngine([ids_of("a", " ", "b")], tokenizer=tokenizer)
    with pytest.raises(GenerationError, match="right Strip"):
        list(stream(ids_of("b"), engine))
