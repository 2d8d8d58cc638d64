"""Two templates against each other: a patch is to change what it claims, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.forms import Report, Section, to_html, to_markdown, to_rich
from chatlab.plain import Plain
from chatlab.results import Result
from chatlab.severity import Severity
from chatlab.turns.audit.audit import TemplateAudit, audit_of
from chatlab.turns.audit.finding import TemplateFinding
from chatlab.turns.audit.reading import is_template_file, read_source
from chatlab.turns.audit.sections import COLUMNS, finding_rows

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True, repr=False)
class TemplatePatch(Plain, Result):
    """What another template changes: which findings go and come, and which texts change without any finding."""

    title = "A patched chat template"

    before: TemplateAudit
    after: TemplateAudit

    @property
    def gone(self) -> tuple[TemplateFinding, ...]:
        """Findings that the other template does not have."""
        return _missing(self.before, self.after)

    @property
    def came(self) -> tuple[TemplateFinding, ...]:
        """Findings that only the other template has."""
        return _missing(self.after, self.before)

    @property
    def stayed(self) -> tuple[TemplateFinding, ...]:
        """Findings of both."""
        gone = {found.key for found in self.gone}
        return tuple(found for found in self.before.findings if found.key not in gone)

    @property
    def changed(self) -> tuple[str, ...]:
        """Shapes of which the other template writes something else."""
        both = self.before.renders, self.after.renders
        return tuple(name for name in dict.fromkeys((*both[0], *both[1])) if both[0].get(name) != both[1].get(name))

    @property
    def unnamed(self) -> tuple[str, ...]:
        """Those of them that no finding that goes or comes is shown by: nobody claimed them."""
        named = {name for found in (*self.gone, *self.came) for name in found.shapes}
        return tuple(name for name in self.changed if name not in named)

    @property
    def facts(self) -> tuple[str, ...]:
        """What the template does otherwise that is no fault."""
        pairs = zip(self.before.facts.lines(), self.after.facts.lines(), strict=False)
        return tuple(f"{one}; now {two}" for one, two in pairs if one != two)

    @property
    def severity(self) -> Severity:
        """The worst of what came; texts that no finding names are MAJOR."""
        worst = max((found.severity for found in self.came), default=Severity.NONE)
        return max(worst, Severity.MAJOR) if self.unnamed or self.facts else worst

    @property
    def exit_code(self) -> int:
        """0 where nothing comes and nothing changes that no finding names, else 1."""
        return int(self.severity > Severity.INFO)

    @property
    def verdict(self) -> str:
        """One sentence: what goes, what comes, what changes beside."""
        if not (self.gone or self.came or self.changed or self.facts):
            return f"Nothing changes: {len(self.stayed)} findings stay."
        came = f"; new: {_kinds(self.came)}" if self.came else "; none is new"
        texts = f"; {len(self.unnamed)} texts change that no finding names" if self.unnamed else ""
        facts = f"; {len(self.facts)} facts change" if self.facts else ""
        gone = f"{_kinds(self.gone)} gone" if self.gone else "no finding is gone"
        return f"{gone[0].upper()}{gone[1:]}{came}{texts}{facts}; {len(self.stayed)} stay."

    def report(self) -> Report:
        """Return what there is to show, whatever the form."""
        return Report(
            heading=f"{self.before.name} → {self.after.name}",
            severity=self.severity,
            verdict=self.verdict,
            lines=(),
            sections=tuple(self._sections()),
        )

    def _sections(self) -> Iterator[Section]:
        shown = COLUMNS[:5]
        for title, found in (("New", self.came), ("Gone", self.gone), ("Stays", self.stayed)):
            if found:
                yield Section(title=title, header=shown, rows=tuple(row[: len(shown)] for row in finding_rows(found)))
        if self.facts:
            yield Section(title="What the template does otherwise", lines=self.facts)
        if self.unnamed:
            sides = [
                (name, self.before.renders.get(name, ""), self.after.renders.get(name, "")) for name in self.unnamed
            ]
            rows = tuple((name, *_from_difference(one, two)) for name, one, two in sides)
            yield Section(title="Texts that change without a finding", header=("shape", "before", "after"), rows=rows)

    def __repr__(self) -> str:
        return render.readable(f"<TemplatePatch {self.after.name}: {self.severity.label}: {self.verdict}>")

    def __str__(self) -> str:
        sides = (("new", self.came), ("gone", self.gone))
        lines = [f"  {word}: {found.severity.label}: {found.told}" for word, side in sides for found in side]
        return "\n".join(map(render.one_line, [f"{self.severity.label}: {self.verdict}", *lines]))

    def __rich__(self) -> Any:
        return to_rich(self.report())

    def to_markdown(self) -> str:
        """Return the report for a pull request."""
        return to_markdown(self.report())

    def body(self) -> str:
        """Return the report as escaped HTML."""
        return to_html(self.report())

    def to_frame(self) -> pd.DataFrame:
        """Return one row a finding of either side, with ``change``: ``new``, ``gone`` or ``stays``."""
        import pandas as pd

        sides = (("new", self.came), ("gone", self.gone), ("stays", self.stayed))
        rows = [(word, *row) for word, side in sides for row in finding_rows(side)]
        return pd.DataFrame(rows, columns=["change", *COLUMNS])

    def figure(self) -> Drawing:
        """Draw how many findings come, go and stay, and how many texts change without one."""
        from chatlab.plots import plot_counts

        counts = {"new": self.came, "gone": self.gone, "stays": self.stayed, "texts": self.unnamed}
        return plot_counts(list(counts), list(map(len, counts.values())), "findings, texts", self.after.name)


def _missing(one: TemplateAudit, other: TemplateAudit) -> tuple[TemplateFinding, ...]:
    known = {found.key for found in other.findings}
    return tuple(found for found in one.findings if found.key not in known)


def _kinds(found: Sequence[TemplateFinding]) -> str:
    return ", ".join(dict.fromkeys(str(one.kind) for one in found))


def _from_difference(one: str, other: str) -> tuple[str, str]:
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - 20)
    return one[start : start + 120], other[start : start + 120]


def audit_patch(tokenizer: Any, other: Any, *, chat_template: str | None = None) -> TemplatePatch:
    """Audit a template and another one that would take its place.

    Args:
        tokenizer: as for :func:`audit_template`.
        other: a template, its text or a ``.jinja`` file, that is rendered for the same tokenizer; or another source.
        chat_template: a template instead of the tokenizer's own.

    Raises:
        ChatlabError: as :func:`audit_template` does, of either side.
    """
    before = read_source(tokenizer, chat_template)
    alone = is_template_file(other)
    after = read_source(tokenizer, read_source(other).templates["default"]) if alone else read_source(other)
    return TemplatePatch(before=audit_of(before), after=audit_of(after))
