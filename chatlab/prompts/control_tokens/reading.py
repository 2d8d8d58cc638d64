"""What the control-token law asks of a tokenizer: ids, where they come from, and text in which no token is read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

# Phi-3's repository once unset the special flag of </s>: the spelling tells what the flag forgot.
CONTROL_SPELLING = re.compile(
    r"<\|[^<>|]+\|>|<｜[^<>｜]+｜>|</?(?:s|unk|pad|mask|cls|sep|bos|eos|eod|eot|eom)>|\[/?[A-Z_]{3,}\]"
)


class Token(NamedTuple):
    """An id and the characters it came from: code points, end exclusive."""

    token_id: int
    start: int
    end: int


class EncodedText(NamedTuple):
    """The ids of a text, and the tokens among them that are added tokens and stand in the text."""

    token_ids: list[int]
    added: list[Token]


class Reader(ABC):
    """What the control-token law asks of a tokenizer."""

    name: str
    added: Mapping[int, str]
    """Added tokens that are not mere whitespace: each could stand for something the format says."""
    special: frozenset[int]
    """Those that are control tokens by the tokenizer's own word."""
    unk_id: int | None

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``, as the tokenizer itself gives them."""

    @abstractmethod
    def read(self, text: str, add_special_tokens: bool = False) -> EncodedText:
        """The ids of ``text``, with those that could speak for the format."""

    @abstractmethod
    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch`` with no control token in it, where it stands after the token ``after``."""

    def _encoded(self, token_ids: list[int], spans: Callable[[], Sequence[tuple[int, int]]]) -> EncodedText:
        """Spans are fetched only when an added token is there, and kept only for those: both cost time."""
        added = self.added
        numbers = [number for number, token_id in enumerate(token_ids) if token_id in added]
        offsets = spans() if numbers else []
        tokens = (Token(token_ids[number], *offsets[number]) for number in numbers)
        return EncodedText(token_ids, [token for token in tokens if token.end > token.start])

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that ``add_special_tokens=True`` puts before and after a text."""
        bare = self.encode("a")
        full = self.encode("a", add_special_tokens=True)
        at = next((i for i in range(len(full) - len(bare) + 1) if full[i : i + len(bare)] == bare), len(full))
        return full[:at], full[at + len(bare) :]
