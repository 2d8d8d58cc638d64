"""A tokenizer whose text is the bytes of its ids, joined and read as UTF-8."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate

from chatlab.errors import EncodeError, TokenIdError
from chatlab.tokenizers.interface import Encoding, Span, Tokenizer, is_panic, refuse_lone_surrogates


class ByteTokenizer(Tokenizer):
    """A table of bytes by id, control tokens read from the text, and something that turns the rest into ids.

    The libraries behind it never read a control token from text.  The text is split at them, as the tokenizer
    classes of transformers do, so that a prompt that spells them comes out the same through either.
    """

    def __init__(
        self, *, name: str, pieces: Sequence[bytes], specials: Mapping[str, int], bos_id: int | None = None
    ) -> None:
        """Keep the bytes of each id; ``specials`` are texts that are read as one id, ``bos_id`` begins a sequence."""
        self.name, self._pieces, self._specials, self._bos_id = name, pieces, dict(specials), bos_id

    @abstractmethod
    def encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text that spells no control token."""

    def as_read(self, text: str) -> str:
        """Return the text with the characters that this tokenizer takes for others, one for one."""
        return text

    @property
    def special_strs(self) -> Mapping[str, int]:
        """Control tokens that are read from the text."""
        return self._specials

    @property
    def vocab_len(self) -> int:
        """Number of ids."""
        return len(self._pieces)

    @cached_property
    def _splitter(self) -> re.Pattern[str]:
        return re.compile(f"({self.special_pattern.pattern})")

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of ``text``; ``add_special_tokens`` puts the BOS id in front."""
        refuse_lone_surrogates(text)
        token_ids = [self._bos_id] if add_special_tokens and self._bos_id is not None else []
        for segment in filter(None, self._splitter.split(text)):
            special = self.special_strs.get(segment)
            token_ids += [special] if special is not None else self._encode_plain(segment)
        return token_ids

    def _encode_plain(self, text: str) -> list[int]:
        try:
            return self.encode_plain(text)
        except BaseException as error:
            if not (is_panic(error) or isinstance(error, Exception)):
                raise
            raise EncodeError(f"{self.name} fails on this text: {type(error).__name__}: {error}") from error

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text`` with their spans; a part of a character spans the whole of it."""
        token_ids = self.encode(text, add_special_tokens=add_special_tokens)
        begins = add_special_tokens and self._bos_id is not None
        pieces = [self._pieces[token_id] for token_id in token_ids[begins:]]
        spans = spans_of_bytes(self.as_read(text), pieces)
        return Encoding(token_ids=token_ids, spans=[(0, 0)] * begins + spans if spans is not None else None)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD."""
        self._check(token_ids)
        hidden = self.special_ids if skip_special_tokens else frozenset()
        return b"".join(self._pieces[i] for i in token_ids if i not in hidden).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id; ``None`` for a control token, which is whole characters."""
        self._check([token_id])
        return None if token_id in self.special_ids else self._pieces[token_id]

    def piece(self, token_id: int) -> str:
        """Return the text of an id; bytes that are none by themselves as ``<0xE6>``."""
        self._check([token_id])
        try:
            return self._pieces[token_id].decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in self._pieces[token_id])

    def _check(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            if not 0 <= token_id < len(self._pieces):
                raise TokenIdError.unknown(self.name, token_id, len(self._pieces) - 1)


def spans_of_bytes(text: str, pieces: Sequence[bytes]) -> list[Span] | None:
    r"""Return the characters that each piece holds a byte of, or ``None`` where the pieces are not the text's bytes.

    A piece that adds a space which the text has not, as a dummy prefix does, spans what is left of it.

    >>> spans_of_bytes("a\u00e9", [b"a", b"\xc3", b"\xa9"])
    [(0, 1), (1, 2), (1, 2)]
    >>> spans_of_bytes("ab", [b" a", b"b"])
    [(0, 1), (1, 2)]
    """
    data = text.encode()
    ends, at = [], 0
    for piece in pieces:
        own = piece if data.startswith(piece, at) else piece.removeprefix(b" ")
        if not data.startswith(own, at):
            return None
        at += len(own)
        ends.append(at)
    if at != len(data):
        return None
    # The number of characters that begin before each byte; a continuation byte begins none.
    begun = [0, *accumulate(int(byte & 0xC0 != 0x80) for byte in data)]
    return [
        (begun[start + 1] - 1 if end > start else begun[start], begun[end])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
