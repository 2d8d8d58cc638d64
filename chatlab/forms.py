"""A report for people: one list of sections, shown in the terminal, in a notebook and in a pull request.

The three forms show the same sections, so no fact is in one and missing from another. Text from files and models
is escaped in each form: it is data, never markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab.render import (
    code,
    details_html,
    fenced,
    heading_html,
    list_html,
    md,
    one_line,
    paragraph_html,
    table_html,
    text_html,
    verdict_html,
)
from chatlab.severity import Severity

if TYPE_CHECKING:
    from rich.console import RenderableType

COLOURS = {
    Severity.NONE: "green",
    Severity.INFO: "green",
    Severity.MINOR: "cyan",
    Severity.MAJOR_LATENT: "yellow",
    Severity.MAJOR: "dark_orange",
    Severity.BREAKING: "red",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with lines, a table, or a diff."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What there is to show, whatever the form."""

    heading: str
    """Names what it is about."""
    severity: Severity
    verdict: str
    lines: tuple[str, ...]
    """Where it comes from."""
    sections: tuple[Section, ...]
    """The most important first, none empty."""


def short(text: str, limit: int = 160) -> str:
    """Return the beginning of a long text, its line ends visible."""
    whole = one_line(text)
    return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"


def _cell(text: str, column: str) -> str:
    return "\n".join(short(line) for line in text.split("\n")) if column == "evidence" else short(text)


# -- terminal ------------------------------------------------------------------------------------------------


def to_rich(report: Report) -> RenderableType:
    """Return the report for a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    colour = COLOURS[report.severity]
    parts: list[Any] = [
        Panel(
            Text(one_line(report.verdict)),
            title=Text(one_line(report.heading)),
            subtitle=Text(report.severity.label),
            border_style=colour,
        )
    ]
    parts += [Text(one_line(line)) for line in report.lines]
    for section in report.sections:
        parts.append(Text(f"\n{section.title}", style="bold"))
        parts += [Text(f"• {one_line(line)}") for line in section.lines]
        if section.rows:
            table = Table(*section.header, show_edge=False, pad_edge=False)
            for row in section.rows:
                table.add_row(*(Text(_cell(cell, name)) for cell, name in zip(row, section.header, strict=True)))
            parts.append(table)
        if section.diff:
            parts.append(Text("\n".join(one_line(line) for line in section.diff.splitlines()), style="dim"))
    return Group(*parts)


# -- notebook ------------------------------------------------------------------------------------------------


def to_html(report: Report) -> str:
    """Return the report as HTML of semantic tags, without a single unescaped character of what it is about."""
    parts = [
        heading_html(one_line(report.heading), 3),
        verdict_html(report.severity.label, one_line(report.verdict)),
        *(paragraph_html(one_line(line)) for line in report.lines),
    ]
    for number, section in enumerate(report.sections):
        body = list_html(map(one_line, section.lines)) if section.lines else ""
        if section.rows:
            body += table_html(section.header, [list(map(_cell, row, section.header)) for row in section.rows])
        if section.diff:
            body += text_html(section.diff)
        parts.append(details_html(section.title, body, is_open=number < 3))
    return "".join(parts)


# -- pull request --------------------------------------------------------------------------------------------


def to_markdown(report: Report) -> str:
    """Return the report as GitHub Markdown; cells are code, so that nothing in them is read as markup."""
    parts = [f"## {code(report.heading)}", "", f"**{report.severity.label}** {md(report.verdict)}", ""]
    if report.lines:
        parts += [*(f"- {md(line)}" for line in report.lines), ""]
    for section in report.sections:
        parts += [f"### {md(section.title)}", ""]
        parts += [f"- {md(line)}" for line in section.lines]
        parts += [""] if section.lines else []
        if section.rows:
            parts += ["| " + " | ".join(section.header) + " |", "|" + "---|" * len(section.header)]
            parts += [
                "| " + " | ".join(_md_cell(cell, name) for cell, name in zip(row, section.header, strict=True)) + " |"
                for row in section.rows
            ]
            parts.append("")
        if section.diff:
            parts += [fenced(section.diff, "diff"), ""]
    return "\n".join(parts)


def _md_cell(text: str, column: str) -> str:
    return "<br>".join(code(short(line)) for line in text.split("\n")) if column == "evidence" else code(short(text))
