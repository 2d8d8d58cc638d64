"""What a log may say of an error: its kinds and where it arose, never its words, which may quote a message."""

from __future__ import annotations

import traceback


def where_of(error: BaseException) -> str:
    """The kinds of an error and of what led to it, each with the place that raised it.

    >>> try:
    ...     int("the user's words")
    ... except ValueError as error:
    ...     where_of(error)
    'ValueError at <doctest chatlab.server.told.where_of[0]>:2'
    """
    told: list[str] = []
    found: BaseException | None = error
    while found is not None and len(told) < 8:
        frames = traceback.extract_tb(found.__traceback__)
        at = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        told.append(type(found).__name__ + at)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return ", from ".join(told)
