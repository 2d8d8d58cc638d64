"""Vocabularies, merges and scores against each other: names and numbers of all that differs, and no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from chatlab.snapshots.recorder import RESERVED


@dataclass(frozen=True, kw_only=True)
class TableDiff:
    """Two vocabularies or merge lists against each other, by name and not by place: every entry that differs."""

    before_len: int
    after_len: int
    added: tuple[str, ...]
    added_ids: tuple[int, ...]
    """Id, or place in the list, of each entry that came."""
    removed: tuple[str, ...]
    removed_ids: tuple[int, ...]
    moved: tuple[str, ...]
    """Pieces that kept their name and lost their number, or merges that changed their place among those in both."""
    moved_from: tuple[int, ...]
    moved_to: tuple[int, ...]

    @property
    def added_len(self) -> int:
        """How many entries came."""
        return len(self.added)

    @property
    def removed_len(self) -> int:
        """How many entries went."""
        return len(self.removed)

    @property
    def moved_len(self) -> int:
        """How many entries have another number."""
        return len(self.moved)

    @cached_property
    def offsets(self) -> frozenset[int]:
        """By how much the moved entries moved: one number where all moved alike."""
        return frozenset(new - old for old, new in zip(self.moved_from, self.moved_to, strict=True))

    @cached_property
    def only_unused_names(self) -> bool:
        """Whether nothing but names of unused placeholders changed, each in its place."""
        names = (*self.added, *self.removed)
        in_place = sorted(self.added_ids) == sorted(self.removed_ids) and not self.moved
        return in_place and bool(names) and all(map(RESERVED.search, names))


def vocabulary_diff(before: Mapping[str, int], after: Mapping[str, int]) -> TableDiff:
    """Return which pieces came, went or got another id.

    >>> diff = vocabulary_diff({"a": 0, "b": 1}, {"b": 0, "c": 1})
    >>> diff.added, diff.removed, diff.moved, diff.offsets
    (('c',), ('a',), ('b',), frozenset({-1}))
    """
    added = sorted(after.keys() - before.keys(), key=lambda piece: (after[piece], piece))
    removed = sorted(before.keys() - after.keys(), key=lambda piece: (before[piece], piece))
    common = (piece for piece in before if piece in after and after[piece] != before[piece])
    moved = sorted(common, key=lambda piece: (before[piece], piece))
    return TableDiff(
        before_len=len(before),
        after_len=len(after),
        added=tuple(added),
        added_ids=tuple(after[piece] for piece in added),
        removed=tuple(removed),
        removed_ids=tuple(before[piece] for piece in removed),
        moved=tuple(moved),
        moved_from=tuple(before[piece] for piece in moved),
        moved_to=tuple(after[piece] for piece in moved),
    )


def merges_diff(before: Sequence[str], after: Sequence[str]) -> TableDiff:
    """Return which merges came or went, and which of those in both stand in another order."""
    old, new = {m: n for n, m in enumerate(before)}, {m: n for n, m in enumerate(after)}
    kept, wanted = [m for m in before if m in new], [m for m in after if m in old]
    moved = [m for m, n in zip(kept, wanted, strict=False) if m != n]
    added, removed = [m for m in after if m not in old], [m for m in before if m not in new]
    return TableDiff(
        before_len=len(before),
        after_len=len(after),
        added=tuple(added),
        added_ids=tuple(new[m] for m in added),
        removed=tuple(removed),
        removed_ids=tuple(old[m] for m in removed),
        moved=tuple(moved),
        moved_from=tuple(old[m] for m in moved),
        moved_to=tuple(new[m] for m in moved),
    )


def changed_scores(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> tuple[str, ...]:
    """Return the pieces of both sides whose scores differ; a piece that came, went or moved has no other score for it.

    >>> changed_scores({"a": -1.0, "b": -2.0}, {"new": 0.0, "a": -1.0, "b": -3.0})
    ('b',)
    """
    if before is None or after is None:
        return ()
    return tuple(piece for piece, score in before.items() if piece in after and after[piece] != score)
