"""One probe through both tokenizers, piece by piece."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from chatlab.errors import RevisionCompareError
from chatlab.render import readable, text_html
from chatlab.results import Result
from chatlab.revisions.behaviour import probes
from chatlab.snapshots.snapshot import Snapshot

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


def id_pieces(record: Mapping[str, Any], view: Mapping[str, Any]) -> dict[int, str]:
    """Return id → piece of a view."""
    table = record["tables"].get(view.get("components", {}).get("model", {}).get("vocab"), {})
    found = {i: piece for piece, i in table.items()} if isinstance(table, dict) else dict(enumerate(table))
    found.update({t["id"]: t["content"] for t in view.get("added_tokens", [])})
    return found


def explain_probe(before: Snapshot, after: Snapshot, loader: str, label: str) -> Explanation:
    """Return both tokenizations of one probe, side by side.

    Raises:
        RevisionCompareError: one side has no probe of that label.
    """
    sides = [(s, s.view(loader)) for s in (before, after)]
    found = [probes(view).get(label) for _, view in sides]
    if found[0] is None or found[1] is None:
        known = ", ".join(list(probes(sides[0][1]))[:5])
        raise RevisionCompareError(f"no probe {label!r} on both sides: there are {known} and more")
    ids = [list(p.get("ids") or []) if p else [] for p in found]
    names = [id_pieces(s.record, view) for s, view in sides]
    rows = []
    for operation, a0, a1, b0, b1 in difflib.SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_opcodes():
        one, two = tuple(ids[0][a0:a1]), tuple(ids[1][b0:b1])
        rows.append(
            PieceRow(
                same=operation == "equal",
                before_ids=one,
                before_pieces=tuple(names[0].get(i, "?") for i in one),
                after_ids=two,
                after_pieces=tuple(names[1].get(i, "?") for i in two),
            )
        )
    echoes = [str(p.get("keep", p.get("error", ""))) for p in found if p]
    return Explanation(label=label, text=str(found[0]["text"]), before=echoes[0], after=echoes[1], rows=tuple(rows))
