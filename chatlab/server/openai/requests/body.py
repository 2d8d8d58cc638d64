"""A request's JSON object, read field by field: each one is checked by name, and none is passed over in silence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from chatlab.errors import RequestError

T = TypeVar("T")

MAX_LIST_LEN = 10_000
"""Items of one list; a body of the allowed size could hold more, and each costs work."""


class Body:
    """One JSON object, from which each field is taken once.

    **Law.** After :meth:`close` every field was read, was known to be harmless, or had the one value that changes
    nothing; any other raises and is named. A null says as much as a field that is not there.

    >>> body = Body({"max_tokens": 3, "user": "me", "n": 1})
    >>> body.count("max_tokens", at_least=1), body.only({"n": [1]}, "one answer"), body.close(harmless={"user"})
    (3, None, ('user',))
    """

    def __init__(self, data: object, where: str = "") -> None:
        """Begin to read.

        Args:
            data: what stands there.
            where: the name of the object in the body; empty for the body itself.

        Raises:
            RequestError: it is no object.
        """
        self._where = where
        if not isinstance(data, Mapping):
            raise self.wrong("", "an object", data)
        self._rest = {name: value for name, value in data.items() if value is not None}
        self._known = set(data) - set(self._rest)

    def place(self, name: str) -> str:
        """The full name of a field, such as ``messages[0].role``."""
        return f"{self._where}.{name}" if self._where and name else self._where or name

    def wrong(self, name: str, wanted: str, value: object) -> RequestError:
        """The error for a field that holds something else than it should."""
        place = self.place(name)
        return RequestError(f"{place or 'the body'} must be {wanted}, not {shown(value)}", field=place or None)

    def refused(self, name: str, why: str) -> RequestError:
        """The error for a field that asks for what is not done here."""
        return RequestError(f"{self.place(name)}: {why}", field=self.place(name), code="unsupported")

    def take(self, name: str) -> Any:
        """A field as it is, ``None`` where it is not there."""
        self._known.add(name)
        return self._rest.pop(name, None)

    def text(self, name: str) -> str | None:
        """A text."""
        return self._of(name, str, "a string")

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no."""
        value = self._of(name, bool, "true or false")
        return default if value is None else value

    def count(self, name: str, *, at_least: int = 0, at_most: int | None = None) -> int | None:
        """A whole number in bounds."""
        value = self.take(name)
        bounds = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        if value is None or (_is_whole(value) and at_least <= value and (at_most is None or value <= at_most)):
            return None if value is None else int(value)
        raise self.wrong(name, f"a whole number, {bounds}", value)

    def number(self, name: str, *, at_least: float, at_most: float = math.inf) -> float | None:
        """A number in bounds, both included."""
        value = self.take(name)
        if value is None or (is_number(value) and at_least <= value <= at_most):
            return None if value is None else float(value)
        bounds = f"{at_least:g} or more" if at_most == math.inf else f"{at_least:g} to {at_most:g}"
        raise self.wrong(name, f"a number, {bounds}", value)

    def items(self, name: str, wanted: str = "a list") -> Sequence[Any] | None:
        """A list, whatever it holds."""
        value = self.take(name)
        if value is None or (isinstance(value, list) and len(value) <= MAX_LIST_LEN):
            return value
        raise self.wrong(name, f"{wanted} of at most {MAX_LIST_LEN} items", value)

    def texts(self, name: str) -> tuple[str, ...]:
        """One text or a list of them, none of them empty."""
        value = self.take(name)
        values = [] if value is None else [value] if isinstance(value, str) else value
        if isinstance(values, list) and len(values) <= MAX_LIST_LEN and all(isinstance(v, str) and v for v in values):
            return tuple(values)
        raise self.wrong(name, "a string or a list of strings, none of them empty", value)

    def ids(self, name: str) -> tuple[int, ...] | None:
        """A list of token ids; whether the vocabulary has them is the engine's affair."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, list) and all(type(item) is int and 0 <= item < 2**31 for item in value):
            return tuple(value)
        raise self.wrong(name, "a list of token ids", value)

    def object(self, name: str) -> Body | None:
        """An object, to be read in its turn."""
        value = self.take(name)
        return None if value is None else Body(value, self.place(name))

    def objects(self, name: str) -> list[Body] | None:
        """A list of objects, each to be read in its turn."""
        values = self.items(name, "a list of objects")
        if values is None:
            return None
        return [Body(value, f"{self.place(name)}[{number}]") for number, value in enumerate(values)]

    def only(self, allowed: Mapping[str, Sequence[Any]], why: str) -> None:
        """Take fields that may be there with a value that changes nothing.

        Raises:
            RequestError: one has another value.
        """
        for name, values in allowed.items():
            value = self.take(name)
            if value is not None and not any(
                value == v and isinstance(value, bool) == isinstance(v, bool) for v in values
            ):
                told = " or ".join(map(shown, values)) or "null"
                raise self.refused(name, f"only {told} is supported, not {shown(value)}: {why}")

    def close(self, harmless: Sequence[str] | set[str] | frozenset[str] = ()) -> tuple[str, ...]:
        """End the reading; the names of the fields that were there and change nothing.

        Raises:
            RequestError: a field is left that nobody knows.
        """
        ignored = tuple(sorted(self._rest.keys() & set(harmless)))
        for name in self._rest.keys() - set(harmless):
            near = get_close_matches(name, [*self._known, *harmless], n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            place = self.place(name)
            raise RequestError(
                f"{shown(place)} is no field that is known here: {hint}", field=place, code="unknown_field"
            )
        return ignored

    def _of(self, name: str, kind: type[T], wanted: str) -> T | None:
        value = self.take(name)
        if value is None or isinstance(value, kind):
            return value
        raise self.wrong(name, wanted, value)


def read_with(
    read: Callable[[Body], T], data: object, harmless: frozenset[str] = frozenset()
) -> tuple[T, tuple[str, ...]]:
    """What a reader makes of a body, and the fields that it left because they change nothing."""
    body = Body(data)
    value = read(body)
    return value, body.close(harmless)


def is_number(value: object) -> bool:
    """Whether it is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def shown(value: object) -> str:
    """A value in a message, short and as JSON spells it."""
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "null"}[value]
    return (
        f"{value!r:.60}"
        if not isinstance(value, list | dict)
        else f"{'a list' if isinstance(value, list) else 'an object'}"
    )


def _is_whole(value: object) -> bool:
    return is_number(value) and value == int(value)  # type: ignore[call-overload]


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
