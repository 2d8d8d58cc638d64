"""What a buffer did with each put, to look at: text, table, DataFrame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from chatlab.plain import Plain
from chatlab.render import table_html, visible
from chatlab.results import Result

if TYPE_CHECKING:
    from pandas import DataFrame

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True)
class BufferStep:
    """One call: what came in, what went out, what is held and why."""

    call: str
    """``put``, or ``flush`` at the end of the text."""
    fragment: str
    """The new text that came in."""
    delta: str
    """The new text that went out."""
    held: str
    """The text kept back after this call, as it came in."""
    waiting_for: tuple[str, ...]
    """The patterns that might begin in the held text."""
    stop_str: str | None
    """The stop string that was found."""
    raw_len: int
    """Code points that came in so far."""
    released_len: int
    """Code points of them that are decided, before a stop."""
    shown_len: int
    """Code points that went out so far."""


@dataclass(frozen=True, kw_only=True)
class BufferTrace(Result, Plain):
    r"""A whole text through a buffer, call by call.

    >>> from chatlab.buffering.tokflow import TokFlow
    >>> print(TokFlow([("<NL>", "\n")]).trace(["Hi<", "NL", ">you <"]))
    call   in      out     held  waiting for
    put    Hi<     Hi      <     <NL>
    put    NL              <NL   <NL>
    put    >you·<  ⏎you·   <     <NL>
    flush          <
    """

    title = "What a buffer held back"

    steps: tuple[BufferStep, ...]
    """One for each put, and one for the flush if no stop ended the text."""

    @property
    def text(self) -> str:
        """All text that went out."""
        return "".join(step.delta for step in self.steps)

    @property
    def stop_str(self) -> str | None:
        """The stop string that ended the text."""
        return self.steps[-1].stop_str if self.steps else None

    def to_frame(self) -> DataFrame:
        """One row a call, with the columns of :class:`BufferStep`."""
        from pandas import DataFrame

        columns = [field.name for field in fields(BufferStep)]
        # As objects first: a column of Arrow strings refuses the lone surrogates that a broken stream may hold.
        frame = DataFrame([asdict(step) for step in self.steps], columns=columns, dtype=object)
        return frame.astype({name: int for name in columns if name.endswith("_len")})

    def figure(self) -> Drawing:
        """What came in against what was decided, call by call."""
        from chatlab.plots import plot_buffer_trace

        return plot_buffer_trace(self)

    def __str__(self) -> str:
        rows = [_HEADER, *map(_cells, self.steps)]
        widths = [max(_width(row[i]) for row in rows) for i in range(len(_HEADER))]
        return "\n".join(_line(row, widths) for row in rows)

    def body(self) -> str:
        """The calls as an escaped table."""
        return table_html(_HEADER, map(_cells, self.steps))


_HEADER = ("call", "in", "out", "held", "waiting for")


def _cells(step: BufferStep) -> tuple[str, ...]:
    """The drawn columns, each on one line, with what does not show made visible."""
    why = step.waiting_for if step.stop_str is None else ("stop:", step.stop_str)
    texts = (step.fragment, step.delta, step.held, *why)
    fragment, delta, held, *patterns = (visible(text).replace("\n", "") for text in texts)
    return step.call, fragment, delta, held, "  ".join(patterns)


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()


def _width(cell: str) -> int:
    """Columns of a terminal: a Japanese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in cell)
