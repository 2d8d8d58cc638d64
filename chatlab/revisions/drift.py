"""How far an echo is from its prompt, whole and after each control token; read from recorded views."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.lexicon import lexicon_pattern
from chatlab.revisions.behaviour import View, talk


def token_pattern(view: View) -> re.Pattern[str] | None:
    """Return a pattern for the texts that a view reads as control tokens, the longest first."""
    tokens = {t["content"] for t in view.get("added_tokens", [])}
    tokens |= {s["content"] for n, s in view.get("specials", {}).items() if n != "all"}
    tokens |= set(view.get("specials", {}).get("all", {}).get("contents", []))
    return lexicon_pattern(tokens) if any(tokens) else None


def skipped_tokens(view: View) -> set[str]:
    """Return the texts that ``skip_special_tokens`` removes."""
    found = set(view.get("specials", {}).get("all", {}).get("contents", []))
    return found | {t["content"] for t in view.get("added_tokens", []) if t.get("special")}


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How much longer (positive) or shorter the decoded echo of a prompt is, in code points."""

    keep: int
    """Special tokens kept in the echo."""
    skip: int
    """Special tokens taken out of both the echo and the prompt."""
    joined: int | None
    """Echo joined from tokens decoded one by one, as a naive stream would."""


def drift_of(probe: Mapping[str, Any], view: View) -> Drift | None:
    """Return the drift of one probe, or ``None`` where it has no echo."""
    if not isinstance(probe.get("keep"), str) or not isinstance(probe.get("skip"), str):
        return None
    text = probe["text"]
    bare = lexicon_pattern(skipped_tokens(view)).sub("", text)
    joined = probe.get("joined")
    return Drift(
        keep=len(probe["keep"]) - len(text),
        skip=len(probe["skip"]) - len(bare),
        joined=len(joined) - len(text) if isinstance(joined, str) else None,
    )


@dataclass(frozen=True, kw_only=True)
class BoundaryDrift:
    """What happens to the text after one control token, over all probes of chats and turns."""

    token: str
    before: str
    """Characters gained or lost a time, with counts: ``+1 ×3, 0 ×2``."""
    after: str


def boundary_drift(view: View) -> dict[str, Counter[int]]:
    """Return, for each control token, how the text up to the next one changed its length."""
    pattern = token_pattern(view)
    found: dict[str, Counter[int]] = {}
    if pattern is None:
        return found
    for probe in talk(view).values():
        text, echo = probe["text"], probe.get("keep")
        if not isinstance(echo, str):
            continue
        tokens = ["start", *pattern.findall(text)]
        if tokens[1:] != pattern.findall(echo):
            continue
        for token, written, came in zip(tokens, pattern.split(text), pattern.split(echo), strict=True):
            found.setdefault(token, Counter())[len(came) - len(written)] += 1
    return found


def counted(counter: Counter[int] | None) -> str:
    """Return a counter of drifts as text, the most frequent first."""
    if not counter:
        return "–"
    return ", ".join(
        f"{drift:+d} ×{n}" if drift else f"0 ×{n}" for drift, n in sorted(counter.items(), key=lambda i: (-i[1], i[0]))
    )


def compare_boundaries(a: View, b: View) -> list[BoundaryDrift]:
    """Return the drift after each control token, before and after."""
    before, after = boundary_drift(a), boundary_drift(b)
    return [
        BoundaryDrift(token=token, before=counted(before.get(token)), after=counted(after.get(token)))
        for token in sorted(before.keys() | after.keys())
    ]
