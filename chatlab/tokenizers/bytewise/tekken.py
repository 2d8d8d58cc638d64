"""Adapter for ``tekken.json``, read by mistral-common."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chatlab.tokenizers.bytewise.byte_tokenizer import ByteTokenizer
from chatlab.tokenizers.interface import ID_LIMIT
from chatlab.tokenizers.loaders import Loader, lacks


class TekkenTokenizer(ByteTokenizer):
    """Mistral's byte-pair vocabulary; its control tokens come first, at the ids that the file gives them."""

    loader = Loader.MISTRAL

    def __init__(self, tekkenizer: Any, *, name: str = "tekken.json") -> None:
        """Wrap a ``mistral_common.tokens.tokenizers.tekken.Tekkenizer``."""
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

        keep = SpecialTokenPolicy.KEEP
        pieces = [tekkenizer.id_to_byte_piece(i, keep) for i in range(tekkenizer.n_words)]
        specials = {pieces[i].decode(): i for i in range(tekkenizer.num_special_tokens)}
        super().__init__(name=name, pieces=pieces, specials=specials, bos_id=specials.get("<s>"))
        self.versions = {name: version(name) for name in ("mistral-common", "tiktoken")}
        self._tekkenizer = tekkenizer

    @property
    def unk_id(self) -> int | None:
        """The unknown token, which no text becomes: every byte is a piece."""
        return self._specials.get("<unk>")

    def encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text, in which no control token is looked for."""
        token_ids: list[int] = self._tekkenizer.encode(text, bos=False, eos=False)
        return token_ids


def load_tekken(file: Path, name: str) -> TekkenTokenizer:
    """Return the tokenizer of a ``tekken.json``.

    Raises:
        TokenizerLoadError: mistral-common is not installed.
        ValueError: it is told to have more tokens than anybody has.
    """
    try:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    except ImportError as error:
        raise lacks(Loader.MISTRAL, error) from error
    _refuse_absurd_counts(file)
    return TekkenTokenizer(Tekkenizer.from_file(file), name=name)


def _refuse_absurd_counts(file: Path) -> None:
    """Refuse numbers of tokens that nobody means: mistral-common makes a special token for each."""
    config = json.loads(file.read_bytes())["config"]
    for name in ("default_vocab_size", "default_num_special_tokens", "num_vocab_tokens"):
        if (config.get(name) or 0) >= ID_LIMIT:
            raise ValueError(f"its {name} is {config[name]}: ids end at {ID_LIMIT - 1}")
