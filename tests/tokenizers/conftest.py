"""The embedded SentencePiece model, one without byte fallback, and an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from chatlab.embedded import tokenizer_path
from tests.tokenizers.samples import train


@pytest.fixture(scope="session")
def model_file() -> str:
    """The embedded SentencePiece model."""
    return str(tokenizer_path("llama2-style/legacy") / "tokenizer.model")


@pytest.fixture(scope="session")
def no_bytes() -> sentencepiece.SentencePieceProcessor:
    """A model that knows ASCII letters only and has no byte fallback."""
    return train(byte_fallback=False)


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
