"""One probe through both tokenizers, piece by piece."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from chatlab.render import readable, text_html
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True)
class PieceRow:
    """Aligned stretches of ids; equal ones stand side by side, others in what one side has in place of the other."""

    same: bool
    before_ids: tuple[int, ...]
    before_pieces: tuple[str, ...]
    after_ids: tuple[int, ...]
    after_pieces: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation(Result):
    """Both tokenizations of one text, aligned, with both echoes."""

    title = "One probe, two revisions"

    label: str
    text: str
    before: str
    after: str
    rows: tuple[PieceRow, ...]

    def to_text(self) -> str:
        """Return the explanation as lines: ``=`` for equal stretches, ``-`` and ``+`` for the two sides."""
        lines = [f"{self.label}: {self.text!r}"]
        for row in self.rows:
            if row.same:
                lines.append(f"  = {_pieces(row.before_ids, row.before_pieces)}")
            else:
                lines += [f"  - {_pieces(row.before_ids, row.before_pieces)}"] if row.before_ids else []
                lines += [f"  + {_pieces(row.after_ids, row.after_pieces)}"] if row.after_ids else []
        lines += [f"  echo before: {self.before!r}", f"  echo after:  {self.after!r}"]
        return "\n".join(map(readable, lines))

    def __repr__(self) -> str:
        return self.to_text()

    def __str__(self) -> str:
        return self.to_text()

    def body(self) -> str:
        """Return the lines of ``to_text`` as escaped HTML."""
        return text_html(self.to_text())

    def to_frame(self) -> pd.DataFrame:
        """Return one row a stretch: ``same``, and the ids and pieces of both sides."""
        import pandas as pd

        columns = [field.name for field in fields(PieceRow)]
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns)

    def figure(self) -> Drawing:
        """Draw both tokenizations as rows, one above the other: where they are equal and where they part."""
        from chatlab.plots import plot_stretches

        stretches = [(row.same, len(row.before_ids), len(row.after_ids)) for row in self.rows]
        return plot_stretches(stretches, ("before", "after"), f"Tokens of {self.label}")


def _pieces(ids: tuple[int, ...], names: tuple[str, ...]) -> str:
    return " ".join(f"{name!r}:{i}" for i, name in zip(ids, names, strict=True))


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """One text as one tokenizer reads it."""

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    echo: str
    """Decoded with special tokens kept, or the error."""


def explanation(label: str, before: Tokenized, after: Tokenized) -> Explanation:
    """Return both tokenizations of one probe, side by side."""
    matcher = difflib.SequenceMatcher(a=before.ids, b=after.ids, autojunk=False)
    rows = tuple(_row(before, after, *opcode) for opcode in matcher.get_opcodes())
    return Explanation(label=label, text=before.text, before=before.echo, after=after.echo, rows=rows)


def _row(before: Tokenized, after: Tokenized, operation: str, a0: int, a1: int, b0: int, b1: int) -> PieceRow:
    return PieceRow(
        same=operation == "equal",
        before_ids=before.ids[a0:a1],
        before_pieces=before.pieces[a0:a1],
        after_ids=after.ids[b0:b1],
        after_pieces=after.pieces[b0:b1],
    )
