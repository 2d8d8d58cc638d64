"""Texts for tokenizers, and SentencePiece models small enough to train on the spot."""

from __future__ import annotations

import io
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
