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


# Bytes and integers, read as choices: many times cheaper to draw than as many elements.


@st.composite
def patterns(draw: st.DrawFn, max_size: int = 50) -> list[str]:
    """1 to ``max_size`` different patterns; small sets are frequent, since they meet more often."""
    family = draw(st.integers(0, len(FAMILIES) + len(ALPHABETS) - 1))
    if family < len(FAMILIES):
        chosen = draw(st.integers(1, 2 ** len(FAMILIES[family]) - 1))
        return [pattern for i, pattern in enumerate(FAMILIES[family]) if chosen >> i & 1][:max_size]
    size = draw(st.one_of(st.integers(1, 4), st.integers(1, max_size)))
    choices = draw(st.binary(min_size=size, max_size=4 * size))
    alphabet = ALPHABETS[family - len(FAMILIES)]
    soup = "".join(alphabet[choice % len(alphabet)] for choice in choices)
    width = max(1, len(soup) // size)
    cut = [soup[i : i + width + i % 3] for i in range(0, len(soup), width)]
    return list(dict.fromkeys(cut))[:max_size]


@st.composite
def texts(draw: st.DrawFn, found: list[str]) -> str:
    """A text of whole patterns, their beginnings, their ends, and what lies between."""
    pieces = [piece for p in found[:8] for piece in (p, p, p[:-1], p[1:], p[0])] + ["x", " "]
    return "".join(pieces[choice % len(pieces)] for choice in draw(st.binary(max_size=12)))


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
