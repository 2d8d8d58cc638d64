"""What a single token is called in an answer: its text where it has one of its own, else its bytes, else its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from chatlab.errors import ChatlabError
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer

_LOST = "\ufffd"


class TokenNames:
    r"""Text and bytes of the tokens of one tokenizer.

    **Law.** The bytes of the ids of a reply, joined, are the bytes of its text, special tokens included. Different tokens
    of one table have different names.

    >>> from chatlab.testing import tiny_tokenizer
    >>> tokenizer = tiny_tokenizer("byte-level")
    >>> names = TokenNames(tokenizer)
    >>> a, *of_a_picture = map(names.name, tokenizer.encode("a👍"))
    >>> a, of_a_picture[0].startswith("bytes:\\xf0"), names.bytes_of(tokenizer.encode("a")[0])
    ('a', True, b'a')
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer; what was asked once is remembered."""
        self._tokenizer = tokenizer
        self._special = {token_id: text for text, token_id in tokenizer.special_strs.items()}
        self._before: list[int] = next((ids for text in "a.0" if (ids := tokenizer.encode(text))), [])
        self._alone = tokenizer.decode(self._before, skip_special_tokens=False)
        self._read = lru_cache(maxsize=65_536)(self._look)

    def bytes_of(self, token_id: int) -> bytes:
        """What the token adds to a text, as UTF-8; a part of a character is its bytes, an id without text is none."""
        return self._read(token_id)

    def name(self, token_id: int, *, as_id: bool = False) -> str:
        """Its text; ``bytes:`` and its bytes where it is a part of a character; ``token_id:`` where it was asked for."""
        if as_id:
            return f"token_id:{token_id}"
        spelled = self._read(token_id)
        try:
            return spelled.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)

    def table(self, scored: Iterable[tuple[int, float]], *, as_ids: bool = False) -> dict[str, float]:
        """Scores by name; of two tokens of one name, the later is named by its id."""
        table: dict[str, float] = {}
        for token_id, score in scored:
            name = self.name(token_id, as_id=as_ids)
            table[self.name(token_id, as_id=True) if name in table else name] = score
        return table

    def offsets(self, token_ids: Sequence[int], *, skip_special_tokens: bool, text_len: int) -> list[int]:
        """Where the text of each id begins in a text that starts with them, in code points; none lies behind ``text_len``."""
        decode = self._tokenizer.decoder(skip_special_tokens=skip_special_tokens)
        detokenizer = StreamingDetokenizer(decode, (), self._tokenizer.special_ids if skip_special_tokens else ())
        offsets, end = [], 0
        for token_id in token_ids:
            offsets.append(min(end, text_len))
            end += len(detokenizer.put((token_id,)))
        return offsets

    def _look(self, token_id: int) -> bytes:
        if token_id in self._special:
            return self._special[token_id].encode()
        try:
            part = self._tokenizer.token_bytes(token_id)
            if part is not None:
                return part
            text = self._tokenizer.decode([*self._before, token_id], skip_special_tokens=False)
            return text.removeprefix(self._alone).encode("utf-8", "replace")
        except (ChatlabError, ValueError, OverflowError):  # padding of the model's, beyond the vocabulary
            return b""
