"""Texts for tokenizers, and SentencePiece models small enough to train on the spot."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import sentencepiece
from hypothesis import strategies as st

TEXT = st.text(
    st.one_of(st.sampled_from(list("abHe .,!\n\t'0\u2581\u65e5\u672c\u00e9e\u0301\U0001f525\u200d\u3000\u00a0")), st.characters(exclude_categories=["Cs"])),
    max_size=24,
)  # fmt: skip


def chat_texts(*markers: str) -> st.SearchStrategy[str]:
    """Texts in which control tokens are spelled."""
    return st.lists(st.one_of(TEXT, st.sampled_from(markers)), max_size=6).map("".join)


def train(**options: Any) -> sentencepiece.SentencePieceProcessor:
    """A small SentencePiece model of a few English words."""
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "while",
        "rain",
        "falls",
        "on",
        "ground",
    ]
    lines = (" ".join(words[i % 7 :: 1 + i % 3]) for i in range(60))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, model_type="bpe", vocab_size=400, hard_vocab_limit=False,
        minloglevel=2, **options,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write_gguf(path: Path, values: dict[str, object]) -> Path:
    """Write a GGUF file that holds metadata and no tensor (github.com/ggml-org/ggml, docs/gguf.md)."""

    def text(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    def one(value: object) -> tuple[int, bytes]:
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return 4, struct.pack("<I", value)
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str):
            return 8, text(value)
        if isinstance(value[0], int):  # llama.cpp refuses token types that are not signed
            return 9, struct.pack(f"<IQ{len(value)}i", 5, len(value), *value)
        kinds = [one(item) for item in value]
        return 9, struct.pack("<IQ", kinds[0][0], len(kinds)) + b"".join(data for _, data in kinds)

    body = b"".join(text(key) + struct.pack("<I", one(value)[0]) + one(value)[1] for key, value in values.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + body)
    return path


def gguf_fields(model: sentencepiece.SentencePieceProcessor, **more: object) -> dict[str, Any]:
    """What a GGUF file says of a SentencePiece model."""
    ids = range(model.vocab_size())
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]
    return {
        "general.architecture": "llama",
        "general.name": "tiny",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": [float(model.get_score(i)) for i in ids],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }
