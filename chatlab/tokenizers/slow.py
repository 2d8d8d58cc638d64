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
        self._bytes: dict[int, bytes | None] = {}

    @cached_property
    def special_strs(self) -> Mapping[str, int]:
        """Every special token and its id."""
        return dict(zip(self._slow.all_special_tokens, self._slow.all_special_ids, strict=True))

    @property
    def vocab_len(self) -> int:
        """Number of ids, added tokens included; a class may spell several ids alike, so its vocabulary may list fewer."""
        return max(len(self._slow), int(self._slow.vocab_size))

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
        """Return the bytes of an id that may be a part of a character; ``None`` for whole characters, or where they do not show.

        Python tokenizers spell a byte in many ways: as ``<0xE3>``, in GPT-2's letters, as the character of that number,
        as ``bytes``, and some spell all of them as U+FFFD. A spelling counts when its bytes decode to what the id
        decodes to, and U+FFFD is itself only where it is encoded as this id.
        """
        if token_id not in self._bytes:
            self._bytes[token_id] = self._read_bytes(token_id)
        return self._bytes[token_id]

    def _read_bytes(self, token_id: int) -> bytes | None:
        self._check([token_id])
        raw = self._slow.convert_ids_to_tokens(token_id)
        if isinstance(raw, bytes):
            return raw
        shown = self._slow.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if "\ufffd" in raw:
            return raw.encode() if self._encodes_as(raw, token_id) else None
        if shown and "\ufffd" not in shown:
            return None
        for spelled in (fallback_bytes(raw), byte_level_bytes(raw), _latin_bytes(raw)):
            if spelled and shown in (spelled.decode(errors="replace"), spelled.decode(errors="ignore")):
                return spelled
        return None

    def _encodes_as(self, piece: str, token_id: int) -> bool:
        """Whether a piece with U+FFFD is text: one id for many bytes would not come back, or come back in parts."""
        token_ids = self.encode(piece.replace("\u2581", " "))
        spelled = "".join(map(str, self._slow.convert_ids_to_tokens(token_ids)))
        return token_id in token_ids and spelled.count("\ufffd") == piece.count("\ufffd")

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id; bytes that spell no text are shown with U+FFFD."""
        self._check([token_id])
        piece = self._slow.convert_ids_to_tokens(token_id)
        return piece.decode(errors="replace") if isinstance(piece, bytes) else str(piece)

    def change(self, name: str, argument: object = None) -> SlowTokenizer | None:
        """Return a copy with one thing changed: a decode option, the dummy prefix, stripped ends, or added-token flags."""
        slow, spaces, kind = self._slow, self.spaces_between_special_tokens, type(self)
        if name == "unchanged":
            slow = copy.copy(slow)
        elif name == "clean_up_off" and slow.clean_up_tokenization_spaces:
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
                raise TokenIdError.unknown(self.name, token_id, last)


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


def _latin_bytes(piece: str) -> bytes | None:
    """The bytes of a piece that spells each as the character of that number, as ByT5 does."""
    try:
        return piece.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _with_flags(slow: Any, flags: Mapping[str, Any]) -> Any:
    """Return a copy of a tokenizer whose added tokens all have ``flags``, or ``None`` where they have them already."""
    tokens = _added_tokens(slow)
    if all(getattr(token, flag) == value for token in tokens.values() for flag, value in flags.items()):
        return None
    changed = copy.copy(slow)
    changed._added_tokens_decoder = {i: _flagged(token, flags) for i, token in tokens.items()}
    return changed


def _added_tokens(slow: Any) -> Mapping[int, AddedToken]:
    """Return the added tokens by id; a back end without any, as mistral-common's, has a method that refuses."""
    tokens = slow.added_tokens_decoder
    return tokens if isinstance(tokens, Mapping) else {}


def _flagged(token: AddedToken, flags: Mapping[str, Any]) -> AddedToken:
    kept = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(token.content, **{**kept, **flags})
