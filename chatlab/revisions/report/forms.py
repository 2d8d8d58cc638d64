"""A comparison for people: one list of sections, shown in the terminal, in a notebook and in a pull request.

The three forms show the same sections, so no fact is in one and missing from another. Text from files and models
is escaped in each form: it is data, never markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab.render import (
    details_html,
    heading_html,
    list_html,
    paragraph_html,
    readable,
    table_html,
    text_html,
    verdict_html,
)
from chatlab.revisions.structure import shown
from chatlab.severity import Severity

if TYPE_CHECKING:
    from rich.console import RenderableType

    from chatlab.revisions.comparison import Comparison

ROWS = 24
"""At most this many rows of a table; the DataFrames hold all."""

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


def sections(c: Comparison) -> Iterator[Section]:
    """Yield the report of a comparison, the most important first; sections without content are left out."""
    every = (
        Section(title="What to do", lines=c.advice),
        _table("Findings", "severity, kind, what, evidence", _finding_rows(c)),
        _table(
            "Delimiters a parser looks for", "token, prompt writes, echo before, echo after, parser", _delimiter_rows(c)
        ),
        _table(
            "Effective flags of added tokens",
            "token, flag, before, after, tokenizer.json, tokenizer_config.json",
            _flag_rows(c),
        ),
        _table("Probes", "family, probes, other ids, other text only", _family_rows(c)),
        _table("First probes that differ", "probe, at id, before, after", _probe_rows(c)),
        _table("Echo drift (code points)", "prompt, ids, specials kept, specials skipped", _drift_rows(c)),
        _table("Drift after each control token", "token, before, after", _boundary_rows(c)),
        _table("Loaders", "loader, verdict, class, ids changed, note", _loader_rows(c)),
        _table("What ends a reply", "file, before, after", _stop_rows(c)),
        Section(title="Which file has the last word", lines=c.shadowing),
        _renders(c),
        Section(title="Chat template", lines=tuple(_template_lines(c)), diff=c.template_diff),
        _table("Pieces and merges", "table, counts, added, removed, renumbered", _piece_rows(c)),
        Section(title="Notes", lines=c.notes),
    )
    return (section for section in every if section.lines or section.rows or section.diff)


def _table(title: str, header: str, rows: Iterable[tuple[str, ...]]) -> Section:
    return Section(title=title, header=tuple(header.split(", ")), rows=tuple(rows))


def _renders(c: Comparison) -> Section:
    changed = [r for r in c.renders if not r.same]
    rows = ((r.label, r.before, r.after) for r in changed[:6])
    return _table(f"Renders that differ: {len(changed)} of {len(c.renders)}", "dialogue, before, after", rows)


def _finding_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for finding in c.findings:
        yield finding.severity.label, str(finding.kind), finding.title, "\n".join(finding.evidence)


def _delimiter_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for d in c.delimiters:
        yield d.token, d.written, d.echo_before or "–", d.echo_after or "–", "BROKEN" if d.broken else ""


def _flag_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    rows = [r for r in c.flags if r.changed] or list(c.flags)
    for row in rows[:ROWS]:
        files = (
            f"{shown(row.json_before)} → {shown(row.json_after)}",
            f"{shown(row.config_before)} → {shown(row.config_after)}",
        )
        yield row.token, row.flag, shown(row.before), shown(row.after), *files
    if len(rows) > ROWS:
        yield f"… and {len(rows) - ROWS} more", "", "", "", "", ""


def _family_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for f in c.families:
        if f.ids_changed or f.text_changed:
            yield f.family, str(f.probe_len), str(f.ids_changed), str(f.text_changed)


def _probe_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for p in c.probes[:8]:
        yield p.label, str(p.offset), p.before_text, p.after_text


def _drift_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for row in c.drift[:10]:
        if (row.before_ids, row.before_keep, row.before_skip) != (row.after_ids, row.after_keep, row.after_skip):
            yield (
                row.label,
                f"{row.before_ids} → {row.after_ids}",
                _change(row.before_keep, row.after_keep),
                _change(row.before_skip, row.after_skip),
            )


def _boundary_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for b in c.boundaries:
        if b.before != b.after:
            yield b.token, b.before, b.after


def _loader_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for row in c.loaders:
        yield row.loader, row.severity.label, row.class_names, f"{row.ids_changed} of {row.probe_len}", row.note


def _stop_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for s in c.stops:
        if s.before != s.after:
            yield s.file, _ids(s.before), _ids(s.after)


def _template_lines(c: Comparison) -> Iterator[str]:
    before, after = map(set, c.template_variables)
    if before != after:
        yield f"variables that came: {', '.join(sorted(after - before)) or 'none'}; that went: {', '.join(sorted(before - after)) or 'none'}"
    for name, breaks in zip(("before", "after"), c.prefix_breaks, strict=True):
        if breaks:
            yield f"{name}: a longer dialogue does not begin with the shorter one ({'; '.join(breaks)})"


def _piece_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for name, diff in (("vocabulary", c.vocabulary), ("merges", c.merges)):
        if diff is not None:
            yield name, diff.summary, _few(diff.added), _few(diff.removed), _few(diff.moved)


def _change(before: int | None, after: int | None) -> str:
    return " → ".join("–" if n is None else f"{n:+d}" if n else "0" for n in (before, after))


def _ids(ids: tuple[int, ...] | None) -> str:
    return "–" if ids is None else ", ".join(map(str, ids))


def _few(entries: tuple[str, ...]) -> str:
    return ", ".join(entries[:6]) + (" …" if len(entries) > 6 else "")


def visible(text: str) -> str:
    r"""Return a text on one line with its line ends, tabs and edge spaces visible.

    >>> visible("<|end|> \n")
    '<|end|>␣↵'
    """
    marked = readable(text.replace("\r", "␍").replace("\n", "↵").replace("\t", "⇥"))
    return re.sub(r"^ +| +$| +(?=↵)", lambda m: "␣" * len(m[0]), marked)


def short(text: str, limit: int = 160) -> str:
    """Return the beginning of a long text, its line ends visible."""
    whole = visible(text)
    return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"


def _cell(text: str, column: str) -> str:
    return "\n".join(short(line) for line in text.split("\n")) if column == "evidence" else short(text)


def heading(c: Comparison) -> str:
    """Return the line that names both sides; library versions are told where they differ."""
    differ = [k for k, v in c.before.versions.items() if v != c.after.versions.get(k)]
    sides = [
        side.name + (f" ({', '.join(f'{k} {side.versions.get(k)}' for k in differ)})" if differ else "")
        for side in (c.before, c.after)
    ]
    return " → ".join(sides)


def commit_lines(c: Comparison) -> list[str]:
    """Return a line for each side whose repository tells the title and date of its commit."""
    sides = ("before", c.before), ("after", c.after)
    return [f"{name}: {s.revision[:8]}, {s.date[:10]}, {s.title}" for name, s in sides if s.revision and s.date]


# -- terminal ------------------------------------------------------------------------------------------------


def to_rich(c: Comparison) -> RenderableType:
    """Return the report for a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    colour = COLOURS[c.severity]
    parts: list[Any] = [
        Panel(
            Text(visible(c.verdict)),
            title=Text(visible(heading(c))),
            subtitle=Text(c.severity.label),
            border_style=colour,
        )
    ]
    parts += [Text(visible(line)) for line in commit_lines(c)]
    for section in sections(c):
        parts.append(Text(f"\n{section.title}", style="bold"))
        parts += [Text(f"• {visible(line)}") for line in section.lines]
        if section.rows:
            table = Table(*section.header, show_edge=False, pad_edge=False)
            for row in section.rows:
                table.add_row(*(Text(_cell(cell, name)) for cell, name in zip(row, section.header, strict=True)))
            parts.append(table)
        if section.diff:
            parts.append(Text("\n".join(visible(line) for line in section.diff.splitlines()), style="dim"))
    return Group(*parts)


