"""The result of a comparison: a value that can be shown, kept and read again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import RevisionCompareError
from chatlab.forms import to_html, to_markdown, to_rich
from chatlab.plain import Plain
from chatlab.results import Result
from chatlab.revisions.differences.behaviour import ProbeChange, probes
from chatlab.revisions.facts import Facts
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.report.explain import Explanation, Tokenized, explanation
from chatlab.revisions.sections import heading, report_of
from chatlab.snapshots.snapshot import Snapshot
from chatlab.snapshots.views import LoaderView, Probe, loader_view

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


TABLES = (
    *("findings", "changes", "flags", "stops", "renders", "families", "probes", "drift", "boundaries"),
    *("delimiters", "spacing", "loaders"),
)
"""Fields that are lists of rows."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Facts, Plain, Result):
    """What changed between two revisions, or between two library versions, and how badly.

    A pure function of two snapshots (law L5): sorted, without dates of its own, the same on every machine. Titles and
    dates of the commits are told beside it, where their repository does.
    """

    title = "Two revisions"

    plain_error = RevisionCompareError
    snapshots: tuple[Snapshot, Snapshot] | None = field(default=None, compare=False, metadata={"plain": False})
    """The two snapshots, for :meth:`explain`; not part of ``to_dict``."""

    def __repr__(self) -> str:
        told = f"<Comparison {self.before.name} → {self.after.name}: {self.severity.label}: {self.verdict}>"
        return render.readable(told)

    def __str__(self) -> str:
        findings = [f"  {finding.severity.label} ({finding.kind}): {finding.title}" for finding in self.findings]
        return "\n".join(map(render.one_line, [heading(self), f"{self.severity.label}: {self.verdict}", *findings]))

    @property
    def kinds(self) -> tuple[ChangeKind, ...]:
        """The kinds of change, the worst first."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings))

    @property
    def exit_code(self) -> int:
        """0 up to MINOR, 1 BREAKING, 2 MAJOR or MAJOR-latent."""
        return self.severity.exit_code

    def explain(self, label: str) -> Explanation:
        """Return both tokenizations of one probe, side by side.

        Raises:
            RevisionCompareError: there is no such probe, or the comparison was read from a file.
        """
        if self.snapshots is None:
            raise RevisionCompareError(
                "this comparison was read from a file and has no snapshots: compare again to explain a probe"
            )
        sides = [_tokenized(loader_view(s.record, self.loader), label) for s in self.snapshots]
        return explanation(label, *sides)

    def to_markdown(self) -> str:
        """Return the report for a pull request."""
        return to_markdown(report_of(self))

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return the tables as DataFrames: findings, changes, flags, stops, renders, families, probes, drift, delimiters, loaders."""
        import pandas as pd

        plain = self.to_dict()
        return {name: pd.DataFrame(plain[name]) for name in TABLES}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a probe that changed, those that decide over a chat first."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(ProbeChange)]
        return pd.DataFrame(self.to_dict()["probes"], columns=columns)

    def figure(self) -> Drawing:
        """Draw how many probes of each family changed."""
        from chatlab.plots import plot_probe_changes

        return plot_probe_changes(self)

    def __rich__(self) -> Any:
        return to_rich(report_of(self))

    def body(self) -> str:
        """Return the report as escaped HTML."""
        return to_html(report_of(self))


def _tokenized(view: LoaderView, label: str) -> Tokenized:
    known = probes(view)
    if label not in known:
        raise RevisionCompareError(f"no probe {label!r} on both sides: there are {', '.join(list(known)[:5])} and more")
    return _pieces(view, known[label])


def _pieces(view: LoaderView, probe: Probe) -> Tokenized:
    names = {token_id: piece for piece, token_id in (view.components.vocabulary or {}).items()}
    names.update({t.token_id: t.content for t in view.added_tokens.values() if t.token_id is not None})
    ids = probe.ids or ()
    echo = str(probe.keep if probe.keep is not None else probe.error or "")
    return Tokenized(text=probe.text, ids=ids, pieces=tuple(names.get(i, "?") for i in ids), echo=echo)
