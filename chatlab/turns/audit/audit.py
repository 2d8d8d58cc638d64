"""``audit_template``: one chat template through shapes of conversations, and what it breaks for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.child.call import in_child
from chatlab.errors import ChatlabError
from chatlab.forms import Report, to_html, to_markdown, to_rich
from chatlab.plain import Plain
from chatlab.results import Result
from chatlab.severity import Severity
from chatlab.snapshots.recorder import file_specials
from chatlab.snapshots.views import LoaderView, Record
from chatlab.turns.audit.conversation import SHAPES
from chatlab.turns.audit.files import file_findings, id_findings
from chatlab.turns.audit.finding import TemplateFacts, TemplateFinding, finding, of_fault
from chatlab.turns.audit.inspect import inspect, named
from chatlab.turns.audit.kinds import Kind
from chatlab.turns.audit.reading import AuditSource, read_source
from chatlab.turns.audit.sections import COLUMNS, audit_sections, finding_rows

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True, repr=False)
class TemplateAudit(Plain, Result):
    """What a chat template loses of a conversation, for whom, why, and what to do."""

    title = "A chat template"

    name: str
    findings: tuple[TemplateFinding, ...]
    """The worst first."""
    facts: TemplateFacts
    renders: Mapping[str, str]
    """Shape → what the template writes of it, or why it refuses."""
    unreached: Mapping[str, tuple[int, ...]]
    """Template → lines whose branches no shape goes through: nothing is known of them."""
    unchecked: tuple[str, ...]
    """What could not be looked at, and why."""

    @property
    def severity(self) -> Severity:
        """The worst of the findings."""
        return max((found.severity for found in self.findings), default=Severity.NONE)

    @property
    def exit_code(self) -> int:
        """0 where nothing is found beyond INFO, else 1."""
        return int(self.severity > Severity.INFO)

    @property
    def verdict(self) -> str:
        """One sentence: what is found, and who is hurt."""
        serious = [found for found in self.findings if found.severity > Severity.INFO]
        if not serious:
            return f"Nothing is lost of {len(self.renders)} shapes of conversation."
        hurt = Counter(str(consumer) for found in serious for consumer in found.hurts)
        kinds = ", ".join(dict.fromkeys(str(found.kind) for found in serious))
        who = ", ".join(f"{name} ({count})" for name, count in hurt.most_common())
        return f"{len(serious)} findings over {len(self.renders)} shapes of conversation: {kinds}. Who is hurt: {who}."

    def report(self) -> Report:
        """Return what there is to show, whatever the form."""
        return Report(
            heading=self.name,
            severity=self.severity,
            verdict=self.verdict,
            lines=(),
            sections=tuple(audit_sections(self.findings, self.facts, self.unreached, self.unchecked)),
        )

    def __repr__(self) -> str:
        return render.readable(f"<TemplateAudit {self.name}: {self.severity.label}: {self.verdict}>")

    def __str__(self) -> str:
        lines = [f"  {found.severity.label} ({found.kind}): {found.told}" for found in self.findings]
        return "\n".join(map(render.one_line, [f"{self.name}: {self.severity.label}: {self.verdict}", *lines]))

    def __rich__(self) -> Any:
        return to_rich(self.report())

    def to_markdown(self) -> str:
        """Return the report for a pull request."""
        return to_markdown(self.report())

    def body(self) -> str:
        """Return the report as escaped HTML."""
        return to_html(self.report())

    def to_frame(self) -> pd.DataFrame:
        """Return one row a finding: severity, kind, what, who is hurt, the smallest conversation, cause, cure."""
        import pandas as pd

        return pd.DataFrame(list(finding_rows(self.findings)), columns=list(COLUMNS))

    def figure(self) -> Drawing:
        """Draw how many findings hurt each consumer."""
        from chatlab.plots import plot_counts

        hurt = Counter(str(consumer) for found in self.findings for consumer in found.hurts)
        return plot_counts(list(hurt), list(hurt.values()), "findings", f"Who is hurt: {self.name}")


def audit_template(tokenizer: Any, *, chat_template: str | None = None) -> TemplateAudit:
    """Audit a chat template: what it loses of conversations, who is hurt, why, and the cure.

    Every render is made in a child process within limits, so that the template may be a stranger's.

    Args:
        tokenizer: a folder, hub id, GGUF file or other source; an AutoTokenizer or one of ``load_tokenizer``; or a
            template: its text, or a ``.jinja`` file. With files, stop ids and two readings of them are checked too.
        chat_template: a template instead of the tokenizer's own.

    Raises:
        TemplateError: there is no chat template.
        TemplateSyntaxError: it is not Jinja.
        TemplateLimitError: it writes without end.
        TokenizerLimitError: it took more time or memory than it may.
        TokenizerLoadError: the source does not resolve.
    """
    return audit_of(read_source(tokenizer, chat_template))


def audit_of(source: AuditSource) -> TemplateAudit:
    """Return the audit of what was read."""
    told: dict[str, Any] = in_child(inspect, source.argument, f"the chat template of {source.name}", source.limits)
    facts = TemplateFacts(**told["facts"])
    found = [*map(of_fault, told["faults"]), *_thinking(facts)]
    found += file_findings(source, facts, told["renders"][next(iter(SHAPES))])
    found += id_findings(source, told["borders"], tuple(facts.thinking))
    return TemplateAudit(
        name=source.name,
        findings=tuple(sorted(found, key=lambda one: (-one.severity, list(Kind).index(one.kind), one.key))),
        facts=facts,
        renders=told["renders"],
        unreached={name: tuple(lines) for name, lines in told["unreached"].items()},
        unchecked=tuple(_unchecked(source)),
    )


def conversations_of(record: Record, view: LoaderView) -> tuple[TemplateFinding, ...]:
    """Return what the chat templates that a loader uses lose of conversations, text against text.

    Empty where there is no default template, or none that renders within limits: a record tells both itself.
    """
    templates = {t.name: t.text for t in view.templates if t.used and t.name in ("default", "tool_use")}
    if "default" not in templates or view.exceeded:
        return ()
    specials = file_specials(dict(record["documents"]))
    return _named(tuple(sorted(templates.items())), tuple(sorted(specials.items())))


@lru_cache(maxsize=64)
def _named(
    templates: tuple[tuple[str, str], ...], specials: tuple[tuple[str, str], ...]
) -> tuple[TemplateFinding, ...]:
    source = AuditSource(
        name="a snapshot", templates=dict(templates), specials=dict(specials), encode=None, record=None
    )
    try:
        told: dict[str, Any] = in_child(named, source.argument, "the chat template", source.limits)
    except ChatlabError:  # no Jinja, or it oversteps a limit that the probes did not reach
        return ()
    return (*map(of_fault, told["faults"]), *_thinking(TemplateFacts(**told["facts"])))


def _thinking(facts: TemplateFacts) -> list[TemplateFinding]:
    return [
        finding(Kind.THINKING_OFF, name, before=f"{name} not set", after=str(facts.opening))
        for name, state in facts.thinking.items()
        if state == "off"
    ]


def _unchecked(source: AuditSource) -> list[str]:
    if source.encode is None:
        return ["ids, BOS and stop ids: there is a template and no tokenizer"]
    return [] if source.record is not None else ["stop ids and two readings of the files: there are no files"]
