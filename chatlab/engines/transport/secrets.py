"""Keys: checked at once, hidden in every text that leaves the engine, however a server spells them back."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator
from typing import NoReturn
from urllib.parse import unquote_plus

from chatlab.errors import RemoteError

HIDDEN = "***"
_PART_LEN = 8
"""So many characters of a key in a row are hidden, too: servers like to quote its beginning."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:]?){4,}")
_JSON_ESCAPE = re.compile(r"\\+u([0-9A-Fa-f]{4})|\\+x([0-9A-Fa-f]{2})")


class Secret:
    """A key that shows itself to nobody: not in ``repr``, not in a pickle, not in a debugger's list of locals.

    >>> Secret("sk-1234"), Secret("sk-1234").hide("the key sk-1234 is wrong")
    (***, 'the key *** is wrong')
    """

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        """Take a key; white space around it, such as the newline of a file, is not part of it.

        Raises:
            RemoteError: it is no text, is empty, or holds what no header can carry. The message does not show it.
        """
        text = value.strip() if isinstance(value, str) else ""
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            kind = "an empty text" if value in ("", None) or text == "" else "a text with blanks or odd characters"
            kind = kind if isinstance(value, str) else type(value).__name__
            raise RemoteError(f"api_key must be a text of plain characters, not {kind}: look at where it comes from")
        self._value = text

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: give it anew where it is needed")

    def reveal(self) -> str:
        """The key itself, for the header that carries it."""
        return self._value

    def hide(self, text: str) -> str:
        """``text`` without the key, in whatever encoding it stands there.

        Law: no part of the key of 8 characters or more can be read in the result, plain, percent-encoded, in
        JSON escapes, HTML, hexadecimal or base64, nor in one of them inside another.
        """
        return _hidden(text, self._value, depth=3)


def _hidden(text: str, key: str, depth: int) -> str:
    text = _plain_hidden(text, key)
    if depth == 0:
        return text
    for decode in (unquote_plus, html.unescape, _unescaped):
        decoded = decode(text)
        if decoded != text and (hidden := _hidden(decoded, key, depth - 1)) != decoded:
            text = hidden
    for runs, decode_run in ((_BASE64, _from_base64), (_HEX, _from_hex)):
        text = runs.sub(_hider(key, depth, decode_run), text)
    return text


def _hider(key: str, depth: int, decode: Callable[[str], Iterator[str]]) -> Callable[[re.Match[str]], str]:
    def hide(run: re.Match[str]) -> str:
        told = any(_hidden(decoded, key, depth - 1) != decoded for decoded in decode(run.group()))
        return HIDDEN if told else run.group()

    return hide


def _plain_hidden(text: str, key: str) -> str:
    """``text`` without the key and without longer parts of it, in any case of its letters."""
    size = min(len(key), _PART_LEN)
    folded, wanted = text.lower(), key.lower()
    parts = {wanted[i : i + size] for i in range(len(wanted) - size + 1)}
    if len(folded) != len(text) or not any(part in folded for part in parts):
        return text
    covered = bytearray(len(text))
    for at in range(len(text) - size + 1):
        if folded[at : at + size] in parts:
            covered[at : at + size] = b"\x01" * size
    return re.sub("\0+", HIDDEN, "".join("\0" if hit else char for char, hit in zip(text, covered, strict=True)))


def _unescaped(text: str) -> str:
    return _JSON_ESCAPE.sub(lambda found: chr(int(found.group(1) or found.group(2), 16)), text).replace("\\/", "/")


def _from_base64(run: str) -> Iterator[str]:
    """What a run says, wherever the encoding began in it."""
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        part = plain[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        try:
            yield base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
        except binascii.Error:
            continue


def _from_hex(run: str) -> Iterator[str]:
    digits = re.sub(r"[\s:]", "", run)
    yield bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")
