"""The texts that a tokenizer or a format reads as one: found in a text longest first, as tokenizers find them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def lexicon_pattern(texts: Iterable[str], *, overlapping: bool = False) -> re.Pattern[str]:
    """A pattern that finds the longest of ``texts`` at each place; without any, it finds nothing.

    Args:
        texts: control tokens, or whatever else is read whole; empty ones are passed over.
        overlapping: match an empty place before each, so that none hides the next.

    >>> lexicon_pattern(["<s>", "<s>[INST]"]).findall("<s>[INST] <s>")
    ['<s>[INST]', '<s>']
    """
    # Texts of one length cannot hide each other, but a pattern that depends on nothing else is the same every time.
    found = "|".join(map(re.escape, sorted({*texts} - {""}, key=lambda text: (-len(text), text)))) or "(?!)"
    return re.compile(f"(?={found})" if overlapping else found)
