"""The values of the echo room: causes, edits, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from chatlab.plain import Plain
from chatlab.tokenizers.interface import Span


class Cause(StrEnum):
    """Why one place of the echo differs from the prompt; the value is what reports print."""

    SPECIAL_REMOVED = "special token removed"
    DUMMY_PREFIX = "dummy prefix per segment"
    LEADING_SPACE = "leading space dropped"
    SPACES_BETWEEN_SPECIALS = "spaces between special tokens"
    CLEAN_UP = "clean-up of spaces"
    ADDED_TOKEN_STRIP = "added-token lstrip/rstrip"
    ADDED_TOKEN_NORMALIZED = "added-token normalized flag"
    ADDED_TOKEN_DECODED = "added token respelled by the decoder"
    NORMALIZER = "normalizer"
    PRE_TOKENIZER = "pre-tokenizer or whitespace collapse"
    SPACE_MARK = "space mark U+2581 in the text"
    UNKNOWN_TOKEN = "unknown token"
    BYTE_FALLBACK = "byte fallback or invalid UTF-8"
    DECODER_STRIP = "decoder strip"
    DECODER_JOIN = "decoder joins pieces with spaces"
    BOS_EOS_SHOWN = "BOS/EOS shown"
    TRUNCATION = "truncation"
    PADDING = "padding"
    UNEXPLAINED = "UNEXPLAINED"


CURES: Mapping[Cause, str] = {
    Cause.SPECIAL_REMOVED: "expected with skip_special_tokens=True; leave these texts out of any length",
    Cause.DUMMY_PREFIX: "load with legacy=False; that gives new ids, so check that the model still answers as it did",
    Cause.LEADING_SPACE: "do not begin a segment with a space: the ids cannot tell ' x' from 'x'",
    Cause.SPACES_BETWEEN_SPECIALS: "decode with spaces_between_special_tokens=False",
    Cause.CLEAN_UP: "decode with clean_up_tokenization_spaces=False",
    Cause.ADDED_TOKEN_STRIP: "pin the tokenizer revision; parse turns by token id, not by the whitespace after the marker",
    Cause.ADDED_TOKEN_NORMALIZED: "load a tokenizer.json whose added tokens have normalized=false",
    Cause.ADDED_TOKEN_DECODED: "the decoder reads the token's own letters as bytes or marks: take it out of added_tokens, for the model can spell the text",
    Cause.NORMALIZER: "normalize the prompt the same way before you compare",
    Cause.PRE_TOKENIZER: "the ids do not record this whitespace; do not compare lengths",
    Cause.SPACE_MARK: "replace U+2581 in user text before encoding: the tokenizer uses it for the space",
    Cause.UNKNOWN_TOKEN: "the vocabulary lacks this text: use a tokenizer with byte fallback, or replace the text",
    Cause.BYTE_FALLBACK: "never cut ids inside a character; hold them back until it completes (StreamingDetokenizer)",
    Cause.DECODER_STRIP: "decode through a window that starts before the reply (StreamingDetokenizer)",
    Cause.DECODER_JOIN: "the tokenizer file has no decoder: save it with the one its model needs",
    Cause.BOS_EOS_SHOWN: "encode with add_special_tokens=False where the prompt spells its own, or skip them in decoding",
    Cause.TRUNCATION: "shorten the dialogue by whole turns, or raise the limit",
    Cause.PADDING: "encode without padding",
    Cause.UNEXPLAINED: "please report the prompt and the tokenizer",
}
"""What to do about each cause."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The experiment behind a cause: one thing was changed, and the edit was gone."""

    changed: str
    """The one thing, in words; the name and argument of the change where the tokenizer was changed."""
    echo_before: str
    """The echo around the edit."""
    echo_after: str
    """The same place after the change."""


@dataclass(frozen=True, kw_only=True)
class Edit(Plain):
    """One difference between prompt and echo.

    Offsets count code points. Replacing every ``prompt_span`` by its ``echo_text`` turns the prompt into the echo.
    """

    told_beside = ("cure", "drift")

    kind: Literal["insert", "delete", "replace", "keep"]
    """``keep``: a control token that was to be skipped and is still there."""
    prompt_span: Span
    echo_span: Span
    prompt_text: str
    echo_text: str
    token_index: int
    """Index of the id that did it; -1 where no id stands for the place."""
    piece: str
    """That id as the vocabulary spells it."""
    cause: Cause
    also: tuple[Cause, ...] = ()
    """Further causes, where only changing all of them together undoes the edit."""
    evidence: Evidence | None = None
    """``None`` exactly for ``UNEXPLAINED``."""

    @property
    def cure(self) -> str:
        """What to do about it."""
        return CURES[self.cause]

    @property
    def drift(self) -> int:
        """Characters this edit adds to the echo that was planned: a special token removed adds 0, one kept its length."""
        planned = len(self.prompt_text) if self.cause is Cause.SPECIAL_REMOVED or self.kind == "keep" else 0
        return len(self.echo_text) - len(self.prompt_text) + planned
