"""What a chat template may see of a value: plain JSON types, as transformers hands them over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from chatlab.errors import MessageTypeError


def plain_data(value: Any) -> Any:
    """``value`` rebuilt of plain types; pydantic models and dataclasses become mappings, anything else its type's name.

    Images and tensors have methods that a template must not call, and no template reads more of them than that
    they are there.

    Raises:
        MessageTypeError: it is nested deeper than Python can follow.

    >>> plain_data({"content": ({"type": "image", "image": object()},), "n": True})
    {'content': ({'type': 'image', 'image': '<object>'},), 'n': True}
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise MessageTypeError("a message or tool is nested too deep, or holds itself") from error


_BARE: Mapping[type, Callable[[Any], Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):  # a subclass, such as an enum's member, has methods of its own
        if isinstance(value, kind):
            return _BARE[kind](value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [*map(_plain, value)]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if type(value).__module__ == "numpy" and not hasattr(value, "__len__"):  # a scalar, such as a False
        return _plain(value.item())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return _plain(dump())
    return f"<{type(value).__name__}>"
