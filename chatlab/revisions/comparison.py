"""The result of a comparison: a value that can be shown, kept and read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import RevisionCompareError
from chatlab.results import Result
from chatlab.revisions.behaviour import FamilyCount, ProbeChange, RenderRow
from chatlab.revisions.delimiters import Delimiter
from chatlab.revisions.drift import BoundaryDrift
from chatlab.revisions.effects import FlagRow
from chatlab.revisions.findings import Finding
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.report.explain import Explanation, explain_probe
from chatlab.revisions.structure import FileChange, TableDiff
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two things compared."""

    name: str
    revision: str | None
    snapshot_sha256: str
    class_name: str
    error: str | None
    files: tuple[str, ...]
    versions: Mapping[str, str | None]
    title: str | None = field(default=None, compare=False)
    """First line of the commit's message, where the repository tells."""
    date: str | None = field(default=None, compare=False)
    """When the commit was made, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class LoaderRow:
    """What the same change looks like through another loader."""

    loader: str
    severity: Severity
    class_names: str
    ids_changed: int
    probe_len: int
    note: str


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """Drift of one prompt on both sides, in code points; ``None`` where there is no echo."""

    label: str
    before_ids: int
    after_ids: int
    before_keep: int | None
    after_keep: int | None
    before_skip: int | None
    after_skip: int | None


@dataclass(frozen=True, kw_only=True)
class StopRow:
    """What one file says ends a reply."""

    file: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Result):
    """What changed between two revisions, or between two library versions, and how badly.

    A pure function of two snapshots (law L5): sorted, without dates of its own, the same on every machine. Titles and
    dates of the commits are told beside it, where their repository does.
    """

    title = "Two revisions"

    before: Side
    after: Side
    loader: str
    severity: Severity
    verdict: str
    findings: tuple[Finding, ...]
    changes: tuple[FileChange, ...]
    shadowing: tuple[str, ...]
    flags: tuple[FlagRow, ...]
    stops: tuple[StopRow, ...]
    vocabulary: TableDiff | None
    merges: TableDiff | None
    template_diff: str
    template_variables: tuple[tuple[str, ...], tuple[str, ...]]
    renders: tuple[RenderRow, ...]
    prefix_breaks: tuple[tuple[str, ...], tuple[str, ...]]
    families: tuple[FamilyCount, ...]
    probes: tuple[ProbeChange, ...]
    drift: tuple[DriftRow, ...]
    boundaries: tuple[BoundaryDrift, ...]
    delimiters: tuple[Delimiter, ...]
    loaders: tuple[LoaderRow, ...]
    advice: tuple[str, ...]
    notes: tuple[str, ...]
    snapshots: tuple[Snapshot, Snapshot] | None = field(default=None, compare=False)
    """The two snapshots, for :meth:`explain`; not part of ``to_dict``."""

    def __repr__(self) -> str:
        told = f"<Comparison {self.before.name} → {self.after.name}: {self.severity.label}: {self.verdict}>"
        return render.readable(told)

    def __str__(self) -> str:
        from chatlab.revisions.report.forms import heading, visible

        findings = [f"  {finding.severity.label} ({finding.kind}): {finding.title}" for finding in self.findings]
        return "\n".join(map(visible, [heading(self), f"{self.severity.label}: {self.verdict}", *findings]))

    @property
    def kinds(self) -> tuple[ChangeKind, ...]:
        """The kinds of change, the worst first."""
        return tuple(finding.kind for finding in self.findings)

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
        return explain_probe(*self.snapshots, self.loader, label)

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
        from chatlab.revisions.report.forms import to_markdown

        return to_markdown(self)

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
        from chatlab.revisions.report.forms import to_rich

        return to_rich(self)

    def body(self) -> str:
        """Return the report as escaped HTML."""
        from chatlab.revisions.report.forms import to_html

        return to_html(self)


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
    "loaders": LoaderRow,
}


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
