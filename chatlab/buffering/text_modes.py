"""How text goes in and comes out: as pieces, or as the whole text so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlab.errors import BufferingError, FragmentTypeError, FullTextMismatch

Options = Mapping[str, Any]
"""``{"in_type": "spot" | "full", "out_type": "spot" | "full"}``; every key may be absent."""

SPOT, FULL = "spot", "full"


class TextModes:
    """Turn what a caller puts into new text, and released text into what the caller gets.

    ``in_type`` and ``out_type`` are ``"spot"`` (only the new piece) or ``"full"`` (the whole text so far).
    The first call of a text fixes both; an absent key means ``"spot"`` then, and "as before" later.

    :attr:`first` are the options the text began with, ``None`` before its first call.

    In spot modes nothing is kept. A full input costs one comparison in C with the input before it, a full output
    one copy of the text that is returned; what is searched is the new text alone.
    """

    __slots__ = ("_extra", "_former", "_shown", "first", "in_type", "out_type")

    def __init__(self, extra: Mapping[str, type] | None = None) -> None:
        self._extra = dict(extra or {})
        self.clear()

    def clear(self) -> None:
        """Forget the text and its modes."""
        self.in_type = self.out_type = SPOT
        self.first: Options | None = None
        self._former = ""
        self._shown = ""

    def fix(self, opts: Options | None) -> None:
        """Check the options of one call; the first call of a text fixes the modes.

        Raises:
            BufferingError: no mapping, an unknown key or value, or other modes than the text began with.
        """
        if self.first is not None and (opts is None or opts == self.first):
            return
        opts = {} if opts is None else opts
        self._check(opts)
        modes = opts.get("in_type", self.in_type), opts.get("out_type", self.out_type)
        if self.first is None:
            self.in_type, self.out_type = modes
            self.first = dict(opts)
        elif modes != (self.in_type, self.out_type):
            raise BufferingError(
                f"this text began with in_type {self.in_type!r} and out_type {self.out_type!r}, and now they are "
                f"{modes[0]!r} and {modes[1]!r}: give every put and flush of one text the same, or clear() first"
            )

    def take(self, text: str) -> str:
        """The new part of an input.

        Raises:
            FragmentTypeError: the input is no ``str``.
            FullTextMismatch: a full input does not extend the one before it; nothing is taken then.
        """
        if self.in_type == SPOT:
            return text
        if not isinstance(text, str):
            raise FragmentTypeError(text)
        if not text.startswith(self._former):
            raise FullTextMismatch(self._former, text)
        new = text[len(self._former) :]
        self._former = text
        return new

    def give(self, released: str) -> str:
        """Released text as the caller wants it."""
        if self.out_type == SPOT:
            return released
        if released:
            self._shown += released
        return self._shown

    def _check(self, opts: Options) -> None:
        if not isinstance(opts, Mapping):
            raise BufferingError(f"options are a dict such as {{'in_type': 'spot'}}, not {opts!r}")
        for key, value in opts.items():
            if key in ("in_type", "out_type"):
                if value not in (SPOT, FULL):
                    raise BufferingError(f"option {key!r} is {value!r}: it must be 'spot' or 'full'")
            elif key not in self._extra:
                known = ", ".join(["in_type", "out_type", *self._extra])
                raise BufferingError(f"unknown option {key!r}: known are {known}")
            elif not isinstance(value, self._extra[key]):
                raise BufferingError(f"option {key!r} is {value!r}: it must be a {self._extra[key].__name__}")
