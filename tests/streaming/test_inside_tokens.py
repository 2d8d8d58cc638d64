"""Law L2 where ids end inside characters: tokens of several characters, in every spelling of bytes, on every side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as RustTokenizer
from transformers import PreTrainedTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.streaming.detokenizer import HELD_CAP, SEED_LEN, TAIL_LEN, StreamingDetokenizer
from chatlab.tokenizers.decoding import BYTE_LEVEL
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer

# Ids 0 to 255 are the bytes; these are tokens of more, most of which begin or end inside a character.
_TEXT = "は猫🌶é日"
LONG = [
    _TEXT.encode()[a:b]
    for a, b in [(0, 4), (1, 7), (3, 5), (4, 8), (5, 9), (6, 12), (8, 11), (10, 13), (11, 13), (12, 15)]
]
LONG += ["は".encode() + b"\xe7", b"\x8c\xab\xe3", b"\x81\x93\xe7", b" a", b"a\xf0\x9f", "\ufffd".encode()]
BYTES = list(dict.fromkeys([*(bytes([number]) for number in range(256)), *LONG]))
IDS = {piece: number for number, piece in reversed(list(enumerate(BYTES)))}
LETTERS = {number: letter for letter, number in BYTE_LEVEL.items()}


def text_of(token_ids: Sequence[int], errors: str = "replace") -> str:
    return b"".join(BYTES[i] for i in token_ids).decode(errors=errors)


class InPython(PreTrainedTokenizer):
    """A tokenizer in Python that knows bytes, and spells them in its own way."""

    def __init__(self, spell: Callable[[bytes], object], **options) -> None:
        self.spell = spell
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return len(BYTES)

    def get_vocab(self) -> dict[str, int]:
        return {str(self.spell(piece)): number for number, piece in enumerate(BYTES)}

    def convert_ids_to_tokens(self, ids, skip_special_tokens=False):
        return self.spell(BYTES[ids]) if isinstance(ids, int) else [self.spell(BYTES[i]) for i in ids]

    def decode(self, token_ids, skip_special_tokens=False, **options) -> str:
        return text_of([token_ids] if isinstance(token_ids, int) else token_ids)

    def __call__(self, text, **options):
        ids, data = [], text.encode()
        while data:
            longest = next(data[:n] for n in range(8, 0, -1) if data[:n] in IDS)
            ids.append(IDS[longest])
            data = data[len(longest) :]
        return {"input_ids": ids}


def byte_level() -> FastTokenizer:
    pieces = ["".join(LETTERS[byte] for byte in piece) for piece in BYTES]
    rust = RustTokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="a"))
    rust.decoder = decoders.ByteLevel()
    return FastTokenizer(rust)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "replacement characters": lambda: as_tokenizer(InPython(lambda piece: piece.decode(errors="replace"))),
    "byte strings": lambda: as_tokenizer(InPython(lambda piece: piece)),
    "hexadecimal": lambda: as_tokenizer(
        InPython(lambda piece: f"<0x{piece.hex()}>" if len(piece) == 1 else piece.decode(errors="replace"))
    ),
    "latin letters": lambda: as_tokenizer(InPython(lambda piece: piece.decode("latin-1"))),
    "byte-level letters": lambda: as_tokenizer(InPython(lambda piece: "".join(LETTERS[b] for b in piece))),
    "a fast byte-level one": byte_level,
}


@functools.cache
def tokenizer_of(name: str) -> Tokenizer:
    return TOKENIZERS[name]()


def ids_of(random, data: bytes) -> list[int]:
    """One of the many ways to cut bytes into tokens."""
    token_ids = []
    while data:
        piece = random.choice([piece for piece in IDS if data.startswith(piece)])
        token_ids.append(IDS[piece])
        data = data[len(piece) :]
    return token_ids


def whole(token_ids: Sequence[int]) -> str:
    """The text without the unfinished character at its end."""
    return b"".join(BYTES[i] for i in token_ids).decode(errors="ignore")


def deltas_of(decode, prompt_ids: Sequence[int], output_ids: Sequence[int], step: int = 1) -> list[str]:
    detokenizer = StreamingDetokenizer(decode, prompt_ids)
    puts = [detokenizer.put(output_ids[at : at + step]) for at in range(0, len(output_ids), step)]
    return [*puts, detokenizer.flush()]


texts = st.text(st.sampled_from("は猫🌶é日 aこ\n"), max_size=24)


@pytest.mark.parametrize("name", [*TOKENIZERS, "a bare function"])
@settings(max_examples=150)
@given(text=texts, cut=st.floats(0, 1), step=st.integers(1, 3), random=st.randoms(use_true_random=False))
@example(text="a🌶é", cut=0.0, step=1, random=__import__("random").Random(0))
def test_the_reply_is_what_comes_after_the_prompts_last_whole_character(name, text, cut, step, random) -> None:
    token_ids = ids_of(random, text.encode())
    at = round(cut * len(token_ids))
    decode = text_of if name == "a bare function" else tokenizer_of(name).decoder()
    deltas = deltas_of(decode, token_ids[:at], token_ids[at:], step)
    assert "".join(deltas) == text[len(whole(token_ids[:at])) :]
    assert not any("\ufffd" in delta for delta in deltas)


@pytest.mark.parametrize("name", [*TOKENIZERS, "a bare function"])
@settings(max_examples=100)
@given(
    prompt=st.lists(st.integers(0, len(BYTES) - 1), max_size=12),
    output=st.lists(st.one_of(st.integers(0x80, len(BYTES) - 1), st.integers(256, len(BYTES) - 1)), max_size=24),
)
def test_of_any_ids_every_whole_character_survives(name, prompt: list[int], output: list[int]) -> None:
    decode = text_of if name == "a bare function" else tokenizer_of(name).decoder()
    shown = "".join(deltas_of(decode, prompt, output)).replace("\ufffd", "")
    before, after = (text_of(ids).replace("\ufffd", "") for ids in (prompt, [*prompt, *output]))
    assert before + shown == after


def test_ids_that_all_end_inside_a_character_keep_coming() -> None:
    """Eight in a row were given up, one after the other, though each of them completes a character."""
    cycle = [
        IDS["は".encode() + b"\xe7"],
        *[IDS[b"\x8c\xab\xe3"], IDS[b"\x81\x93\xe7"]] * 60,
        IDS[b"\x8c"],
        IDS[b"\xab"],
    ]
    longest = 0

    def watched(token_ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(token_ids))
        return text_of(token_ids)

    deltas = deltas_of(watched, [IDS[b"a"]], cycle)
    assert deltas[:4] == ["は", "猫", "こ", "猫"]
    assert "".join(deltas) == "は" + "猫こ" * 60 + "猫"
    assert longest <= SEED_LEN + TAIL_LEN + 2 * HELD_CAP


@pytest.mark.parametrize("name", ["byte-bpe"])
def test_a_prompt_that_ends_inside_a_token_keeps_its_characters_on_embedded_vocabularies(name: str) -> None:
    tokenizer = load_tokenizer(tokenizer_path(name))
    ids = tokenizer.encode("吾輩は猫である。")
    at = next(n for n in range(len(ids)) if tokenizer.decode(ids[: n + 1]).endswith("は\ufffd"))
    assert "".join(deltas_of(tokenizer, ids[: at + 1], ids[at + 1 :])) == "猫である。"
    for at in range(len(ids) + 1):
        begun = tokenizer.decode(ids[:at]).rstrip("\ufffd")
        assert begun + "".join(deltas_of(tokenizer, ids[:at], ids[at:])) == "吾輩は猫である。"


@pytest.mark.parametrize("content", ["ö", "日本", "Ġx", "<|a b|>", "é"])
@pytest.mark.parametrize("special", [False, True])
@given(st.lists(st.sampled_from(["s", "ch", "n", " ", "ö", "日", None]), max_size=12), st.integers(0, 12))
def test_an_added_token_of_a_byte_level_vocabulary_is_shown_as_its_tokenizer_shows_it(
    content, special, words, at
) -> None:
    """``ö`` is read as the byte F6 by such a decoder: not what its author meant, but what the tokenizer shows."""
    tokenizer = added(content, special)
    token_id = tokenizer.rust.token_to_id(content)
    ids = [i for word in words for i in (tokenizer.encode(word) if word else [token_id])]
    decode = tokenizer.decoder(skip_special_tokens=False)
    shown = decode(ids[:at]).rstrip("\ufffd")
    streamed = "".join(deltas_of(decode, ids[:at], ids[at:]))
    assert (shown + streamed).replace("\ufffd", "") == decode(ids).replace("\ufffd", "")
    if "\ufffd" not in decode(ids[:at]):
        assert shown + streamed == decode(ids)


@functools.cache
def added(content: str, special: bool) -> FastTokenizer:
    rust = byte_level().rust
    rust.model = models.BPE(vocab={p: i for p, i in rust.get_vocab(with_added_tokens=False).items()}, merges=[])
    from tokenizers import pre_tokenizers

    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.add_tokens([AddedToken(content, special=special)])
    return FastTokenizer(rust)


def test_a_replacement_character_of_the_model_is_told_from_a_part_of_a_character_in_any_spelling() -> None:
    literal = IDS["\ufffd".encode()]
    for name in TOKENIZERS:
        tokenizer = tokenizer_of(name)
        assert tokenizer.token_bytes(literal) == "\ufffd".encode(), name
        assert tokenizer.token_bytes(0xE3) in (b"\xe3", None), name
        assert deltas_of(tokenizer, [IDS[b"a"]], [literal, IDS[b"a"]]) == ["\ufffd", "a", ""], name
        assert "".join(deltas_of(tokenizer, [IDS[b"a"], literal], [IDS[b"a"]])) == "a", name
