"""Who agrees with whom: the same files under several library versions, as a table; a pure function of snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatlab.errors import RevisionCompareError
from chatlab.plain import Plain
from chatlab.render import code, md, readable, table_html
from chatlab.results import Result
from chatlab.revisions.compare import compare_snapshots
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.differences.behaviour import probes
from chatlab.revisions.differences.drift import drift_of
from chatlab.severity import Severity
from chatlab.snapshots import recorder
from chatlab.snapshots.snapshot import Snapshot
from chatlab.snapshots.views import LoaderView, loader_view

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

Ids = Mapping[str, tuple[int, ...] | None]
"""Ids of each probe; ``None`` where its text is refused."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one version makes of the files."""

    version: str
    group: str
    """Versions of one letter give equal ids on every probe that none refuses; ``–`` where there is no answer."""
    class_name: str
    drift: tuple[int | None, ...]
    """Specials-skipped drift of each prompt of your own, in code points."""
    severity: Severity | None
    """Against the first version that loads; ``None`` where there is no answer."""
    error: str | None = None
    """Why there is none: it did not install, or did not load."""


@dataclass(frozen=True, kw_only=True)
class VersionMatrix(Plain, Result):
    """The same files under several library versions."""

    title = "One tokenizer under several library versions"

    source: str
    loader: str
    cells: tuple[Cell, ...]
    agreement: tuple[tuple[float | None, ...], ...]
    """Share of probes with equal ids, each version against each; ``None`` where one of them has no answer."""
    snapshots: Mapping[str, Snapshot] = field(
        default_factory=dict, repr=False, compare=False, metadata={"plain": False}
    )

    @property
    def severity(self) -> Severity:
        """The worst of all cells; a version that does not load where another does is BREAKING."""
        answered = [c.severity for c in self.cells if c.severity is not None]
        if answered and any(c.error for c in self.cells):
            return Severity.BREAKING
        return max(answered, default=Severity.NONE)

    @property
    def exit_code(self) -> int:
        """As of a comparison; 3 when no version gives an answer."""
        return self.severity.exit_code if any(c.error is None for c in self.cells) else 3

    def compare(self, before: str, after: str) -> Comparison:
        """Return the whole comparison of two versions.

        Raises:
            RevisionCompareError: one of them has no snapshot.
        """
        for version in (before, after):
            if version not in self.snapshots:
                raise RevisionCompareError(f"transformers {version} gave no snapshot")
        return compare_snapshots(self.snapshots[before], self.snapshots[after], loader=self.loader)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a version."""
        import pandas as pd

        return pd.DataFrame(self.to_dict()["cells"])

    def agreement_frame(self) -> pd.DataFrame:
        """Return the square of agreements, NaN where there is no answer."""
        import pandas as pd

        names = [c.version for c in self.cells]
        return pd.DataFrame(self.agreement, index=names, columns=names, dtype=float)

    def to_markdown(self) -> str:
        """Return the versions as a table."""
        head = [f"## {code(self.source)} under {len(self.cells)} versions of transformers ({md(self.loader)})", ""]
        rows = [
            f"| {code(c.version)} | {c.group} | {code(c.class_name)} | {', '.join('–' if d is None else str(d) for d in c.drift) or '–'} "
            f"| {c.severity.label if c.severity is not None else '–'} | {code(c.error or '')} |"
            for c in self.cells
        ]
        return "\n".join(
            [
                *head,
                "| transformers | ids | class | drift | against the first | |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
            ]
        )

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table("transformers", "ids", "class", "drift", "against the first", "", title=Text(self.source))
        for row in self._table():
            table.add_row(*(Text(readable(cell)) for cell in row))
        return table

    def __str__(self) -> str:
        lines = [f"{self.source}, {self.loader}, under {len(self.cells)} versions of transformers:"]
        lines += ["  " + "  ".join(filter(None, row)) for row in self._table()]
        return "\n".join(map(readable, lines))

    def body(self) -> str:
        """Return the versions as an escaped table."""
        columns = ("transformers", "ids", "class", "drift", "against the first", "note")
        return table_html(columns, self._table(), f"{self.source}, {self.loader}")

    def figure(self) -> Drawing:
        """Draw which versions give equal ids."""
        from chatlab.plots import plot_version_matrix

        return plot_version_matrix(self)

    def _table(self) -> list[tuple[str, ...]]:
        return [
            (
                c.version,
                c.group,
                c.class_name,
                ", ".join("–" if d is None else f"{d:+d}" if d else "0" for d in c.drift),
                c.severity.label if c.severity is not None else "–",
                c.error or "",
            )
            for c in self.cells
        ]


def matrix_of(source: str, loader: str, taken: Mapping[str, Snapshot | str]) -> VersionMatrix:
    """Return the matrix of snapshots, or of the reasons why there are none; a pure function of them."""
    good = {v: s for v, s in taken.items() if isinstance(s, Snapshot) and s.loads(loader)}
    views = {v: loader_view(s.record, loader) for v, s in good.items()}
    ids: dict[str, Ids] = {v: {label: p.ids for label, p in view.texts.items()} for v, view in views.items()}
    # Text that some version refuses tells nothing about the others' ids.
    shared = [
        label for label in next(iter(ids.values()), {}) if all(table.get(label) is not None for table in ids.values())
    ]
    letters: dict[str, str] = {}
    cells = []
    for version, value in taken.items():
        if version not in good:
            error = value if isinstance(value, str) else str(value.view(loader)["error"])
            cells.append(Cell(version=version, group="–", class_name="", drift=(), severity=None, error=error))
            continue
        key = recorder.sha256(recorder.canonical([ids[version][label] for label in shared]))
        letter = letters.setdefault(key, chr(ord("A") + len(letters)))
        first = next(iter(good.values()))
        severity = compare_snapshots(first, good[version], loader=loader).severity
        cells.append(
            Cell(
                version=version,
                group=letter,
                class_name=views[version].class_name,
                drift=_drifts(views[version]),
                severity=severity,
            )
        )
    agreement = tuple(tuple(_share(ids.get(a), ids.get(b)) for b in taken) for a in taken)
    return VersionMatrix(source=source, loader=loader, cells=tuple(cells), agreement=agreement, snapshots=good)


def _drifts(view: LoaderView) -> tuple[int | None, ...]:
    own = [probe for probe in probes(view).values() if probe.family == "prompt"]
    return tuple(d.skip if (d := drift_of(probe, view)) else None for probe in own)


def _share(a: Ids | None, b: Ids | None) -> float | None:
    if a is None or b is None:
        return None
    shared = [label for label in a.keys() & b.keys() if a[label] is not None and b[label] is not None]
    return sum(a[label] == b[label] for label in shared) / len(shared) if shared else None
