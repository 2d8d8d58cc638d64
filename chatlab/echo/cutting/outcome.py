"""What a way of cutting did to a reply."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Effect = Literal["exact", "eats", "leaks", "alters", "not_applicable"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)


class Outcome(NamedTuple):
    """What a strategy did to one reply."""

    effect: Effect
    effect_len: int
    """Characters eaten from the front, leaked in front, or differing otherwise; 0 when exact or not applicable."""
    first_wrong_offset: int
    """First offset at which the result is not the reply; -1 when exact or not applicable."""

    def __str__(self) -> str:
        """The effect in words."""
        name = self.effect.replace("_", " ")
        return f"{name} {self.effect_len}" if self.effect_len else name


EXACT = Outcome("exact", 0, -1)
NOT_APPLICABLE = Outcome("not_applicable", 0, -1)


def judge(result: str, reply: str) -> Outcome:
    """Compare what a strategy returned with the true reply.

    >>> judge("ello", "Hello"), judge(" ] Hello", "Hello")
    (Outcome(effect='eats', effect_len=1, first_wrong_offset=0), Outcome(effect='leaks', effect_len=3, first_wrong_offset=0))
    """
    if result == reply:
        return EXACT
    if reply.endswith(result):
        return Outcome("eats", len(reply) - len(result), 0)
    if result.endswith(reply):
        return Outcome("leaks", len(result) - len(reply), 0)
    wrong = first_difference(result, reply)
    return Outcome("alters", max(len(result), len(reply)) - wrong, wrong)


def first_difference(a: str, b: str) -> int:
    """Return the first offset at which two texts differ, -1 if they do not."""
    if a == b:
        return -1
    # Halving with slices compares at the speed of memory, where a loop over characters would rule the run time.
    same, differs = 0, min(len(a), len(b)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            differs = middle
    return same
