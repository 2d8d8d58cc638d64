"""A view that is given a wrong thing says so at once, by the argument's name: later, a thread would fail unheard."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from operator import index
from typing import Any, get_args

from chatlab.errors import ViewError


def check(name: str, value: object, kinds: Any, need: str) -> None:
    """Refuse a value of another type; ``need`` says what the argument must be, and the way there.

    Raises:
        ViewError: it is none of ``kinds``.
    """
    if not isinstance(value, kinds):
        raise ViewError(f"{name} must be {need}, not {kind_of(value)}")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse what is none of a ``Literal``'s values."""
    if value not in get_args(choices):
        raise ViewError(f"{name} must be one of {', '.join(map(repr, get_args(choices)))}, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no time to wait."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ViewError(f"{name} must be a number of seconds above 0, not {value!r}")


def check_searched(replacements: object, stops: object = ()) -> None:
    """Refuse what is no list of replacements or stop strings; their items are the scanner's to check."""
    check("replacements", replacements, Iterable, r"a list of (search string, target) pairs, such as [('<NL>', '\n')]")
    check("stops", stops, Iterable, "a list of strings")


def check_item(new: object, way: str) -> None:
    """Refuse what is neither text nor a delta: a chunk of another library's stream, above all."""
    if not isinstance(new, str) and not hasattr(new, "token_ids"):
        raise ViewError(
            f"a view shows text or the deltas of chatlab.stream, not {kind_of(new)}: give it each item's text, "
            f"as in {way}"
        )


def token_ids(name: str, value: Any, need: str = "a list of token ids") -> list[int]:
    """Return ids as plain integers; NumPy's and torch's are integers, too.

    Raises:
        ViewError: there is no collection, or something in it is no integer.
    """
    if isinstance(value, str | bytes | bytearray | dict) or not isinstance(value, Collection):
        raise ViewError(f"{name} must be {need}, not {kind_of(value)}")
    try:
        return [index(token_id) for token_id in value]
    except TypeError as error:
        raise ViewError(f"{name} must be {need}, and holds something that is no integer: {error}") from error


def kind_of(value: object) -> str:
    """Name the type of a value that should be another.

    >>> kind_of(None), kind_of(5), kind_of(int)
    ('None', 'int', 'the class int itself')
    """
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    return "None" if value is None else type(value).__name__
