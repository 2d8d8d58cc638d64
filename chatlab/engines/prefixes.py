"""Which of the kept token ids a prompt begins with: an index of sequences, bounded in bytes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Generic, TypeVar

State = TypeVar("State")

_ID_LEN = 4


@dataclass(frozen=True, kw_only=True)
class Found(Generic[State]):
    """A kept state that a prompt can go on from."""

    state: State
    kept_len: int
    """Ids of the prompt that the state has read: at least 1, and one less than the prompt has at most."""
    lost_len: int
    """Ids of the state that the prompt does not go on with."""


@dataclass(eq=False, slots=True)
class _Kept(Generic[State]):
    key: bytes
    state: State
    size: int
    whole: bool


class PrefixStore(Generic[State]):
    """States by the ids they have read; the least recently used go when the bytes are used up.

    **Law.** :meth:`find` gives a state with the longest common prefix with the prompt of all that were put and not put
    out, as a scan over the whole list would; a state that is good only as a whole counts where all its ids begin the
    prompt. ``size`` is the sum of what is kept, and never above ``limit``.

    Keys are sorted, so the longest common prefix is found beside the place where the prompt would stand.
    """

    def __init__(self, limit: int) -> None:
        """Keep ``limit`` bytes at most."""
        self.limit = limit
        self.size = 0
        self._sorted: list[_Kept[State]] = []
        self._used: OrderedDict[_Kept[State], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, token_ids: Sequence[int]) -> Found[State] | None:
        """The state that leaves the least of ``token_ids`` to be read, which is the last id at least."""
        key, most = _key(token_ids), 0
        best: _Kept[State] | None = None
        at = self._place(key)
        for side in (range(at - 1, -1, -1), range(at, len(self._sorted))):
            for kept in (self._sorted[i] for i in side):
                common = _common_len(kept.key, key)
                if common <= most:
                    break
                if not kept.whole or len(kept.key) == common * _ID_LEN < len(key):
                    best, most = kept, common
                    break
        kept_len = min(most, len(token_ids) - 1)
        if best is None or kept_len < 1:
            return None
        self._used.move_to_end(best)
        return Found(state=best.state, kept_len=kept_len, lost_len=len(best.key) // _ID_LEN - most)

    def put(self, token_ids: Sequence[int], state: State, size: int, *, whole: bool = False) -> None:
        """Keep a state that has read ``token_ids`` and takes ``size`` bytes.

        One larger than the limit is not kept. Neither is what a longer state can stand in for, unless one of the two is
        good only as a ``whole``.
        """
        key = _key(token_ids)
        size += len(key)
        if not key or size > self.limit or self._stood_in_for(key, whole):
            return
        if not whole:
            self._drop(list(self._beginnings(key)))
        kept = _Kept(key, state, size, whole)
        insort(self._sorted, kept, key=_key_of)
        self._used[kept] = None
        self.size += size
        while self.size > self.limit:
            self._drop([next(iter(self._used))])

    def _stood_in_for(self, key: bytes, whole: bool) -> bool:
        """Whether a kept state can do all that one of ``key`` could; it counts as used."""
        at = self._place(key)
        for kept in self._sorted[at : at + 1]:
            if (whole and kept.key == key) or (kept.key.startswith(key) and not kept.whole):
                self._used.move_to_end(kept)
                return True
        return False

    def _beginnings(self, key: bytes) -> Iterable[_Kept[State]]:
        """All that is kept of beginnings of ``key``, longest first."""
        at = bisect_right(self._sorted, key, key=_key_of)
        while at and key:
            at, kept = at - 1, self._sorted[at - 1]
            key = key[: _common_len(kept.key, key) * _ID_LEN]
            if kept.key == key:
                yield kept
            else:
                at = bisect_right(self._sorted, key, key=_key_of)

    def _drop(self, gone: Iterable[_Kept[State]]) -> None:
        for kept in gone:
            del self._sorted[self._place(kept.key)], self._used[kept]
            self.size -= kept.size

    def _place(self, key: bytes) -> int:
        return bisect_left(self._sorted, key, key=_key_of)


def _key(token_ids: Sequence[int]) -> bytes:
    """Ids as bytes that sort as they do, and compare faster."""
    return pack(f">{len(token_ids)}I", *token_ids)


def _key_of(kept: _Kept[State]) -> bytes:
    return kept.key


def _common_len(one: bytes, other: bytes) -> int:
    """How many ids two keys have in common at their beginnings."""
    longest = min(len(one), len(other)) // _ID_LEN
    return bisect_left(range(longest), True, key=lambda n: one[: (n + 1) * _ID_LEN] != other[: (n + 1) * _ID_LEN])
