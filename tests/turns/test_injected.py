"""Faults put there on purpose, alone and in pairs, are named: all of them, and no other."""

from __future__ import annotations

import os
from collections import Counter

from chatlab.turns.edits import Cause
from chatlab.turns.trace import trace_turns
from tests.support.turn_injection import KINDS, PAIRS, injected

COUNT = 2_100 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 84
CASES = [(), *((kind,) for kind in KINDS), *PAIRS]


def test_there_are_enough_kinds_and_pairs() -> None:
    assert len(KINDS) >= 14
    assert len(PAIRS) >= 60
    assert {kind for pair in PAIRS for kind in pair} == set(KINDS)


def test_every_injected_cause_is_found_and_no_other() -> None:
    right, too_many, missed = 0, Counter[tuple[tuple[str, ...], Cause]](), Counter[tuple[tuple[str, ...], Cause]]()
    for seed in range(COUNT):
        kinds = CASES[seed % len(CASES)]
        case = injected(kinds, seed)
        found = set(trace_turns(case.tokenizer, case.messages, **case.options).cause_counts())
        right += len(found & case.causes)
        too_many.update((kinds, cause) for cause in found - case.causes)
        missed.update((kinds, cause) for cause in case.causes - found)
    assert right / (right + too_many.total()) >= 0.99, too_many.most_common(10)
    assert right / (right + missed.total()) >= 0.99, missed.most_common(10)
