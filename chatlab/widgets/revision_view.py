"""Two revisions of a tokenizer: the verdict, the tables, and one probe token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import RevisionCompareError
from chatlab.results import Result
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.report.explain import Explanation
from chatlab.widgets.arguments import check

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

CHIP_CAP = 2_000
"""Tokens of one probe drawn at most; beyond it, a browser needs a second and a saved file megabytes."""


class RevisionView(Result):
    """A comparison to look at: verdict first, then the tables, then a probe in chips, side by side.

    Args:
        comparison: from ``compare_revisions``.
        probe: label of the probe to draw; left out, the first one that changed.

    Raises:
        RevisionCompareError: there is no such probe, or the comparison was read from a file, which has no probes.
        ViewError: ``comparison`` is none, or ``probe`` no text.
    """

    title = "Two revisions"

    def __init__(self, comparison: Comparison, probe: str | None = None) -> None:
        check("comparison", comparison, Comparison, "what compare_revisions(before, after) gave")
        check("probe", probe, str | None, "a label, one of .probe_labels")
        self.comparison = comparison
        self.explanation: Explanation | None = None
        """The probe that is drawn; ``None`` when none changed, or for a comparison read from a file."""
        if probe is not None:
            self.explanation = comparison.explain(probe)
        elif comparison.snapshots is not None and comparison.probes:
            self.explanation = comparison.explain(comparison.probes[0].label)

    @property
    def probe_labels(self) -> tuple[str, ...]:
        """The probes that changed, those that decide over a chat first."""
        return tuple(probe.label for probe in self.comparison.probes)

    def explore(self) -> Any:
        """Return the view with a picker for the probe; it needs a live kernel.

        Raises:
            RevisionCompareError: the comparison was read from a file, or no probe changed.
        """
        from chatlab.widgets.picker import Picker

        if self.comparison.snapshots is None or not self.probe_labels:
            raise RevisionCompareError(
                "there is no probe to pick: none changed, or the comparison was read from a file"
            )
        return Picker("Probe", self.probe_labels, lambda label: RevisionView(self.comparison, label), first=self)

    def figure(self) -> Drawing:
        """Draw how many probes of each family changed."""
        return self.comparison.figure()

    def to_frame(self) -> pd.DataFrame:
        """Return one row a probe that changed."""
        return self.comparison.to_frame()

    def __str__(self) -> str:
        lines = [f"{self.comparison.severity.label}: {self.comparison.verdict}"]
        if self.explanation is not None:
            lines.append(self.explanation.to_text())
        return render.readable("\n".join(lines))

    def body(self) -> str:
        """Return the verdict, the tables and the chips as escaped HTML."""
        chips = "" if self.explanation is None else _chips_html(self.explanation)
        return self.comparison.body() + chips


def _chips_html(explanation: Explanation) -> str:
    heading = render.heading_html(f"Probe {explanation.label}", 4)
    text = render.diff_html([render.Part("same", render.visible(explanation.text))])
    columns = ["before", "after"]
    chips = render.table_html(columns, _rows(explanation), "Tokens; equal stretches stand side by side")
    echoes = [[render.Part("same", render.visible(echo))] for echo in (explanation.before, explanation.after)]
    return heading + text + chips + render.table_html(columns, [echoes], "The echo")


def _rows(explanation: Explanation) -> Iterator[Sequence[object]]:
    left = CHIP_CAP
    for row in explanation.rows:
        sides: tuple[tuple[tuple[int, ...], tuple[str, ...], render.Kind], ...] = (
            (row.before_ids, row.before_pieces, "del"),
            (row.after_ids, row.after_pieces, "ins"),
        )
        yield [
            render.Chips(
                tuple(
                    render.Chip(piece, token_id, "same" if row.same else kind)
                    for token_id, piece in zip(ids[:left], pieces[:left], strict=True)
                )
            )
            for ids, pieces, kind in sides
        ]
        left -= max(len(row.before_ids), len(row.after_ids))
        if left <= 0:
            yield [f"only the first {CHIP_CAP:,} tokens are drawn", ""]
            return
