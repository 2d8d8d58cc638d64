"""``--without FIELD``: dialogues that lack what a prompt class has no place for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from chatlab.errors import DialogueError
from chatlab.prompts.dialogue import Dialogue
from chatlab.prompts.shapes import names_of_field


class Without:
    """Leaves fields out of dialogues, and knows which of them stood in none: a slip of the pen leaves out nothing."""

    def __init__(self, names: Sequence[str]) -> None:
        """Raises DialogueError where one of them cannot be left out."""
        self._names = tuple(dict.fromkeys(names))
        self._said = set[str]()
        for name in self._names:
            names_of_field(name)

    def of(self, dialogues: Iterable[Dialogue]) -> Iterator[Dialogue]:
        """The same dialogues without the fields."""
        if not self._names:
            yield from dialogues
            return
        for dialogue in dialogues:
            self._said |= _fields(dialogue)
            yield dialogue.without(*self._names)

    def check(self, path: Path) -> None:
        """Refuse a name that no dialogue so far had as a field.

        Raises:
            DialogueError: there is one; the fields that there are stand in the message.
        """
        unknown = next((name for name in self._names if not names_of_field(name) & self._said), None)
        if unknown is None:
            return
        near = get_close_matches(unknown, self._said, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        there = f"there are {', '.join(sorted(self._said))}" if self._said else "they have only role and content"
        raise DialogueError(f"no dialogue of {path} has a field {unknown!r:.80} to leave out: {hint}{there}")


def _fields(dialogue: Dialogue) -> set[str]:
    """What ``Dialogue.without`` can leave out of a dialogue."""
    of_messages = {key for message in dialogue.messages for key in message} - {"role", "content"}
    return of_messages | {name for name in ("tools", "variables") if getattr(dialogue, name)}
