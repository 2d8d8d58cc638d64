"""Adapter for slow tokenizers: transformers' Python classes, which encode and decode but keep no offsets."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

from chatlab.errors import TokenIdError
from chatlab.tokenizers.interface import Encoding, Tokenizer, refuse_lone_surrogates


class SlowTokenizer(Tokenizer):
    """A Python tokenizer of transformers, with the two decode options that change its text."""

    loader = "slow"

    def __init__(
        self, tokenizer: Any, *, name: str | None = None, spaces_between_special_tokens: bool | None = None
    ) -> None:
        """Wrap it; ``spaces_between_special_tokens`` was on by default before transformers 5."""
        self.name = name or tokenizer.name_or_path or type(tokenizer).__name__
        self.versions = {"transformers": version("transformers")}
        self.spaces_between_special_tokens = spaces_between_special_tokens
        self._slow = self.wrapped = tokenizer

    @cached_property
    def special_strs(self) -> Mapping[str, int]:
        """Every special token and its id."""
        return dict(zip(self._slow.all_special_tokens, self._slow.all_special_ids, strict=True))

    @property
    def vocab_len(self) -> int:
        """Number of ids, added tokens included."""
        return len(self._slow)

    @property
    def unk_id(self) -> int | None:
        """The id of the unknown token."""
        unk: int | None = self._slow.unk_token_id
        return unk

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text``; a slow tokenizer keeps no spans."""
        refuse_lone_surrogates(text)
        return Encoding(token_ids=self._slow(text, add_special_tokens=add_special_tokens)["input_ids"], spans=None)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text, with the class's own clean-up and spacing."""
        options = {}
        if self.spaces_between_special_tokens is not None:
            options["spaces_between_special_tokens"] = self.spaces_between_special_tokens
        text: str = self._slow.decode(list(token_ids), skip_special_tokens=skip_special_tokens, **options)
        return text

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id."""
        if not 0 <= token_id < self.vocab_len:
            raise TokenIdError(f"{self.name} has no token id {token_id}: its ids end at {self.vocab_len - 1}")
        return str(self._slow.convert_ids_to_tokens(token_id))

    def change(self, name: str, argument: object = None) -> SlowTokenizer | None:
        """Return a copy with one option changed."""
        if name == "clean_up_off" and self._slow.clean_up_tokenization_spaces:
            changed = copy.copy(self._slow)
            changed.clean_up_tokenization_spaces = False
            return SlowTokenizer(
                changed, name=f"{self.name} + {name}", spaces_between_special_tokens=self.spaces_between_special_tokens
            )
        if name == "no_spaces_between_specials" and self._puts_spaces():
            return SlowTokenizer(self._slow, name=f"{self.name} + {name}", spaces_between_special_tokens=False)
        if name == "prefix_first_only" and getattr(self._slow, "legacy", False):
            changed = copy.copy(self._slow)
            changed.legacy = False
            return SlowTokenizer(
                changed, name=f"{self.name} + {name}", spaces_between_special_tokens=self.spaces_between_special_tokens
            )
        return None

    def _puts_spaces(self) -> bool:
        if self.spaces_between_special_tokens is not None:
            return self.spaces_between_special_tokens
        parameter = inspect.signature(self._slow._decode).parameters.get("spaces_between_special_tokens")
        return parameter is not None and parameter.default is True
