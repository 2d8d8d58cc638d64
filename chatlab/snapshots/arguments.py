"""What callers give, checked before any work: a wrong type is named, and never read as something else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from chatlab.errors import RevisionCompareError


def texts(name: str, value: Any) -> list[str]:
    """Return a list of strings; a bare string would be read as its letters.

    Raises:
        RevisionCompareError: it is no list of strings; ``name`` says which argument.
    """
    found: list[Any] = [None] if isinstance(value, str | Mapping) or not isinstance(value, Iterable) else list(value)
    if not all(isinstance(item, str) for item in found):
        raise RevisionCompareError(f"{name} is {value!r:.80}: give a list of strings")
    return found


def place(name: str, value: Any, *kinds: type) -> Any:
    """Return a path or a hub id, or one of the other kinds that a function takes.

    Raises:
        RevisionCompareError: it is something else; ``name`` says which argument.
    """
    if not isinstance(value, (str, os.PathLike, *kinds)):
        raise RevisionCompareError(f"{name} is {value!r:.80}: give a folder, a file or a hub id")
    return value


def switches(options: Any) -> dict[str, Any]:
    """Return keyword arguments for ``from_pretrained``; none for ``None``.

    Raises:
        RevisionCompareError: they are no mapping of names.
    """
    if options is not None and not (isinstance(options, Mapping) and all(isinstance(name, str) for name in options)):
        raise RevisionCompareError(f"options is {options!r:.80}: give a mapping such as {{'legacy': False}}")
    return dict(options or {})
