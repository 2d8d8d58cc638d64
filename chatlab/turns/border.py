"""One border between two calls of a model, in ids: what it saw and said, and what it is to read next.

**Law L9.** ``kept_len`` is the longest common prefix, in ids, of what the model saw and said (its end token left out
where the template writes one) and of the next prompt; replaying the edits turns one into the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from chatlab.plain import Plain

TokenIds = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Border(Plain):
    """Two calls of a model, one after the other, in ids.

    >>> border = Border(prompt_ids=(1, 5), reply_ids=(7, 8, 2), next_ids=(1, 5, 7, 9, 2, 6), end_len=1)
    >>> border.kept_len, border.lost_len, border.cached_len, border.reread_len
    (3, 1, 3, 3)
    """

    told_beside = ("kept_len", "lost_len")

    prompt_ids: TokenIds
    """What the model saw."""
    reply_ids: TokenIds
    """What it said, with the token that ended it where it said one."""
    next_ids: TokenIds
    """What it is to read at the next call."""
    end_len: int = 0
    """1 where the reply ends in an end token and the template writes one of its own there, else 0."""

    @cached_property
    def said_ids(self) -> TokenIds:
        """What the next prompt is to begin with: prompt and reply, without an end token that the template writes."""
        reply_len = len(self.reply_ids) - self.end_len
        return (*self.prompt_ids, *self.reply_ids[:reply_len])

    @cached_property
    def shared_len(self) -> int:
        """Ids of prompt and reply, its end token among them, that the next prompt begins with."""
        return common_len((*self.prompt_ids, *self.reply_ids), self.next_ids)

    @property
    def kept_len(self) -> int:
        """Ids of what was seen and said that the next prompt still begins with."""
        return min(self.shared_len, len(self.prompt_ids) + len(self.reply_ids) - self.end_len)

    @property
    def lost_len(self) -> int:
        """Ids of what was seen and said from the first other one on."""
        return len(self.prompt_ids) + len(self.reply_ids) - self.end_len - self.kept_len

    @property
    def is_kept(self) -> bool:
        """Whether nothing was lost."""
        return not self.lost_len

    @property
    def state_len(self) -> int:
        """Ids that a server holds after the call: all but the last sampled one, which it never read."""
        return max(0, len(self.prompt_ids) + len(self.reply_ids) - 1)

    @property
    def cached_len(self) -> int:
        """Ids of the next prompt that a server finds in its cache: the last one of a prompt is always read."""
        return max(0, min(self.shared_len, self.state_len, len(self.next_ids) - 1))

    @property
    def reread_len(self) -> int:
        """Ids of the next prompt that a server has to read."""
        return len(self.next_ids) - self.cached_len

    @property
    def wasted_len(self) -> int:
        """Ids that a server held and cannot use."""
        return max(0, min(self.state_len, len(self.next_ids) - 1) - self.cached_len)


def common_len(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many ids two sequences have in common at their beginning.

    >>> common_len((1, 2, 3), (1, 2, 4, 3)), common_len((), (1,))
    (2, 0)
    """
    if type(one) is not type(other):
        one, other = tuple(one), tuple(other)
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 32:  # slices are compared without a step of Python an id
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return next(at for at in range(low, high) if one[at] != other[at])


def end_len(
    reply_ids: Sequence[int], next_tail: Sequence[int], end_ids: Collection[int], special_ids: Collection[int]
) -> int:
    """Return 1 where a reply ends in an end token and the template writes one there too, the same or another.

    Args:
        reply_ids: what the model said.
        next_tail: the next prompt from where the reply ends, or from where it is first another.
        end_ids: ids that end a turn.
        special_ids: control tokens; the first of them behind the reply tells whether the template closes it.

    >>> end_len([5, 2], [2, 9], {2}, {2, 9}), end_len([5, 2], [9, 4, 2], {2}, {2, 9}), end_len([5], [2], {2}, {2})
    (1, 0, 0)
    """
    if not reply_ids or reply_ids[-1] not in end_ids:
        return 0
    first = next((token_id for token_id in next_tail if token_id in end_ids or token_id in special_ids), None)
    return int(first in end_ids)
