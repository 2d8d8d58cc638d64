"""One thing that can be changed in a setting, and the cause that its change would prove."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, TypeVar

Seen = TypeVar("Seen")
"""What was observed in a setting."""
SeenOnly = TypeVar("SeenOnly", contravariant=True)
Setting = TypeVar("Setting")
"""Everything that decides what is observed: a frozen, hashable value."""


class Symptom(Protocol[SeenOnly]):
    """What wants a cause: one difference, at one place."""

    def is_gone_in(self, after: SeenOnly) -> bool:
        """Tell whether an observation no longer shows it."""


Place = TypeVar("Place", bound=Symptom)  # type: ignore[type-arg]  # the bound cannot name another TypeVar


class Experiment(ABC, Generic[Setting, Seen, Place]):
    """A cause with the one change that would undo it: it says where it applies and what counts as undone."""

    cause: StrEnum
    """What the experiment proves where it undoes the difference."""
    comes_last: ClassVar[bool] = False
    """Whether it changes what is seen to be wrong, and so, beside another, is made after it."""

    @abstractmethod
    def in_words(self) -> str:
        """Return the one thing that is changed."""

    def applies(self, place: Place) -> bool:
        """Tell whether the shape of the difference makes this a likely cause; unlikely ones are tried last."""
        return True

    @abstractmethod
    def changed(self, setting: Setting, seen: Seen, place: Place) -> Setting | None:
        """Return the setting with the one thing changed, or ``None`` where there is nothing of the kind.

        Args:
            setting: what to change, perhaps changed once already by another experiment.
            seen: what was observed in it.
            place: what is to be explained.
        """

    def control(self, setting: Setting) -> Setting | None:
        """Return the setting made in the same way with nothing changed; ``None`` where no such thing can be made."""
        return setting

    def suffices(self, place: Place) -> bool:
        """Tell whether this can be the cause alone; where not, it is one only beside another that can."""
        return True

    def undoes(self, place: Place, after: Seen) -> bool:
        """Tell whether what was observed after the change proves the cause."""
        return place.is_gone_in(after)


def in_words(experiments: Sequence[Experiment[Setting, Seen, Place]]) -> str:
    """Return what was changed together, in words."""
    return " and ".join(experiment.in_words() for experiment in experiments)
