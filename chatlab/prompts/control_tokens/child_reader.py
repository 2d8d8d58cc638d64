"""The reader of a tokenizer that lives in a child: its calls go there, to the reader that the tokenizer has there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from chatlab.prompts.control_tokens.reading import EncodedText, Reader, Token

_FACTS: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""What was told of each tokenizer, which never changes; a reader that is kept would keep the child alive."""


class ChildReader(Reader):
    """A reader by way of ``tokenizer.in_child(function, argument)``; ``read`` and the like are told by name."""

    def __init__(self, tokenizer: Any, ask: Callable[[Any, Any], Any]) -> None:
        """Ask by ``ask``, a function of a module's top level that takes a tokenizer and ``[name, arguments]``."""
        self._in_child, self._ask = tokenizer.in_child, ask
        if tokenizer not in _FACTS:
            _FACTS[tokenizer] = self._told("facts")
        facts = _FACTS[tokenizer]
        self.name, self.unk_id = facts["name"], facts["unk_id"]
        self.added, self.special = dict(facts["added"]), frozenset(facts["special"])
        self._frame = facts["frame"]

    def _told(self, name: str, *arguments: Any) -> Any:
        return self._in_child(self._ask, [name, arguments])

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that ``add_special_tokens=True`` puts before and after a text."""
        before, after = self._frame
        return list(before), list(after)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        return self._told("encode", text, add_special_tokens)  # type: ignore[no-any-return]  # of JSON

    def read(self, text: str, add_special_tokens: bool = False) -> EncodedText:
        """The ids of ``text``, with those that could speak for the format."""
        token_ids, added = self._told("read", text, add_special_tokens)
        return EncodedText(token_ids, [Token(*token) for token in added])

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch`` with no control token in it."""
        return self._told("read_as_text", stretch, sorted(control), after)  # type: ignore[no-any-return]


def told_by(reader: Reader, name: str, arguments: list[Any]) -> Any:
    """Return what a reader says, as JSON values; the child's side."""
    if name == "facts":
        told = {"name": reader.name, "unk_id": reader.unk_id, "frame": reader.frame}
        return {**told, "added": list(reader.added.items()), "special": sorted(reader.special)}
    if name == "read_as_text":
        stretch, control, after = arguments
        return reader.read_as_text(stretch, frozenset(control), after)
    return getattr(reader, name)(*arguments)
