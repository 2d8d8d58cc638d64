"""The result of a comparison: a value that can be shown, kept and read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import RevisionCompareError
from chatlab.results import Result
from chatlab.revisions.differences.behaviour import FamilyCount, ProbeChange, RenderRow, probes
from chatlab.revisions.differences.delimiters import Delimiter, Spacing
from chatlab.revisions.differences.drift import BoundaryDrift, DriftRow
from chatlab.revisions.differences.tables import TableDiff
from chatlab.revisions.facts import Facts, LoaderRow, Side
from chatlab.revisions.files import FlagRow, StopRow
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.report.explain import Explanation, Tokenized, explanation
from chatlab.revisions.report.forms import to_html, to_markdown, to_rich, visible
from chatlab.revisions.sections import heading, report_of
from chatlab.revisions.structure import FileChange
from chatlab.revisions.wording import Finding
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import Snapshot
from chatlab.snapshots.views import LoaderView, Probe, loader_view

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Facts, Result):
    """What changed between two revisions, or between two library versions, and how badly.

    A pure function of two snapshots (law L5): sorted, without dates of its own, the same on every machine. Titles and
    dates of the commits are told beside it, where their repository does.
    """

    title = "Two revisions"

    snapshots: tuple[Snapshot, Snapshot] | None = field(default=None, compare=False)
    """The two snapshots, for :meth:`explain`; not part of ``to_dict``."""

    def __repr__(self) -> str:
        told = f"<Comparison {self.before.name} → {self.after.name}: {self.severity.label}: {self.verdict}>"
        return render.readable(told)

    def __str__(self) -> str:
        findings = [f"  {finding.severity.label} ({finding.kind}): {finding.title}" for finding in self.findings]
        return "\n".join(map(visible, [heading(self), f"{self.severity.label}: {self.verdict}", *findings]))

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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "snapshots"]
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """Return the comparison that ``to_dict`` wrote; it can be shown again, not explained."""
        values = dict(data)
        for name, row in _ROWS.items():
            values[name] = tuple(_row(row, item) for item in values[name])
        for name in ("before", "after"):
            values[name] = _row(Side, values[name])
        for name in ("vocabulary", "merges"):
            values[name] = None if values[name] is None else _row(TableDiff, values[name])
        for name in ("template_variables", "prefix_breaks"):
            values[name] = tuple(tuple(part) for part in values[name])
        for name in ("shadowing", "advice", "notes"):
            values[name] = tuple(values[name])
        return cls(**{**values, "severity": Severity.from_label(values["severity"])})

    def to_markdown(self) -> str:
        """Return the report for a pull request."""
        return to_markdown(report_of(self))

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return the tables as DataFrames: findings, changes, flags, stops, renders, families, probes, drift, delimiters, loaders."""
        import pandas as pd

        return {name: pd.DataFrame([_plain(row) for row in getattr(self, name)]) for name in _ROWS}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a probe that changed, those that decide over a chat first."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(ProbeChange)]
        return pd.DataFrame([_plain(probe) for probe in self.probes], columns=columns)

    def figure(self) -> Drawing:
        """Draw how many probes of each family changed."""
        from chatlab.plots import plot_probe_changes

        return plot_probe_changes(self)

    def __rich__(self) -> Any:
        return to_rich(report_of(self))

    def body(self) -> str:
        """Return the report as escaped HTML."""
        return to_html(report_of(self))


_ROWS: dict[str, type] = {
    "findings": Finding,
    "changes": FileChange,
    "flags": FlagRow,
    "stops": StopRow,
    "renders": RenderRow,
    "families": FamilyCount,
    "probes": ProbeChange,
    "drift": DriftRow,
    "boundaries": BoundaryDrift,
    "delimiters": Delimiter,
    "spacing": Spacing,
    "loaders": LoaderRow,
}


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


def _plain(value: Any) -> Any:
    if isinstance(value, Severity):
        return value.label
    if isinstance(value, ChangeKind):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _row(cls: type, data: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) and cls is not FileChange else value
        for name, value in data.items()
    }
    if "severity" in values:
        values["severity"] = Severity.from_label(values["severity"])
    if "kind" in values:
        values["kind"] = ChangeKind(values["kind"])
    return cls(**values)