# -- notebook ------------------------------------------------------------------------------------------------


def to_html(c: Comparison) -> str:
    """Return the report as HTML of semantic tags, without a single unescaped character of the compared files."""
    parts = [
        heading_html(visible(heading(c)), 3),
        verdict_html(c.severity.label, visible(c.verdict)),
        *(paragraph_html(visible(line)) for line in commit_lines(c)),
    ]
    for number, section in enumerate(sections(c)):
        body = list_html(map(visible, section.lines)) if section.lines else ""
        if section.rows:
            body += table_html(section.header, [list(map(_cell, row, section.header)) for row in section.rows])
        if section.diff:
            body += text_html(section.diff)
        parts.append(details_html(section.title, body, is_open=number < 3))
    return "".join(parts)


# -- pull request --------------------------------------------------------------------------------------------


def to_markdown(c: Comparison) -> str:
    """Return the report as GitHub Markdown; cells are code, so that nothing in them is read as markup."""
    parts = [f"## {code(heading(c))}", "", f"**{c.severity.label}** {md(c.verdict)}", ""]
    if lines := commit_lines(c):
        parts += [*(f"- {md(line)}" for line in lines), ""]
    for section in sections(c):
        parts += [f"### {section.title}", ""]
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
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", section.diff)), default=0))
            parts += [f"{fence}diff", section.diff, fence, ""]
    return "\n".join(parts)


def _md_cell(text: str, column: str) -> str:
    return "<br>".join(code(short(line)) for line in text.split("\n")) if column == "evidence" else code(short(text))


def code(text: str) -> str:
    """Return a text as inline code that ends where it should and does not cut a table's cell."""
    if not text:
        return ""
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{visible(text)}{pad}{fence}".replace("|", "\\|")


def md(text: str) -> str:
    """Return a sentence with the characters that Markdown and HTML would read escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#~@])", r"\\\1", visible(text))
