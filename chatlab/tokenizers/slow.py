"""Adapter for slow tokenizers: transformers' Python classes, which encode and decode but keep no offsets."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any

from tokenizers import AddedToken

from chatlab.errors import TokenIdError
from chatlab.tokenizers.decoding import Decoder, byte_level_bytes, fallback_bytes
from chatlab.tokenizers.interface import Encoding, Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.sentencepiece_model import without_dummy_prefix


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
        self._check(token_ids)
        options: dict[str, Any] = {"skip_special_tokens": skip_special_tokens}
        if self.spaces_between_special_tokens is not None:
            options["spaces_between_special_tokens"] = self.spaces_between_special_tokens
        text: str = self._slow.decode(list(token_ids), **options)
        return text

    def decoder(self, *, skip_special_tokens: bool = True) -> Decoder:
        """Return ``decode`` without clean-up, which rewrites text that was already shown: no stream can use it."""
        plain = self.change("clean_up_off") or self
        return Decoder(partial(plain.decode, skip_special_tokens=skip_special_tokens), self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id that may be a part of a character; ``None`` for one of whole characters."""
        is_byte_level = hasattr(self._slow, "byte_decoder")
        return (byte_level_bytes if is_byte_level else fallback_bytes)(self.piece(token_id))

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id."""
        self._check([token_id])
        return str(self._slow.convert_ids_to_tokens(token_id))

    def change(self, name: str, argument: object = None) -> SlowTokenizer | None:
        """Return a copy with one thing changed: a decode option, the dummy prefix, stripped ends, or added-token flags."""
        slow, spaces, kind = self._slow, self.spaces_between_special_tokens, type(self)
        if name == "clean_up_off" and slow.clean_up_tokenization_spaces:
            slow = copy.copy(slow)
            slow.clean_up_tokenization_spaces = False
        elif name == "no_spaces_between_specials" and self._puts_spaces():
            spaces = False
        elif name == "prefix_never" and hasattr(slow, "sp_model"):
            slow = copy.copy(slow)
            slow.sp_model = without_dummy_prefix(slow.sp_model)
        elif name == "decoder_keeps_ends" and _KeepsEnds.anchor_of(self):
            kind = _KeepsEnds
        elif name == "added_token_flags" and isinstance(argument, dict):
            slow = _with_flags(slow, argument)
        else:
            return None
        if slow is None:
            return None
        return kind(slow, name=f"{self.name} + {name}", spaces_between_special_tokens=spaces)

    def _puts_spaces(self) -> bool:
        if self.spaces_between_special_tokens is not None:
            return self.spaces_between_special_tokens
        parameter = inspect.signature(self._slow._decode).parameters.get("spaces_between_special_tokens")
        return parameter is not None and parameter.default is True

    def _check(self, token_ids: Sequence[int]) -> None:
        last = self.vocab_len - 1
        for token_id in token_ids:
            if not 0 <= token_id <= last:
                raise TokenIdError(f"{self.name} has no token id {token_id}: its ids end at {last}")


class _KeepsEnds(SlowTokenizer):
    """Decodes between two ids of plain text, so that nothing is stripped from the ends of what lies between."""

    @staticmethod
    def anchor_of(tokenizer: SlowTokenizer) -> list[int]:
        """Return an id that decodes to plain text, if the tokenizer has one."""
        anchor = tokenizer.encode("a")[-1:]
        return anchor if anchor and SlowTokenizer.decode(tokenizer, anchor).strip() else []

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        anchor = self.anchor_of(self)
        before = super().decode(anchor)
        after = super().decode([*anchor, *anchor]).removeprefix(before)
        text = super().decode([*anchor, *token_ids, *anchor], skip_special_tokens=skip_special_tokens)
        return text.removeprefix(before).removesuffix(after)


def _with_flags(slow: Any, flags: Mapping[str, Any]) -> Any:
    """Return a copy of a tokenizer whose added tokens all have ``flags``, or ``None`` where they have them already."""
    tokens = slow.added_tokens_decoder
    if all(getattr(token, flag) == value for token in tokens.values() for flag, value in flags.items()):
        return None
    changed = copy.copy(slow)
    changed._added_tokens_decoder = {i: _flagged(token, flags) for i, token in tokens.items()}
    return changed


def _flagged(token: AddedToken, flags: Mapping[str, Any]) -> AddedToken:
    kept = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(token.content, **{**kept, **flags})
