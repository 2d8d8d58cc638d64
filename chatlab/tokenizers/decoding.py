"""Ids to text, with what a stream must know beside the text: which bytes of a character an id is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain

Decode = Callable[[Sequence[int]], str]
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How SentencePiece spells a byte of a character that its vocabulary lacks."""


def _byte_level_alphabet() -> dict[str, int]:
    """The character that byte-level vocabularies write for each byte, as GPT-2 chose them.

    Printable ones stand for themselves, the others for characters from U+0100 on, in order.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in plain)
    return dict(chain(((chr(b), b) for b in plain), ((chr(256 + n), b) for n, b in enumerate(others))))


BYTE_LEVEL = _byte_level_alphabet()


def fallback_bytes(piece: str) -> bytes | None:
    r"""Return the byte of a byte piece, and the bytes of a piece that spells U+FFFD; ``None`` for all others.

    >>> fallback_bytes("<0xEF>"), fallback_bytes("a")
    (b'\xef', None)
    """
    found = BYTE_PIECE.fullmatch(piece)
    if found:
        return bytes([int(found[1], 16)])
    return piece.encode() if "\ufffd" in piece else None


def byte_level_bytes(piece: str) -> bytes | None:
    r"""Return the bytes of a piece of a byte-level vocabulary; ``None`` for an added token, which is text.

    >>> byte_level_bytes("\u0120a"), byte_level_bytes("<\u3042>")
    (b' a', None)
    """
    try:
        return bytes([BYTE_LEVEL[character] for character in piece])
    except KeyError:
        return None


class Decoder:
    """A ``decode`` for streams: called with ids, it returns their text.

    ``token_bytes`` tells a stream the bytes of an id that may be a part of a character, ``None`` for an id of whole
    characters or one whose bytes do not show. Without it, U+FFFD that the model really wrote looks like a character that is not whole yet.
    """

    __slots__ = ("_decode", "token_bytes")

    def __init__(self, decode: Decode, token_bytes: Callable[[int], bytes | None]) -> None:
        self._decode, self.token_bytes = decode, token_bytes

    def __call__(self, token_ids: Sequence[int]) -> str:
        """Return the text of the ids."""
        return self._decode(token_ids)
