"""How far an echo is from its prompt, whole and after each control token; read from recorded views."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from chatlab.lexicon import lexicon_pattern
from chatlab.revisions.differences.behaviour import talk
from chatlab.snapshots.views import LoaderView, Probe


def longest_first(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern for any of the texts, the longest first; ``None`` without any."""
    known = [text for text in texts if text]
    return lexicon_pattern(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How much longer (positive) or shorter the decoded echo of a prompt is, in code points."""

    keep: int
    """Special tokens kept in the echo."""
    skip: int
    """Special tokens taken out of both the echo and the prompt."""
    joined: int | None
    """Echo joined from tokens decoded one by one, as a naive stream would."""


def drift_of(probe: Probe, view: LoaderView) -> Drift | None:
    """Return the drift of one probe, or ``None`` where it has no echo."""
    if not isinstance(probe.keep, str) or not isinstance(probe.skip, str):
        return None
    skipped = longest_first(view.skipped_tokens)
    bare = skipped.sub("", probe.text) if skipped else probe.text
    return Drift(
        keep=len(probe.keep) - len(probe.text),
        skip=len(probe.skip) - len(bare),
        joined=len(probe.joined) - len(probe.text) if isinstance(probe.joined, str) else None,
    )


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """Drift of one prompt on both sides, in code points; ``None`` where there is no echo."""

    label: str
    before_ids: int
    after_ids: int
    before_keep: int | None
    after_keep: int | None
    before_skip: int | None
    after_skip: int | None


def compare_drifts(before: LoaderView, after: LoaderView) -> list[DriftRow]:
    """Return the drift of each prompt that both sides were given under one label."""
    old, new = talk(before), talk(after)
    return [_drift_row(old[label], new[label], before, after) for label in old if label in new]


def _drift_row(old: Probe, new: Probe, before: LoaderView, after: LoaderView) -> DriftRow:
    drifts = drift_of(old, before), drift_of(new, after)
    return DriftRow(
        label=old.label,
        before_ids=len(old.ids or ()),
        after_ids=len(new.ids or ()),
        before_keep=drifts[0].keep if drifts[0] else None,
        after_keep=drifts[1].keep if drifts[1] else None,
        before_skip=drifts[0].skip if drifts[0] else None,
        after_skip=drifts[1].skip if drifts[1] else None,
    )


@dataclass(frozen=True, kw_only=True)
class BoundaryDrift:
    """What happens to the text after one control token, over all probes of chats and turns."""

    token: str
    before: str
    """Characters gained or lost a time, with counts: ``+1 ×3, 0 ×2``."""
    after: str


def boundary_drift(view: LoaderView) -> dict[str, Counter[int]]:
    """Return, for each control token, how the text up to the next one changed its length."""
    pattern = longest_first(view.control_tokens)
    found: dict[str, Counter[int]] = {}
    if pattern is None:
        return found
    for probe in talk(view).values():
        for token, drift in _drifts_after(pattern, probe):
            found.setdefault(token, Counter())[drift] += 1
    return found


def _drifts_after(pattern: re.Pattern[str], probe: Probe) -> list[tuple[str, int]]:
    if probe.echo is None or pattern.findall(probe.text) != pattern.findall(probe.echo):
        return []
    parts = zip(pattern.split(probe.text), pattern.split(probe.echo), strict=True)
    drifts = [len(came) - len(written) for written, came in parts]
    return list(zip(["start", *pattern.findall(probe.text)], drifts, strict=True))


def counted(counter: Counter[int] | None) -> str:
    """Return a counter of drifts as text, the most frequent first."""
    if not counter:
        return "–"
    return ", ".join(
        f"{drift:+d} ×{n}" if drift else f"0 ×{n}" for drift, n in sorted(counter.items(), key=lambda i: (-i[1], i[0]))
    )


def compare_boundaries(view_before: LoaderView, view_after: LoaderView) -> list[BoundaryDrift]:
    """Return the drift after each control token, before and after."""
    before, after = boundary_drift(view_before), boundary_drift(view_after)
    return [
        BoundaryDrift(token=token, before=counted(before.get(token)), after=counted(after.get(token)))
        for token in sorted(before.keys() | after.keys())
    ]
