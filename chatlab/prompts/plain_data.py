"""Values of others rebuilt of plain types: for a chat template, as transformers hands them over, and for keeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from chatlab.errors import MessageTypeError

Leaf = Callable[[Any], Any]
"""What becomes of a value that has no plain type."""


def plain_data(value: Any) -> Any:
    """``value`` rebuilt of plain types; pydantic models and dataclasses become mappings, anything else its type's name.

    Images and tensors have methods that a template must not call, and no template reads more of them than that
    they are there.

    Raises:
        MessageTypeError: it is nested deeper than Python can follow.

    >>> plain_data({"content": ({"type": "image", "image": object()},), "n": True})
    {'content': ({'type': 'image', 'image': '<object>'},), 'n': True}
    """
    return _rebuilt(value, lambda leaf: f"<{type(leaf).__name__}>")


def kept_data(value: Any) -> Any:
    """``value`` rebuilt as ``plain_data`` does, but tuples and arrays become lists, and what has no plain type stays.

    Raises:
        MessageTypeError: it is nested deeper than Python can follow.
    """
    return _rebuilt(value, lambda leaf: leaf, list_type=list)


def _rebuilt(value: Any, leaf: Leaf, list_type: type | None = None) -> Any:
    try:
        return _plain(value, leaf, list_type)
    except RecursionError as error:
        raise MessageTypeError("a message or tool is nested too deep, or holds itself") from error


_BARE: Mapping[type, Callable[[Any], Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}


def _plain(value: Any, leaf: Leaf, list_type: type | None) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):  # a subclass, such as an enum's member, has methods of its own
        if isinstance(value, kind):
            return _BARE[kind](value)
    if isinstance(value, Mapping):
        return {_plain(key, leaf, list_type): _plain(item, leaf, list_type) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, leaf, list_type) for item in value]
        return tuple(items) if type(value) is tuple and list_type is None else items
    return _plain_object(value, leaf, list_type)


def _plain_object(value: Any, leaf: Leaf, list_type: type | None) -> Any:
    if type(value).__module__ == "numpy" and not hasattr(value, "__len__"):  # a scalar, such as a False
        return _plain(value.item(), leaf, list_type)
    if (
        list_type is not None and type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1
    ):  # a list, as pandas holds it
        return _plain(list(value), leaf, list_type)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), leaf, list_type) for field in fields(value)}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return _plain(dump(), leaf, list_type)
    return leaf(value)
