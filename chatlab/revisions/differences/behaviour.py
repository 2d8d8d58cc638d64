"""What a tokenizer does, on two sides: ids and texts of probes, renders of dialogues.

Everything here is a pure function of recorded views; nothing is tokenized again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chatlab.snapshots.recorder import SURROGATE
from chatlab.snapshots.views import LoaderView, Probe, Render

CORE_FAMILIES = ("prompt", "chat", "turns", "added", "sequence")
"""Families whose ids decide over a chat: a change there breaks; in the other families it is exotic."""


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
def natural(label: str) -> tuple[int | str, ...]:
    """Sort key that puts ``prompt/2`` before ``prompt/10``.

    >>> sorted(["prompt/10", "prompt/2", "chat/a"], key=natural)
    ['chat/a', 'prompt/2', 'prompt/10']
    """
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label))


def ordered(rows: Mapping[str, Probe]) -> dict[str, Probe]:
    """Return rows in the order of a report, whatever order a file kept them in: what decides over a chat comes first."""
    ranks = {family: number for number, family in enumerate(CORE_FAMILIES)}
    labels = sorted(rows, key=lambda label: (ranks.get(label.split("/")[0], len(ranks)), natural(label)))
    return {label: rows[label] for label in labels}


def probes(view: LoaderView) -> dict[str, Probe]:
    """Return every probe that was encoded, by label: texts, chat renders, sequences."""
    return ordered({**view.texts, **view.chats, **view.sequences})


def shared_probes(before: LoaderView, after: LoaderView) -> list[tuple[Probe, Probe]]:
    """Return the probes whose text both sides were given, as pairs."""
    others = probes(after)
    pairs = [(old, others[label]) for label, old in probes(before).items() if label in others]
    # A lone surrogate is recorded, but no UTF-8 program can send one: whether it is refused decides nothing.
    return [(old, new) for old, new in pairs if old.text == new.text and not SURROGATE.search(old.text)]


def first_difference(before: Sequence[int], after: Sequence[int]) -> int:
    """Return the index of the first differing id, or -1.

    >>> first_difference([1, 2, 3], [1, 2])
    2
    """
    if before == after:
        return -1
    pairs = enumerate(zip(before, after, strict=False))
    return next((n for n, (old, new) in pairs if old != new), min(len(before), len(after)))


def compare_probes(before: LoaderView, after: LoaderView) -> tuple[list[ProbeChange], list[FamilyCount]]:
    """Return the probes that differ, and counts by family; only inputs that both sides were given are compared."""
    pairs = shared_probes(before, after)
    changes = [_probe_change(old, new) for old, new in pairs if old.outcome != new.outcome]
    totals = Counter(old.family for old, _ in pairs)
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


def _probe_change(old: Probe, new: Probe) -> ProbeChange:
    before, after = old.ids or (), new.ids or ()
    return ProbeChange(
        label=old.label,
        family=old.family,
        text=old.text,
        ids_differ=old.ids != new.ids,
        offset=first_difference(before, after),
        before_ids=before,
        after_ids=after,
        before_text=shown_echo(old),
        after_text=shown_echo(new),
    )


def shown_echo(probe: Probe) -> str:
    """Return the echo of a probe with special tokens kept, or the error that stands in its place."""
    return probe.error or str(probe.keep if probe.keep is not None else "")


def talk(view: LoaderView) -> dict[str, Probe]:
    """Return the probes that are prompts: the user's own, plain chat renders, and turns where there is no template."""
    found = {label: p for label, p in view.texts.items() if p.family == "prompt"}
    chats = {label: c for label, c in view.chats.items() if c.roles == "plain"}
    turns = {label: p for label, p in view.texts.items() if p.family == "turns"}
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


def compare_renders(before: LoaderView, after: LoaderView) -> list[RenderRow]:
    """Return the render matrix: templates × roles × generation prompt × tools, before and after."""
    known = {render.template for render in before.renders.values()}
    # What nobody could ask for by its name renders nothing otherwise; the default one is always asked for.
    came = [label for label, render in after.renders.items() if render.template in {"default", *known}]
    labels = sorted({*before.renders, *came})
    return [_render_row(label, before.renders.get(label), after.renders.get(label)) for label in labels]


def _render_row(label: str, old: Render | None, new: Render | None) -> RenderRow:
    known = old or new
    texts = [side.text if side else None for side in (old, new)]
    shown = [side.shown if side else "no template" for side in (old, new)]
    # Errors are compared by being errors, which a missing text says: libraries word them differently.
    return RenderRow(
        label=label, roles=known.roles if known else "", same=texts[0] == texts[1], before=shown[0], after=shown[1]
    )


def prefix_breaks(view: LoaderView) -> tuple[int, ...]:
    """Return after how many answered turns a render is no prefix of the next longer one: a cache relies on it."""
    texts = [view.chats.get(f"chat/answered-{n}") for n in range(1, 4)]
    pairs = enumerate(zip(texts, texts[1:], strict=False), start=1)
    return tuple(n for n, (short, long) in pairs if short and long and not long.text.startswith(short.text))


def bos_counts(view: LoaderView) -> dict[str, int]:
    """Return how many BOS ids stand in each chat render and each sequence with special tokens."""
    bos = view.special_id("bos_token")
    rows = {**view.chats, **view.sequences}
    return {} if bos is None else {label: row.ids.count(bos) for label, row in rows.items() if row.ids is not None}


def bos_changes(before: LoaderView, after: LoaderView) -> list[str]:
    """Return the labels of equal texts that begin with another number of BOS ids."""
    old, new = bos_counts(before), bos_counts(after)
    texts = [{label: row.text for label, row in {**view.chats, **view.sequences}.items()} for view in (before, after)]
    shared = sorted(old.keys() & new.keys())
    return [label for label in shared if old[label] != new[label] and texts[0][label] == texts[1][label]]
