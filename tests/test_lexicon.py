"""A lexicon finds what tokenizers find: the longest text that begins at a place, from left to right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatlab.lexicon import lexicon_pattern

words = st.text(alphabet="<s>|[]", max_size=5)


def found_slowly(texts: list[str], text: str) -> list[str]:
    """What is found by trying every text at every place."""
    found, offset = [], 0
    while offset < len(text):
        here = max((t for t in texts if text.startswith(t, offset)), key=len, default="")
        found += [here] if here else []
        offset += len(here) or 1
    return found


@given(st.lists(words, max_size=5), st.lists(words, max_size=8).map("".join))
def test_the_longest_text_at_each_place_is_found(texts: list[str], text: str) -> None:
    assert lexicon_pattern(texts).findall(text) == found_slowly(texts, text)
    starts = [at for at in range(len(text)) if any(t and text.startswith(t, at) for t in texts)]
    assert [found.start() for found in lexicon_pattern(texts, overlapping=True).finditer(text)] == starts
