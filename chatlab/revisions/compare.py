"""Two snapshots against each other: what changed, of which kind, how badly, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatlab.errors import RevisionCompareError
from chatlab.revisions.advice import advice
from chatlab.revisions.behaviour import CORE_FAMILIES, compare_probes, prefix_breaks, talk
from chatlab.revisions.comparison import Comparison, DriftRow, LoaderRow, Side, StopRow
from chatlab.revisions.delimiters import Delimiter, compare_delimiters
from chatlab.revisions.drift import compare_boundaries, drift_of
from chatlab.revisions.effects import Effects, effects, stop_id_table
from chatlab.revisions.findings import Finding, findings
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.shadowing import shadowing
from chatlab.revisions.structure import FileChange, file_changes
from chatlab.revisions.templates import same_meaning, template_diff, template_variables
from chatlab.severity import Severity
from chatlab.snapshots.arguments import place, switches, texts
from chatlab.snapshots.recorder import file_tokens
from chatlab.snapshots.snapshot import Snapshot, require_loading, take
from chatlab.tokenizers.load import chosen_by_name
from chatlab.tokenizers.source import Source, resolve

STOP_FILES = ("generation_config.json", "config.json")
"""Files that name stop ids: one that comes or goes whole is a change of stop ids where those differ."""


def compare_revisions(
    before: str | Path | Source | Snapshot,
    after: str | Path | Source | Snapshot,
    *,
    loader: str | None = None,
    prompts: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    cache: bool = True,
) -> Comparison:
    """Compare two revisions of a tokenizer, and say whether the second one breaks prompts that work with the first.

    Args:
        before: what works today: anything :func:`snapshot` takes, or a snapshot.
        after: what would take its place.
        loader: the loader that the verdict is about; ``auto`` (AutoTokenizer) unless one side was taken without it.
            The other loaders are told beside it.
        prompts: prompts of your own; a change of their ids is BREAKING.
        options: keyword arguments for ``from_pretrained`` on both sides.
        cache: reuse snapshots of equal files, versions and probes.

    Raises:
        RevisionCompareError: an argument is of a wrong type, or the snapshots were taken with other probes, or share
            no loader.
        TokenizerLoadError: a source does not resolve, or neither side loads.
    """
    prompts, options = texts("prompts", prompts), switches(options)
    given = [place(name, s, Snapshot, Source) for name, s in (("before", before), ("after", after))]
    sources = [s if isinstance(s, Snapshot | Source) else resolve(s) for s in given]
    loaders = [] if loader is None or loader in ("auto", "raw", "sentencepiece") else [loader]
    first, second = (take(s, loaders, prompts=prompts, options=options, cache=cache) for s in sources)
    # Each side is probed with the other's added tokens too, or a token that only one side knows would go untested.
    tokens = [set(file_tokens(dict(s.record["documents"]))) & set(s.record["tokens"]) for s in (first, second)]
    if not isinstance(before, Snapshot) and not isinstance(after, Snapshot) and tokens[0] != tokens[1]:
        also = sorted(tokens[0] | tokens[1])
        first, second = (take(s, loaders, prompts=prompts, also=also, options=options, cache=cache) for s in sources)
    notes = [f"{s.name}: {warning}" for s in sources if isinstance(s, Source) for warning in s.warnings]
    notes += [
        f"{s.repo_id}: by that name transformers takes PreTrainedTokenizerFast; a folder, as here, gets the class of its config"
        for s in sources
        if isinstance(s, Source) and s.repo_id and chosen_by_name(s.repo_id)
    ]
    found = compare_snapshots(first, second, loader=loader, notes=notes)
    return replace(found, before=_dated(found.before, sources[0]), after=_dated(found.after, sources[1]))


def _dated(side: Side, source: Snapshot | Source) -> Side:
    """Return the side with the title and the date of its commit."""
    commit = source.commit() if isinstance(source, Source) else None
    return side if commit is None else replace(side, title=commit.title, date=commit.date)


def compare_snapshots(
    before: Snapshot, after: Snapshot, *, loader: str | None = None, notes: Sequence[str] = ()
) -> Comparison:
    """Compare two snapshots; a pure function of them.

    Raises:
        RevisionCompareError: they were taken with other probes, or share no loader.
        TokenizerLoadError: neither side loads.
    """
    a, b = before.record, after.record
    if (a["corpus"], a["prompts"]) != (b["corpus"], b["prompts"]):
        raise RevisionCompareError(
            "the two snapshots were taken with other probes: take both anew with this version and the same prompts"
        )
    shared = [name for name in a["loaders"] if name in b["loaders"]]
    sides, asked = (before, after), loader
    # What loads on neither side tells nothing, and "nothing differs" would be a lie.
    heard = (name for name in shared if any(s.loads(name) for s in sides))
    loader = asked or next(heard, next(iter(shared), "auto"))
    if loader not in shared:
        raise RevisionCompareError(
            f"no common view of the {loader} loader: {before.name} has {before.loaders}, {after.name} has {after.loaders}"
        )
    require_loading(sides, [loader])
    notes = [*notes, *(f"{s.name}: {warning}" for s in sides for warning in s.warnings)]
    unheard = [] if asked else shared[: shared.index(loader)]
    notes = [*notes, *(f"the {name} loader loads neither side: {after.view(name)['error']}" for name in unheard)]
    e = effects(a, b, loader)
    changes = file_changes(dict(a), dict(b))
    found = _findings(before, after, changes, e, loader)
    x, y = before.view(loader), after.view(loader)
    templates = [view.get("template", {}).get("text") for view in (x, y)]
    delimiters = compare_delimiters(x, y)
    severity = max((f.severity for f in found), default=Severity.NONE)
    rows = [_loader_row(before, after, name, changes, e if name == loader else None) for name in shared]
    return Comparison(
        before=_side(before, loader),
        after=_side(after, loader),
        loader=loader,
        severity=severity,
        verdict=_verdict(found, e, delimiters, rows, loader),
        findings=tuple(found),
        changes=tuple(changes),
        shadowing=(*shadowing(b, loader), *_disagreements(after, shared)),
        flags=e.flags,
        stops=tuple(_stops(before, after, loader)),
        vocabulary=e.vocabulary,
        merges=e.merges,
        template_diff=template_diff(*templates),
        template_variables=(
            tuple(sorted(template_variables(templates[0]))),
            tuple(sorted(template_variables(templates[1]))),
        ),
        renders=e.renders,
        prefix_breaks=(tuple(prefix_breaks(x)), tuple(prefix_breaks(y))),
        families=e.families,
        probes=e.probes,
        drift=tuple(_drift(x, y)),
        boundaries=tuple(compare_boundaries(x, y)),
        delimiters=tuple(delimiters),
        loaders=tuple(rows),
        advice=tuple(advice(found, delimiters, before, e)),
        notes=tuple(notes),
        snapshots=(before, after),
    )


def _findings(before: Snapshot, after: Snapshot, changes: list[FileChange], e: Effects, loader: str) -> list[Finding]:
    a, b = before.record, after.record
    versions = [
        f"{k}: {a['versions'][k] or 'absent'} → {b['versions'][k] or 'absent'}"
        for k in a["versions"]
        if a["versions"][k] != b["versions"].get(k)
    ]
    if a["options"] != b["options"]:
        versions.append(f"options: {a['options']} → {b['options']}")
    if e.stop_ids[0] != e.stop_ids[1]:
        changes = [
            replace(c, kind=ChangeKind.SPECIALS) if c.path == "" and c.file in STOP_FILES else c for c in changes
        ]
    templates = [s.view(loader).get("template", {}).get("text") for s in (before, after)]
    found = findings(changes, versions, e, template_equal=same_meaning(*templates), loader=loader)
    differing = [name for name in a["files"] if a["files"][name] != b["files"].get(name)]
    if not found and differing:
        bytes_only = f"bytes of {', '.join(differing)} differ, their meaning does not"
        found = [Finding(kind=ChangeKind.LAYOUT, severity=Severity.INFO, title=bytes_only, evidence=())]
    return found


def _disagreements(after: Snapshot, loaders: list[str]) -> list[str]:
    """Tell where loaders of the same files give other ids: each program then sees another tokenizer."""
    lines = []
    for name in loaders[1:]:
        views = after.view(loaders[0]), after.view(name)
        if name == "raw" and not any("error" in view for view in views):
            changed, counts = compare_probes(*views)
            differing = sum(change.ids_differ for change in changed)
            if differing:
                total = sum(count.probe_len for count in counts)
                lines.append(
                    f"the {loaders[0]} and {name} loaders give other ids for {differing} of {total} probes of {after.name}"
                )
    return lines


def _loader_row(
    before: Snapshot, after: Snapshot, loader: str, changes: list[FileChange], known: Effects | None = None
) -> LoaderRow:
    e = known or effects(before.record, after.record, loader)
    severity = max((f.severity for f in _findings(before, after, changes, e, loader)), default=Severity.NONE)
    note = "unchanged" if not e.any else "changed" if e.core_ids or e.any_ids else "changed without other ids"
    if e.before_error or e.after_error:
        note = f"does not load: {e.after_error or e.before_error}"
    names = " → ".join(dict.fromkeys(name or "none" for name in e.class_names))
    return LoaderRow(
        loader=loader,
        severity=severity,
        class_names=names,
        ids_changed=sum(f.ids_changed for f in e.families),
        probe_len=sum(f.probe_len for f in e.families),
        note=note,
    )


def _side(s: Snapshot, loader: str) -> Side:
    view = s.view(loader)
    return Side(
        name=s.name,
        revision=s.revision,
        snapshot_sha256=s.sha256,
        class_name=view.get("class", ""),
        error=view.get("error"),
        files=tuple(s.record["files"]),
        versions=s.versions,
    )


def _stops(before: Snapshot, after: Snapshot, loader: str) -> list[StopRow]:
    tables = [stop_id_table(s.record, s.view(loader)) for s in (before, after)]
    rows = []
    for file in sorted(tables[0].keys() | tables[1].keys()):
        values = [tuple(t[file]) if file in t else None for t in tables]
        rows.append(StopRow(file=file, before=values[0], after=values[1]))
    return rows


def _drift(x: Mapping[str, Any], y: Mapping[str, Any]) -> list[DriftRow]:
    before, after = talk(x), talk(y)
    rows = []
    for label, old in before.items():
        if label not in after:
            continue
        drifts = drift_of(old, x), drift_of(after[label], y)
        rows.append(
            DriftRow(
                label=label,
                before_ids=len(old.get("ids") or []),
                after_ids=len(after[label].get("ids") or []),
                before_keep=drifts[0].keep if drifts[0] else None,
                after_keep=drifts[1].keep if drifts[1] else None,
                before_skip=drifts[0].skip if drifts[0] else None,
                after_skip=drifts[1].skip if drifts[1] else None,
            )
        )
    return rows


def _verdict(found: list[Finding], e: Effects, delimiters: list[Delimiter], rows: list[LoaderRow], loader: str) -> str:
    if not found:
        return "Nothing differs."
    parts = [f"{found[0].kind}: {found[0].title}."]
    changed = sorted((f for f in e.families if f.ids_changed), key=lambda f: f.family not in CORE_FAMILIES)
    if changed:
        parts.append(
            "Ids change in " + ", ".join(f"{f.ids_changed} of {f.probe_len} {f.family} probes" for f in changed) + "."
        )
    broken = sorted({d.token for d in delimiters if d.broken})
    if broken:
        parts.append(f"A parser no longer finds {', '.join(broken)} as before.")
    # A change that one loader does not see is the trap of the Phi-3 story: say who does see it.
    own = next(row for row in rows if row.loader == loader)
    for row in rows:
        if row.loader != loader and row.note != own.note:
            parts.append(
                f"Seen through the {row.loader} loader it is {row.severity.label} ({row.note}); through {loader}: {own.note}."
            )
    return " ".join(parts)
