"""Adapter for a bare SentencePiece ``tokenizer.model``: the reference that Llama-2's first users had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import chain

from sentencepiece import SentencePieceProcessor

from chatlab.errors import TokenIdError
from chatlab.tokenizers.interface import Encoding, Tokenizer, refuse_lone_surrogates

# A serialized ModelProto with a second NormalizerSpec (field 3) appended: protobuf merges the two, the later
# value of each field wins (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So one setting
# changes without rebuilding the model. Field numbers: sentencepiece_model.proto.
_OVERRIDES = {
    "unchanged": b"",
    "prefix_every_segment": b"",
    "prefix_never": b"\x1a\x02\x18\x00",  # normalizer_spec.add_dummy_prefix = false
    "keep_extra_whitespace": b"\x1a\x02\x20\x00",  # normalizer_spec.remove_extra_whitespaces = false
    "keep_text": b"\x1a\x02\x12\x00",  # normalizer_spec.precompiled_charsmap = ""
}


COPY_CAP = 64
"""Changed copies that one tokenizer keeps."""


def _user_defined_piece(text: str) -> bytes:
    """Return one serialized piece (field 1: text, type USER_DEFINED) to append to a ModelProto."""
    written = text.encode()
    piece = b"\x0a" + _varint(len(written)) + written + b"\x18\x04"
    return b"\x0a" + _varint(len(piece)) + piece


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + _varint(number // 128)


def without_dummy_prefix(processor: SentencePieceProcessor) -> SentencePieceProcessor:
    """Return a copy of a processor that adds no dummy prefix."""
    return _appended(processor, _OVERRIDES["prefix_never"])


def _appended(processor: SentencePieceProcessor, proto: bytes) -> SentencePieceProcessor:
    model = SentencePieceProcessor()
    model.load_from_serialized_proto(processor.serialized_model_proto() + proto)
    return model


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model with control tokens read from the text, as the Llama-2 tokenizer classes do.

    SentencePiece itself never reads ``<s>`` from text. The tokenizer classes split the text at control tokens
    and encode each segment. With ``legacy=True`` every segment gets the dummy prefix, as if a sentence began
    there; with ``legacy=False`` only the first does.
    """

    loader = "sentencepiece"

    def __init__(
        self, processor: SentencePieceProcessor, *, legacy: bool = True, name: str = "tokenizer.model"
    ) -> None:
        """Wrap a processor; ``legacy`` is the switch of transformers' Llama tokenizers, on there until 2023-07."""
        self.name, self.legacy = name, legacy
        self.versions = {"sentencepiece": version("sentencepiece")}
        self._first = processor
        self._changed: dict[str, SentencePieceTokenizer | None] = {}

    def serialized_model(self) -> bytes:
        """Return the model file's bytes."""
        data: bytes = self._first.serialized_model_proto()
        return data

    @cached_property
    def _rest(self) -> SentencePieceProcessor:
        return self._first if self.legacy else without_dummy_prefix(self._first)

    @cached_property
    def special_strs(self) -> Mapping[str, int]:
        """Control pieces and the unknown piece."""
        sp = self._first
        return {sp.id_to_piece(i): i for i in range(sp.vocab_size()) if sp.is_control(i) or sp.is_unknown(i)}

    @cached_property
    def _splitter(self) -> re.Pattern[str]:
        return re.compile(f"({self.special_pattern.pattern})")

    @property
    def vocab_len(self) -> int:
        """Number of pieces."""
        return int(self._first.vocab_size())

    @property
    def unk_id(self) -> int | None:
        """The id of the unknown piece."""
        return int(self._first.unk_id())

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text`` with their spans; ``add_special_tokens`` puts the BOS id in front."""
        refuse_lone_surrogates(text)
        token_ids, spans, offset, processor = [], [], 0, self._first
        if add_special_tokens and self._first.bos_id() >= 0:
            token_ids, spans = [self._first.bos_id()], [(0, 0)]
        for segment in self._splitter.split(text):
            if segment in self.special_strs:
                token_ids.append(self.special_strs[segment])
                spans.append((offset, offset + len(segment)))
            elif segment:
                part = processor.encode(segment, return_type="offset_mapping")
                token_ids += part["ids"]
                spans += [(offset + start, offset + end) for start, end in part["offsets"]]
            if segment:
                processor = self._rest
            offset += len(segment)
        return Encoding(token_ids=token_ids, spans=spans)

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Return the ids of each text; all segments go to SentencePiece in two calls."""
        for text in texts:
            refuse_lone_surrogates(text)
        split = [[segment for segment in self._splitter.split(text) if segment] for text in texts]
        plain = [[s for s in segments if s not in self.special_strs] for segments in split]
        opens = [bool(segments) and segments[0] not in self.special_strs for segments in split]
        firsts = iter(self._first.encode([p[0] for p, is_open in zip(plain, opens, strict=True) if is_open]))
        rests = iter(
            self._rest.encode(list(chain.from_iterable(p[is_open:] for p, is_open in zip(plain, opens, strict=True))))
        )
        start = [self._first.bos_id()] if add_special_tokens and self._first.bos_id() >= 0 else []
        batch = []
        for segments in split:
            token_ids = list(start)
            for number, segment in enumerate(segments):
                special = self.special_strs.get(segment)
                token_ids += [special] if special is not None else next(rests if number else firsts)
            batch.append(token_ids)
        return batch

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text; control tokens are spelled out when they are not skipped."""
        self._check(token_ids)
        if skip_special_tokens:
            text: str = self._first.decode([i for i in token_ids if i not in self.special_ids])
            return text
        parts, run, at_start = [], list[int](), True
        for token_id in [*token_ids, None]:
            if token_id is not None and token_id not in self.special_ids:
                run.append(token_id)
                continue
            if run:
                # SentencePiece drops the space of the first piece of every call; only a text's first has none.
                text = self._first.decode(run)
                parts.append(text if at_start or not self._drops_space(run[0]) else f" {text}")
                at_start, run = False, []
            if token_id is not None:
                parts.append(self._first.id_to_piece(token_id))
                at_start = False
        return "".join(parts)

    def decode_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of each list of ids."""
        if not skip_special_tokens:
            return super().decode_batch(batch, skip_special_tokens=False)
        for token_ids in batch:
            self._check(token_ids)
        specials = self.special_ids
        texts: list[str] = self._first.decode([[i for i in ids if i not in specials] for ids in batch]) if batch else []
        return texts

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id."""
        self._check([token_id])
        piece: str = self._first.id_to_piece(token_id)
        return piece

    def change(self, name: str, argument: object = None) -> SentencePieceTokenizer | None:
        """Return a copy with one thing changed: the legacy switch or one field of the normalizer."""
        key = f"{name} {argument!r}"
        if key not in self._changed:
            if len(self._changed) >= COPY_CAP:  # texts of one prompt: all kept, they would pile up
                self._changed.pop(next(iter(self._changed)))
            self._changed[key] = self._copy(name, argument)
        return self._changed[key]

    def _copy(self, name: str, argument: object) -> SentencePieceTokenizer | None:
        if name == "prefix_first_only":
            return (
                SentencePieceTokenizer(self._first, legacy=False, name=f"{self.name} + {name}") if self.legacy else None
            )
        if name in _OVERRIDES:
            return SentencePieceTokenizer(
                self._with(_OVERRIDES[name]), legacy=self.legacy, name=f"{self.name} + {name}"
            )
        if name == "know_the_unknown" and isinstance(argument, list | tuple):
            unk, new = self._first.unk_id(), [text.replace(" ", "\u2581") for text in argument]
            new = [text for text in dict.fromkeys(new) if text and self._first.piece_to_id(text) == unk]
            if not new:
                return None
            known = self._with(b"".join(map(_user_defined_piece, new)))
            return SentencePieceTokenizer(known, legacy=self.legacy, name=f"{self.name} + {name}")
        return None

    def _with(self, appended: bytes) -> SentencePieceProcessor:
        return _appended(self._first, appended)

    def _drops_space(self, token_id: int) -> bool:
        return bool(self._first.id_to_piece(token_id).startswith("\u2581")) and self._adds_prefix

    @cached_property
    def _adds_prefix(self) -> bool:
        pieces = self._first.encode("a", return_type=str)
        return bool(pieces) and pieces[0].startswith("\u2581")

    def _check(self, token_ids: Sequence[int]) -> None:
        last = self.vocab_len - 1
        for token_id in token_ids:
            if not 0 <= token_id <= last:
                raise TokenIdError.unknown(self.name, token_id, last)
