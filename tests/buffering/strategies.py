"""Adversarial patterns, texts made of their pieces, and every way to cut a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st

Test = TypeVar("Test", bound=Callable[..., Any])


def law(ordinary: int) -> Callable[[Test], Test]:
    """How many cases a law is held to: the nightly profile asks for more, and is given the time."""
    examples = max(ordinary, settings.default.max_examples)

    def hold(test: Test) -> Test:
        return pytest.mark.timeout(600 + examples // 20)(settings(max_examples=examples)(test))

    return hold


# Shared prefixes, self-overlap, patterns inside patterns, CJK, emoji (also composed ones), line ends.
ALPHABETS = ["ab", "abc", "<NL>", "<>/s", "#\n", "\r\n", "停止文", "🔥👍\u200d🏽", "e\u0301x", "[]\\^-.*$|(){}?+"]
FAMILIES = [
    ["<NL>", "</s>", "<s>", "[/INST]", "[INST]", "<<SYS>>"],
    ["aab", "aa", "a", "ab", "aaab", "baa"],
    ["\n\nHuman:", "###", "\n", "\r\n", "\n\n", "Human:", "\nH"],
    ["abcd", "bc", "cd", "abc", "bcde"],
    ["停止", "停", "止文", "🔥", "🔥🔥", "👨‍👩‍👧"],
]


@st.composite
def patterns(draw: st.DrawFn, max_size: int = 50) -> list[str]:
    """1 to ``max_size`` different patterns; small sets are frequent, since they meet more often."""
    if draw(st.booleans()):
        pool = draw(st.sampled_from(FAMILIES))
        return draw(st.lists(st.sampled_from(pool), min_size=1, max_size=min(max_size, len(pool)), unique=True))
    size = draw(st.one_of(st.integers(1, 4), st.integers(1, max_size)))
    alphabet = draw(st.sampled_from(ALPHABETS))
    # Few long draws instead of many short ones: a soup cut into patterns.
    soup = draw(st.text(alphabet, min_size=size, max_size=4 * size))
    width = max(1, len(soup) // size)
    cut = [soup[i : i + width + i % 3] for i in range(0, len(soup), width)]
    return list(dict.fromkeys(cut))[:max_size]


@st.composite
def texts(draw: st.DrawFn, found: list[str]) -> str:
    """A text of whole patterns, their beginnings, their ends, and what lies between."""
    pieces = [piece for p in found[:8] for piece in (p, p, p[:-1], p[1:], p[0])]
    return "".join(draw(st.lists(st.sampled_from([*pieces, "x", " "]), max_size=12)))


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[str]:
    """The text in fragments, some of them empty."""
    places = draw(st.integers(0, 2 ** len(text) - 1))
    fragments, start = [], 0
    for i in range(1, len(text)):
        if places >> i & 1:
            fragments.append(text[start:i])
            start = i
    return [*fragments, text[start:], *([""] if places & 1 else [])]
