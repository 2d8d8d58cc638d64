"""Causes judged by tokenizers whose faults are known by how they were built: no list is shared with the laboratory."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from chatlab.echo.edits import Cause, Edit
from chatlab.echo.trace import trace_echo
from tests.echo.known_causes import BORDERS, FAULTS, Fragment, random_case

CASES = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 400
SEED = 20261130
EVERYWHERE = {Cause.DECODER_JOIN, Cause.TRUNCATION, Cause.PADDING, Cause.BOS_EOS_SHOWN}
"""Faults of the whole text: they strike between fragments, too."""


def starts_segment(offset: int, fragments: list[Fragment]) -> bool:
    """Tell whether a dummy prefix would stand there; an added token may have eaten the white space behind it."""
    before = "".join(text for text, _ in fragments)[:offset].rstrip()
    return not before or before.endswith(BORDERS)


def truth_of(edit: Edit, fragments: list[Fragment], length: int) -> set[Cause]:
    """The causes of the fragments that an edit touches; an insertion touches those on both sides of it."""
    start, end = edit.prompt_span
    at, causes = 0, set()
    for text, cause in fragments:
        touches = at <= end and start <= at + len(text)
        overlaps = at < end and start < at + len(text)
        if cause and (overlaps or (touches and (start == end or not text))):
            causes.add(cause)
        if cause is Cause.DUMMY_PREFIX and start == end and starts_segment(start, fragments):
            causes.add(cause)
        if cause in EVERYWHERE and (cause in (Cause.DECODER_JOIN, Cause.TRUNCATION) or end == length or start == 0):
            causes.add(cause)
        at += len(text)
    return causes


def test_causes_known_by_construction_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """At least 99 of 100 edits have the right cause, and no more than 1 of 200 is unexplained."""
    rng, right, named, wrong = random.Random(SEED), Counter[Cause](), Counter[Cause](), list[str]()
    for _ in range(CASES):
        case, fragments = random_case(rng)
        prompt = "".join(text for text, _ in fragments)
        trace = trace_echo(case.tokenizer(), prompt, **case.options)
        assert trace.replay() == trace.echo
        for edit in trace.edits:
            truth = truth_of(edit, fragments, len(prompt))
            is_right = edit.cause in truth
            named[edit.cause] += 1
            right[edit.cause] += is_right
            if not is_right:
                wrong.append(
                    f"{prompt!r} -> {trace.echo!r}: {edit.prompt_text!r} -> {edit.echo_text!r} is {edit.cause}, not {sorted(truth)}"
                )
    total = named.total()
    with capsys.disabled():
        print(f"\n{CASES} tokenizers with known faults, seed {SEED}: {right.total()} of {total} edits right")
        print("  " + ", ".join(f"{cause} {right[cause]}/{named[cause]}" for cause in sorted(named)))
        print("\n".join(wrong[:40]))
    assert right.total() >= 0.99 * total
    assert named[Cause.UNEXPLAINED] <= 0.005 * total
    assert set(named) >= {fault.cause for fault in FAULTS}, "every fault was set off"
