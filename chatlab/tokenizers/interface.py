"""The one small interface that the rest of chatlab asks of a tokenizer.

AutoTokenizer, raw ``tokenizers``, SentencePiece and slow Python tokenizers differ in names, defaults and
in what they can tell. Each gets an adapter with this face; nothing above this room knows which one it holds.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from chatlab.errors import EncodeError
from chatlab.lexicon import lexicon_pattern
from chatlab.tokenizers.decoding import Decoder, fallback_bytes
from chatlab.tokenizers.source import Source

ID_LIMIT = 2**24
"""Ids are below; the biggest vocabularies have a million."""

Span = tuple[int, int]
"""Start and end offset in code points, end exclusive."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Token ids of a text and, where the tokenizer can tell, which characters each one came from."""

    token_ids: list[int]
    spans: list[Span] | None
    """One span of the text a token; ``None`` for tokenizers that keep no offsets."""


class Tokenizer(ABC):
    """Text to ids and back, with the two switches that decide what an echo looks like.

    ``add_special_tokens`` is off and ``skip_special_tokens`` on by default, because that is how chat programs
    call a tokenizer: the prompt text already holds its own ``<s>``, and the reader must not see them.
    """

    name: str
    """Where it came from: a hub id, a folder name, a class name."""
    loader: str
    """Which library reads it: a word of :class:`chatlab.tokenizers.loaders.Loader`."""
    source: Source | None = None
    """The files and the commit it was loaded from, where :func:`chatlab.load_tokenizer` made it."""
    wrapped: Any = None
    """The AutoTokenizer behind it, where there is one: chat templates need it."""
    versions: Mapping[str, str]
    """Library versions that take part, because the same files give other ids under other versions."""

    @abstractmethod
    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text`` with their spans.

        Raises:
            EncodeError: the text holds a lone surrogate.
        """

    @abstractmethod
    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ``token_ids``.

        Raises:
            TokenIdError: an id is outside the vocabulary.
        """

    @abstractmethod
    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id, spelled as the vocabulary spells it.

        Raises:
            TokenIdError: the id is outside the vocabulary.
        """

    @property
    @abstractmethod
    def special_strs(self) -> Mapping[str, int]:
        """Texts that this tokenizer reads as control tokens, with their ids."""

    @property
    @abstractmethod
    def vocab_len(self) -> int:
        """Number of ids, added tokens included."""

    @property
    def unk_id(self) -> int | None:
        """The id that stands for text the vocabulary lacks, if there is one."""
        return None

    def change(self, name: str, argument: object = None) -> Tokenizer | None:
        """Return a copy that differs in one named thing, or ``None`` where that thing is not there to change.

        The names are those of :mod:`chatlab.tokenizers.changes`. The copy is how a cause is proven.
        """
        return None

    def refuse_absurd_ids(self) -> None:  # noqa: B027 - most have no table that could be absurd
        """Raise a TokenizerLoadError for ids so high that a library, asked for its tables, would end the process."""

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that ``skip_special_tokens`` removes."""
        return frozenset(self.special_strs.values())

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of ``text``."""
        return self.encode_spans(text, add_special_tokens=add_special_tokens).token_ids

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Return the ids of each text; faster than one by one where the library has a batch call."""
        return [self.encode(text, add_special_tokens=add_special_tokens) for text in texts]

    def decode_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of each list of ids."""
        return [self.decode(token_ids, skip_special_tokens=skip_special_tokens) for token_ids in batch]

    def decode_own_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of ids that this tokenizer gave; a Rust tokenizer saves the check of each id."""
        return self.decode_batch(batch, skip_special_tokens=skip_special_tokens)

    def decoder(self, *, skip_special_tokens: bool = True) -> Decoder:
        """Return ``decode`` with its switch set, for a streaming detokenizer."""
        return Decoder(partial(self.decode, skip_special_tokens=skip_special_tokens), self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id that may be a part of a character; ``None`` for one of whole characters."""
        return fallback_bytes(self.piece(token_id))

    def without_special_strs(self, text: str) -> str:
        """Return ``text`` without the control tokens spelled in it: what ``skip_special_tokens`` leaves to see."""
        return self.special_pattern.sub("", text)

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Matches the longest control token at a place, as tokenizers read them."""
        return lexicon_pattern(self.special_strs)


def is_panic(error: BaseException) -> bool:
    """Whether this is a panic of Rust, which is no ``Exception`` and passes every handler."""
    return type(error).__name__ == "PanicException"


def refuse_lone_surrogates(text: str) -> None:
    r"""Raise a typed error for what is no text, or not valid Unicode.

    >>> refuse_lone_surrogates("caf\u00e9")
    >>> refuse_lone_surrogates("a\ud800")
    Traceback (most recent call last):
    chatlab.errors.EncodeError: lone surrogate U+D800 at offset 1: ...
    """
    if not isinstance(text, str):
        raise EncodeError(f"the text is {text!r:.80}: give a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X}"
        raise EncodeError(
            f"lone surrogate {found} at offset {error.start}: no tokenizer can encode it. "
            "Read the file as UTF-8, or clean the text: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        ) from error
