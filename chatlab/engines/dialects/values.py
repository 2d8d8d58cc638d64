"""Values of a wire format, checked: another server's types are not taken for ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chatlab.errors import RemoteError


def shown(value: object) -> str:
    """A value in an error message, short and without line breaks."""
    return ascii(value)[:500] if isinstance(value, bytes) else repr(value)[:500]


def wrong(name: str, wanted: str, value: object) -> RemoteError:
    """The error for a value of another kind than the wire format has there."""
    return RemoteError(f"the server sent {name} that is no {wanted}: {shown(value)}")


def text_of(name: str, value: object) -> str:
    """A text; none is the empty one."""
    if not isinstance(value, str | None):
        raise wrong(name, "text", value)
    return value or ""


def content_of(name: str, value: object) -> str:
    """A text, or OpenAI's list of text parts, joined."""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return "".join(text_of(name, part.get("text")) for part in value)
    return text_of(name, value)


def flag_of(name: str, value: object) -> bool:
    """A yes or no; none is no."""
    if not isinstance(value, bool | None):
        raise wrong(name, "yes or no", value)
    return value or False


def word_of(name: str, value: object) -> str | None:
    """A word, or none; ``False`` is none, too."""
    if value is None or value is False:
        return None
    return text_of(name, value)


def dict_of(name: str, value: object) -> dict[str, Any]:
    """An object; none is the empty one."""
    if not isinstance(value, dict | None):
        raise wrong(name, "object", value)
    return value or {}


def list_of(name: str, value: object) -> list[Any]:
    """A list; none is the empty one."""
    if not isinstance(value, list | None):
        raise wrong(name, "list", value)
    return value or []


def count_of(name: str, value: object) -> int | None:
    """A number of things, or none."""
    if value is not None and (type(value) is not int or value < 0):
        raise wrong(name, "count", value)
    return value


def id_of(name: str, value: object) -> int:
    """A token id."""
    if type(value) is not int or value < 0:
        raise wrong(name, "token id", value)
    return value


def ids_of(name: str, value: object) -> tuple[int, ...] | None:
    """Token ids, or none."""
    return None if value is None else tuple(id_of(name, item) for item in list_of(name, value))


def logprob_of(name: str, value: object) -> float | None:
    """A log probability, or none."""
    if value is None:
        return None
    if type(value) not in (int, float) or math.isnan(float(value)):  # type: ignore[arg-type]
        raise wrong(name, "log probability", value)
    return float(value)  # type: ignore[arg-type]


def refuse_unknown_text(name: str, item: dict[str, Any], known: Sequence[str] | frozenset[str]) -> None:
    """Refuse a text under a name that nobody reads here: it may be a piece of the reply, which would be lost.

    Raises:
        RemoteError: there is one.
    """
    for key, value in item.items():
        if key not in known and isinstance(value, str) and value:
            raise RemoteError(f"the server sent a {name} with an unknown text {key!r}: {shown(value)}")
