"""The report of an audit: its findings as sections, the most important first, whatever the form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from chatlab.forms import Section
from chatlab.turns.audit.finding import TemplateFacts, TemplateFinding

COLUMNS = ("severity", "kind", "what", "who is hurt", "smallest conversation", "by design", "shown by", "cause", "cure")
"""Of the table of findings."""


def audit_sections(
    findings: Sequence[TemplateFinding],
    facts: TemplateFacts,
    unreached: Mapping[str, tuple[int, ...]],
    unchecked: Sequence[str],
) -> Iterator[Section]:
    """Yield what there is to show of an audit."""
    if findings:
        shown = ("severity", "kind", "what", "who is hurt", "by design", "shown by")
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in finding_rows(findings)]
        yield Section(title="Findings", header=shown, rows=tuple(tuple(row[name] for name in shown) for row in rows))
    for number, found in enumerate(findings, 1):
        yield Section(title=f"{number}. {found.kind}", lines=tuple(_lines(found)))
    yield Section(title="What the template does", lines=facts.lines())
    missed = [f"{name}: no shape goes through lines {_numbers(lines)}" for name, lines in unreached.items()]
    if missed or unchecked:
        yield Section(title="What was not looked at", lines=(*unchecked, *missed))


def _numbers(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - 12} more" if len(lines) > 12 else ""
    return ", ".join(map(str, lines[:12])) + more


def _lines(found: TemplateFinding) -> Iterator[str]:
    yield found.told
    if found.messages:
        yield f"smallest conversation: {_conversation(found)}"
    if found.before:
        yield f"given: {found.before}"
    if found.after:
        yield f"written: {found.after}"
    yield from [found.cause] if found.cause else []
    yield from ["vendors do so on purpose; who relies on it is hurt none the less"] if found.by_design else []
    yield f"cure: {found.cure}"


def _conversation(found: TemplateFinding) -> str:
    text = json.dumps(list(found.messages), ensure_ascii=False)
    beside = [*(["a tool is offered"] if found.tools else []), *(f"{k}={v}" for k, v in found.variables.items())]
    return f"{text} ({', '.join(beside)})" if beside else text


def finding_rows(findings: Sequence[TemplateFinding]) -> Iterator[tuple[str, ...]]:
    """Yield the findings as rows of :data:`COLUMNS`."""
    for found in findings:
        yield (
            found.severity.label,
            str(found.kind),
            found.told,
            ", ".join(found.hurts),
            _conversation(found) if found.messages else "",
            "yes" if found.by_design else "no",
            f"{len(found.shapes)} shapes" if found.shapes else "the files",
            found.cause,
            found.cure,
        )
