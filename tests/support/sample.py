"""Some cases of each kind, the same in every run."""

from __future__ import annotations

import os
from collections import Counter

from chatlab.revisions.kinds import ChangeKind
from tests.support.injections import Injection

EVERY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


"""Nightly runs take all of them; the ordinary suite a sample that holds every kind in every family."""


def sample(cases: list[Injection], wanted: int) -> list[Injection]:
    """Take evenly from each (base, kind), at least one of each."""
    if EVERY:
        return cases
    groups = Counter((c.base, c.kind) for c in cases)
    share = wanted / len(cases)
    taken: Counter[tuple[str, ChangeKind | None]] = Counter()
    seen: Counter[tuple[str, ChangeKind | None]] = Counter()
    found = []
    for case in cases:
        key = case.base, case.kind
        seen[key] += 1
        if taken[key] < max(1, share * seen[key]) and taken[key] < groups[key]:
            taken[key] += 1
            found.append(case)
    return found
