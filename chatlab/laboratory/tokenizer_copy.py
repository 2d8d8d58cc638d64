"""Experiments on a copy of a tokenizer, for any study whose setting holds one."""

from __future__ import annotations

from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

from chatlab.laboratory.experiment import Experiment, Place, Seen
from chatlab.tokenizers.changes import CHANGES, control_of
from chatlab.tokenizers.interface import Tokenizer


class HasTokenizer(Protocol):
    """A setting, a dataclass, with a tokenizer in it."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer under study."""


Holder = TypeVar("Holder", bound=HasTokenizer)


@dataclass(frozen=True, kw_only=True)
class ChangedTokenizer(Experiment[Holder, Seen, Place]):
    """Change one named thing of :mod:`chatlab.tokenizers.changes`; the control is a copy with nothing changed."""

    change: str
    argument: object = None

    def in_words(self) -> str:
        """Return the first line of the change's docstring, and its name."""
        name = self.change if self.argument is None else f"{self.change} {self.argument}"
        if self.change not in CHANGES:
            return name
        return f"{(CHANGES[self.change].__doc__ or '').splitlines()[0].rstrip('.')} ({name})"

    def changed(self, setting: Holder, seen: Seen, place: Place) -> Holder | None:
        """Return the setting with a changed copy of its tokenizer."""
        return _with(setting, setting.tokenizer.change(self.change, self.argument))

    def control(self, setting: Holder) -> Holder | None:
        """Return the setting with a copy of its tokenizer that was made in the same way."""
        name = control_of(self.change)
        return setting if name is None else _with(setting, setting.tokenizer.change(name))


def _with(setting: Holder, tokenizer: Tokenizer | None) -> Holder | None:
    return None if tokenizer is None else replace(setting, tokenizer=tokenizer)
