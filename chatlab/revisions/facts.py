"""The facts of a comparison, as plain rows: what its report is made from, and what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chatlab.revisions.differences.behaviour import FamilyCount, ProbeChange, RenderRow
from chatlab.revisions.differences.delimiters import Delimiter, Spacing
from chatlab.revisions.differences.drift import BoundaryDrift, DriftRow
from chatlab.revisions.differences.tables import TableDiff
from chatlab.revisions.files import FlagRow, StopRow
from chatlab.revisions.structure import FileChange
from chatlab.revisions.wording import Finding
from chatlab.severity import Severity


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
class Facts:
    """All that was found between two snapshots, sorted."""

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
    prefix_breaks: tuple[tuple[int, ...], tuple[int, ...]]
    """After how many answered turns a render is no beginning of the next longer one, on each side."""
    families: tuple[FamilyCount, ...]
    probes: tuple[ProbeChange, ...]
    drift: tuple[DriftRow, ...]
    boundaries: tuple[BoundaryDrift, ...]
    delimiters: tuple[Delimiter, ...]
    spacing: tuple[Spacing, ...]
    loaders: tuple[LoaderRow, ...]
    advice: tuple[str, ...]
    notes: tuple[str, ...]
