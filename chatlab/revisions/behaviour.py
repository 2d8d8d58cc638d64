"""What a tokenizer does, on two sides: ids and texts of probes, renders of dialogues.

Everything here is a pure function of recorded views; nothing is tokenized again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chatlab.snapshots.recorder import SURROGATE
from chatlab.snapshots.snapshot import exceeded

CORE_FAMILIES = ("prompt", "chat", "turns", "added", "sequence")
"""Families whose ids decide over a chat: a change there breaks; in the other families it is exotic."""

View = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProbeChange:
    """One probe whose ids, decoded texts or error differ."""

    label: str
    family: str
    text: str
    ids_differ: bool
    offset: int
    """Index of the first differing id; -1 when the ids are equal."""
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    before_text: str
    """Decoded with special tokens kept, or the error."""
    after_text: str


@dataclass(frozen=True, kw_only=True)
class FamilyCount:
    """How many probes of a family differ."""

    family: str
    probe_len: int
    ids_changed: int
    text_changed: int


@lru_cache(maxsize=4096)
def natural(label: str) -> tuple[Any, ...]:
    """Sort key that puts ``prompt/2`` before ``prompt/10``.

    >>> sorted(["prompt/10", "prompt/2", "chat/a"], key=natural)
    ['chat/a', 'prompt/2', 'prompt/10']
    """
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label))


def ordered(rows: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows in the order of a report, whatever order a file kept them in: what decides over a chat comes first."""
    ranks = {family: number for number, family in enumerate(CORE_FAMILIES)}
    labels = sorted(rows, key=lambda label: (ranks.get(label.split("/")[0], len(ranks)), natural(label)))
    return {label: rows[label] for label in labels}


def probes(view: View) -> dict[str, dict[str, Any]]:
    """Return every probe that has ids, by label: texts, chat renders, sequences."""
    found = {label: dict(p) for label, p in view.get("probes", {}).items()}
    found.update({label: {"family": "chat", **c} for label, c in view.get("chats", {}).items() if "text" in c})
    found.update({label: {"family": "sequence", "text": "", **s} for label, s in view.get("sequences", {}).items()})
    return ordered(found)


def first_difference(before: list[int], after: list[int]) -> int:
    """Return the index of the first differing id, or -1.

    >>> first_difference([1, 2, 3], [1, 2])
    2
    """
    if before == after:
        return -1
    return next(
        (n for n, (x, y) in enumerate(zip(before, after, strict=False)) if x != y), min(len(before), len(after))
    )


def compare_probes(a: View, b: View) -> tuple[list[ProbeChange], list[FamilyCount]]:
    """Return the probes that differ, and counts by family; only inputs that both sides were given are compared."""
    before, after = probes(a), probes(b)
    changes, totals = [], Counter[str]()
    for label, old in before.items():
        new = after.get(label)
        # A lone surrogate is recorded, but no UTF-8 program can send one: whether it is refused decides nothing.
        if new is None or new["text"] != old["text"] or SURROGATE.search(old["text"]):
            continue
        totals[old["family"]] += 1
        if _outcome(old) != _outcome(new):
            changes.append(_probe_change(label, old, new))
    counts = [
        FamilyCount(
            family=family,
            probe_len=total,
            ids_changed=sum(c.family == family and c.ids_differ for c in changes),
            text_changed=sum(c.family == family and not c.ids_differ for c in changes),
        )
        for family, total in totals.items()
    ]
    return changes, counts


def _outcome(probe: Mapping[str, Any]) -> tuple[Any, ...]:
    # Two libraries may refuse the same text in other words: that is no difference.
    return probe.get("ids"), shown_text(probe.get("keep")), shown_text(probe.get("skip")), probe.get("joined")


def shown_text(value: Any) -> Any:
    """Return a decoded text, or ``error`` where decoding failed."""
    return "error" if isinstance(value, dict) else value


def _probe_change(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> ProbeChange:
    before, after = old.get("ids") or [], new.get("ids") or []
    return ProbeChange(
        label=label,
        family=old["family"],
        text=old["text"],
        ids_differ=old.get("ids") != new.get("ids"),
        offset=first_difference(before, after),
        before_ids=tuple(before),
        after_ids=tuple(after),
        before_text=str(old.get("error") or old.get("keep", "")),
        after_text=str(new.get("error") or new.get("keep", "")),
    )


def talk(view: View) -> dict[str, dict[str, Any]]:
    """Return the probes that are prompts: the user's own, plain chat renders, and turns where there is no template."""
    found = {label: p for label, p in view.get("probes", {}).items() if p["family"] == "prompt"}
    chats = {label: c for label, c in view.get("chats", {}).items() if c.get("roles") == "plain" and "text" in c}
    turns = {label: p for label, p in view.get("probes", {}).items() if p["family"] == "turns"}
    return ordered({**found, **(chats or turns)})


@dataclass(frozen=True, kw_only=True)
class RenderRow:
    """One dialogue through both chat templates."""

    label: str
    roles: str
    same: bool
    before: str
    """The rendered text, or the error."""
    after: str


def compare_renders(a: View, b: View) -> list[RenderRow]:
    """Return the render matrix: roles × generation prompt × tools, before and after."""
    before, after = a.get("chats", {}), b.get("chats", {})
    rows = []
    for label in sorted(before.keys() | after.keys()):
        old, new = before.get(label, {}), after.get(label, {})
        texts = [c.get("text", c.get("render_error", exceeded(c) or "no template")) for c in (old, new)]
        # Errors are compared by being errors: libraries word them differently.
        same = texts[0] == texts[1] or ("text" not in old and "text" not in new)
        rows.append(RenderRow(label=label, roles=(old or new)["roles"], same=same, before=texts[0], after=texts[1]))
    return rows


def prefix_breaks(view: View) -> list[str]:
    """Return the answered renders that are no prefix of the next longer one: a cache or a stream relies on it."""
    chats = view.get("chats", {})
    texts = [chats.get(f"chat/answered-{n}", {}).get("text") for n in range(1, 4)]
    return [
        f"answered-{n} is no prefix of answered-{n + 1}"
        for n, (short, long) in enumerate(zip(texts, texts[1:], strict=False), start=1)
        if isinstance(short, str) and isinstance(long, str) and not long.startswith(short)
    ]


def bos_counts(view: View) -> dict[str, int]:
    """Return how many BOS ids begin each chat render and each sequence with special tokens."""
    bos = view.get("specials", {}).get("bos_token", {}).get("id")
    if bos is None:
        return {}
    rows = {**view.get("chats", {}), **view.get("sequences", {})}
    return {label: row["ids"].count(bos) for label, row in rows.items() if isinstance(row.get("ids"), list)}
