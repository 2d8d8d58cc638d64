r"""Special tokens as characters that no text holds, so that a search sees them by id and text cannot pass for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from chatlab.errors import SamplingError
from chatlab.lexicon import lexicon_pattern

# Lone surrogates: code points that are no characters, so no decoder of valid text gives one.
_FIRST, _LAST = 0xD800, 0xDFFF


class Marks:
    r"""One character for each special token that a stop or a delimiter holds.

    **Law.** Of any texts and special tokens, the marks are what the model wrote by id; what it spelled by other tokens
    stays text, however alike it looks.

    >>> marks = Marks({"<|end|>": 7})
    >>> marks.show(marks.of("a<|end|>") + "b"), marks.hide(marks.of("a<|end|>") + "b"), list(marks.by_id)
    ('a<|end|>b', 'ab', [7])
    """

    def __init__(self, tokens: Mapping[str, int]) -> None:
        """Give each token a mark.

        Args:
            tokens: text and id of each special token that is searched for.

        Raises:
            SamplingError: there are more of them than there are marks.
        """
        if len(tokens) > _LAST - _FIRST:
            raise SamplingError(f"stops and delimiters hold {len(tokens)} special tokens: give fewer stops")
        self.marks = {text: chr(_FIRST + number) for number, text in enumerate(tokens)}
        self.by_id = {tokens[text]: mark for text, mark in self.marks.items()}
        self._shown = {mark: text for text, mark in self.marks.items()}
        self._special = lexicon_pattern(tokens)
        self._mark = re.compile(f"[{''.join(self._shown)}]") if self._shown else re.compile(r"(?!)")

    def __bool__(self) -> bool:
        return bool(self.marks)

    def stand_in(self, text: str) -> bool:
        """Whether a mark stands in a text."""
        return bool(self._shown) and self._mark.search(text) is not None

    def of(self, text: str) -> str:
        """A text where each special token is its mark."""
        return self._special.sub(lambda match: self.marks[match[0]], text)

    def show(self, text: str) -> str:
        """A text where each mark is its special token."""
        return self._mark.sub(lambda match: self._shown[match[0]], text)

    def hide(self, text: str) -> str:
        """A text without marks."""
        return self._mark.sub("", text)

    def without_forged(self, text: str) -> str:
        """A decoded text, where what passes for a mark is a replacement character."""
        return self._mark.sub("\ufffd", text)

    def offsets(self, text: str, written: Callable[[str], str]) -> list[int] | None:
        """Where each offset of a marked text stands in what is written of it; ``None`` where it stands as it is."""
        if not self._mark.search(text):
            return None
        offsets, at = [0], 0
        for character in text:
            at += len(written(character))
            offsets.append(at)
        return offsets
