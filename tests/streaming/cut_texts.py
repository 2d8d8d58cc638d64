"""Texts of hard characters, and a detokenizer fed in random pieces."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from chatlab.streaming.detokenizer import StreamingDetokenizer

ALPHABET = [
    *"aehlo .,'x\n\t[]",
    "  ",
    "\n    ",
    "日",
    "本",
    "あ",
    "한",
    "é",
    "e\u0301",
    "🔥",
    "👍🏽",
    "👩‍👩‍👧",
    "\u00a0",
    "▁",
    "hello ",
    " the",
]


texts = st.lists(st.sampled_from(ALPHABET), max_size=40).map("".join)


def in_pieces(detokenizer: StreamingDetokenizer, token_ids: Sequence[int], random) -> list[str]:
    """Put the ids in steps of 0 to 3."""
    deltas, at = [], 0
    while at < len(token_ids):
        step = random.choice([0, 1, 1, 1, 2, 3])
        deltas.append(detokenizer.put(token_ids[at : at + step]))
        at += step
    return [*deltas, detokenizer.flush()]
