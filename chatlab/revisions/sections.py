"""The report of a comparison: its facts as sections, the most important first, whatever the form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chatlab.forms import Report, Section
from chatlab.revisions.differences.delimiters import Delimiter
from chatlab.revisions.facts import Facts
from chatlab.revisions.wording import shown, summary

ROWS = 24
"""At most this many rows of a table; the DataFrames hold all."""


def report_of(c: Facts) -> Report:
    """Return what there is to show of a comparison."""
    return Report(
        heading=heading(c),
        severity=c.severity,
        verdict=c.verdict,
        lines=tuple(commit_lines(c)),
        sections=tuple(sections(c)),
    )


def sections(c: Facts) -> Iterator[Section]:
    """Yield the report of a comparison, the most important first; sections without content are left out."""
    every = (
        Section(title="What to do", lines=c.advice),
        _table("Findings", "severity, kind, what, evidence", _finding_rows(c)),
        _table(
            "Delimiters a parser looks for",
            "token, prompt writes, echo before, echo after, bare before, bare after, parser",
            _delimiter_rows(c),
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


def _renders(c: Facts) -> Section:
    changed = [r for r in c.renders if not r.same]
    rows = ((r.label, r.before, r.after) for r in changed[:6])
    return _table(f"Renders that differ: {len(changed)} of {len(c.renders)}", "dialogue, before, after", rows)


def _finding_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for finding in c.findings:
        yield finding.severity.label, str(finding.kind), finding.title, "\n".join(finding.evidence)


def _delimiter_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for d in c.delimiters:
        kept = (d.echo_before or "–", d.echo_after or "–")
        bare = (d.bare_before or "–", d.bare_after or "–")
        yield d.token, d.written, *kept, *bare, _parser(d)
    for s in c.spacing:
        yield s.token, f"{s.before} → {s.after}", "", "", "", "", "whitespace"


def _parser(d: Delimiter) -> str:
    if not d.broken:
        return ""
    return "BROKEN" if d.lost_kept else "BROKEN in the default decoding"


def _flag_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    rows = [r for r in c.flags if r.changed] or list(c.flags)
    for row in rows[:ROWS]:
        files = (
            f"{shown(row.json_before)} → {shown(row.json_after)}",
            f"{shown(row.config_before)} → {shown(row.config_after)}",
        )
        yield row.token, row.flag, shown(row.before), shown(row.after), *files
    if len(rows) > ROWS:
        yield f"… and {len(rows) - ROWS} more", "", "", "", "", ""


def _family_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for f in c.families:
        if f.ids_changed or f.text_changed:
            yield f.family, str(f.probe_len), str(f.ids_changed), str(f.text_changed)


def _probe_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for p in c.probes[:8]:
        yield p.label, str(p.offset), p.before_text, p.after_text


def _drift_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for row in c.drift[:10]:
        if (row.before_ids, row.before_keep, row.before_skip) != (row.after_ids, row.after_keep, row.after_skip):
            yield (
                row.label,
                f"{row.before_ids} → {row.after_ids}",
                _change(row.before_keep, row.after_keep),
                _change(row.before_skip, row.after_skip),
            )


def _boundary_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for b in c.boundaries:
        if b.before != b.after:
            yield b.token, b.before, b.after


def _loader_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for row in c.loaders:
        yield row.loader, row.severity.label, row.class_names, f"{row.ids_changed} of {row.probe_len}", row.note


def _stop_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for s in c.stops:
        if s.before != s.after:
            yield s.file, _ids(s.before), _ids(s.after)


def _template_lines(c: Facts) -> Iterator[str]:
    before, after = map(set, c.template_variables)
    if before != after:
        yield f"variables that came: {', '.join(sorted(after - before)) or 'none'}; that went: {', '.join(sorted(before - after)) or 'none'}"
    for name, breaks in zip(("before", "after"), c.prefix_breaks, strict=True):
        if breaks:
            told = "; ".join(f"answered-{n} is no prefix of answered-{n + 1}" for n in breaks)
            yield f"{name}: a longer dialogue does not begin with the shorter one ({told})"


def _piece_rows(c: Facts) -> Iterator[tuple[str, ...]]:
    for name, diff in (("vocabulary", c.vocabulary), ("merges", c.merges)):
        if diff is not None:
            yield name, summary(diff), _few(diff.added), _few(diff.removed), _few(diff.moved)


def _change(before: int | None, after: int | None) -> str:
    return " → ".join("–" if n is None else f"{n:+d}" if n else "0" for n in (before, after))


def _ids(ids: tuple[int, ...] | None) -> str:
    return "–" if ids is None else ", ".join(map(str, ids))


def _few(entries: tuple[str, ...]) -> str:
    return ", ".join(entries[:6]) + (" …" if len(entries) > 6 else "")


def heading(c: Facts) -> str:
    """Return the line that names both sides; library versions are told where they differ."""
    differ = [k for k, v in c.before.versions.items() if v != c.after.versions.get(k)]
    sides = [
        side.name + (f" ({', '.join(f'{k} {side.versions.get(k)}' for k in differ)})" if differ else "")
        for side in (c.before, c.after)
    ]
    return " → ".join(sides)


def commit_lines(c: Facts) -> list[str]:
    """Return a line for each side whose repository tells the title and date of its commit."""
    sides = ("before", c.before), ("after", c.after)
    return [f"{name}: {s.revision[:8]}, {s.date[:10]}, {s.title}" for name, s in sides if s.revision and s.date]
