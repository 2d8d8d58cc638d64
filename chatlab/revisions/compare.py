"""Two snapshots against each other: what changed, of which kind, how badly, and what to do.

One walk: sources → snapshots → effects → rulings → findings → comparison; the report is made of that last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatlab.errors import RevisionCompareError
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.differences.behaviour import compare_probes, prefix_breaks
from chatlab.revisions.differences.drift import compare_boundaries, compare_drifts
from chatlab.revisions.differences.templates import template_diff, template_variables
from chatlab.revisions.effects import Effects, effects
from chatlab.revisions.facts import LoaderRow, Side
from chatlab.revisions.files import config_tokens, files_tokens, json_tokens, shadowing, stop_rows
from chatlab.revisions.findings import Causes, causes, rulings
from chatlab.revisions.wording import Finding, advice, finding_of, moving_lines, verdict_lines
from chatlab.severity import Severity
from chatlab.snapshots.arguments import place, switches, texts
from chatlab.snapshots.recorder import file_tokens, injected_token
from chatlab.snapshots.snapshot import Snapshot, require_loading, take
from chatlab.snapshots.views import Record, loader_view
from chatlab.tokenizers.readers import chosen_by_name
from chatlab.tokenizers.source import Source, resolve

ALSO = 32
"""So many added tokens that changed are probed, whatever their number."""

BUILT_IN = ("auto", "raw", "sentencepiece")
"""Loaders that a snapshot asks anyway, where they fit."""


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
    given = [place(name, side, Snapshot, Source) for name, side in (("before", before), ("after", after))]
    sources = [side if isinstance(side, Snapshot | Source) else resolve(side) for side in given]
    loaders = [] if loader is None or loader in BUILT_IN else [loader]
    taken = _snapshots(sources, loaders, texts("prompts", prompts), switches(options), cache=cache)
    found = compare_snapshots(*taken, loader=loader, notes=[note for s in sources for note in _source_notes(s)])
    return replace(found, before=_dated(found.before, sources[0]), after=_dated(found.after, sources[1]))


def _snapshots(
    sources: Sequence[Snapshot | Source],
    loaders: Sequence[str],
    prompts: Sequence[str],
    options: Mapping[str, Any],
    *,
    cache: bool,
) -> tuple[Snapshot, Snapshot]:
    """Return both snapshots, taken with the same probes: what changed, and what only one side has, is probed on both."""

    def both(also: Sequence[str] = (), injected: str | None = None) -> tuple[Snapshot, Snapshot]:
        asked: dict[str, Any] = {"prompts": prompts, "also": also, "injected": injected, "options": options}
        one, two = (take(source, loaders, **asked, cache=cache) for source in sources)
        return one, two

    first, second = both()
    if any(isinstance(source, Snapshot) for source in sources):
        return first, second
    also = tokens_to_probe(first.record, second.record)
    injected = token_to_inject(first.record, second.record)
    return both(also, injected) if also or injected else (first, second)


def token_to_inject(before: Record, after: Record) -> str | None:
    """Return the one token that a user types in the probes of both sides; ``None`` where it is one already."""
    if before["injected"] == after["injected"]:
        return None
    shared = files_tokens(before) & files_tokens(after)
    loaders = [name for name in before["loaders"] if name in after["loaders"]][:1]
    views = [loader_view(record, name) for record in (before, after) for name in loaders]
    return injected_token(shared, [chat.text for view in views for chat in view.chats.values()])


def tokens_to_probe(before: Record, after: Record) -> list[str]:
    """Return the added tokens to probe on both sides because they changed, or because one side alone would be asked.

    Empty where both sides were asked about the same tokens, and none that changed was left out.
    """
    sides = [file_tokens(dict(record["documents"])) for record in (before, after)]
    probed = [set(side) & set(record["tokens"]) for side, record in zip(sides, (before, after), strict=True)]
    facts = [_token_facts(record) for record in (before, after)]
    changed = sorted(token for token in facts[0].keys() | facts[1].keys() if facts[0].get(token) != facts[1].get(token))
    unseen = [token for token in changed if token and token not in probed[0] & probed[1]]
    if probed[0] == probed[1] and not unseen:
        return []
    return sorted({*probed[0], *probed[1], *_spread(unseen, ALSO)})


def _token_facts(record: Record) -> dict[str, tuple[Any, ...]]:
    documents = record["documents"]
    said = json_tokens(documents), config_tokens(documents)
    ids = file_tokens(dict(documents))
    return {token: (number, *(side.get(token) for side in said)) for token, number in ids.items()}


def _spread(tokens: Sequence[str], limit: int) -> Sequence[str]:
    """Return at most so many, taken evenly."""
    step = max(1, -(-len(tokens) // limit))
    return tokens[::step]


def _source_notes(source: Snapshot | Source) -> Iterator[str]:
    if isinstance(source, Snapshot):
        return
    yield from (f"{source.name}: {warning}" for warning in source.warnings)
    if source.repo_id and chosen_by_name(source.repo_id):
        yield (
            f"{source.repo_id}: by that name transformers takes PreTrainedTokenizerFast; "
            "a folder, as here, gets the class of its config"
        )


def _dated(side: Side, source: Snapshot | Source) -> Side:
    """Return the side with the title and the date of its commit."""
    commit = source.commit() if isinstance(source, Source) else None
    return side if commit is None else replace(side, title=commit.title, date=commit.date)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one loader makes of both sides."""

    loader: str
    effects: Effects
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> Severity:
        """The worst of the findings."""
        return max((finding.severity for finding in self.findings), default=Severity.NONE)


def compare_snapshots(
    before: Snapshot, after: Snapshot, *, loader: str | None = None, notes: Sequence[str] = ()
) -> Comparison:
    """Compare two snapshots; a pure function of them.

    Raises:
        RevisionCompareError: they were taken with other probes, or share no loader.
        TokenizerLoadError: neither side loads.
    """
    shared = _shared_loaders(before, after)
    chosen = _chosen(before, after, shared, loader)
    found = causes(before.record, after.record)
    judged = {name: _judged(before, after, name, found) for name in shared}
    told = [*notes, *_loader_notes(before, after, shared, chosen if loader is None else None)]
    told += [f"{s.name}: {line}" for s in (before, after) for line in moving_lines(loader_view(s.record, chosen))]
    return _comparison(before, after, judged[chosen], judged, found, told)


def _shared_loaders(before: Snapshot, after: Snapshot) -> list[str]:
    old, new = before.record, after.record
    if (old["corpus"], old["prompts"]) != (new["corpus"], new["prompts"]):
        raise RevisionCompareError(
            "the two snapshots were taken with other probes: take both anew with this version and the same prompts"
        )
    return [name for name in old["loaders"] if name in new["loaders"]]


def _chosen(before: Snapshot, after: Snapshot, shared: Sequence[str], asked: str | None) -> str:
    """Return the loader that the verdict is about."""
    # What loads on neither side tells nothing, and "nothing differs" would be a lie.
    heard = (name for name in shared if any(side.loads(name) for side in (before, after)))
    loader = asked or next(heard, next(iter(shared), "auto"))
    if loader not in shared:
        raise RevisionCompareError(
            f"no common view of the {loader} loader: {before.name} has {before.loaders}, {after.name} has {after.loaders}"
        )
    require_loading((before, after), [loader])
    return loader


def _loader_notes(before: Snapshot, after: Snapshot, shared: Sequence[str], chosen: str | None) -> Iterator[str]:
    yield from (f"{side.name}: {warning}" for side in (before, after) for warning in side.warnings)
    for name in shared[: shared.index(chosen)] if chosen else []:
        yield f"the {name} loader loads neither side: {after.view(name)['error']}"


def _judged(before: Snapshot, after: Snapshot, loader: str, found: Causes) -> Judged:
    e = effects(before.record, after.record, loader)
    told = tuple(finding_of(ruling, found, e, loader) for ruling in rulings(found, e))
    return Judged(loader=loader, effects=e, findings=told)


def _comparison(
    before: Snapshot, after: Snapshot, own: Judged, judged: Mapping[str, Judged], found: Causes, notes: Sequence[str]
) -> Comparison:
    a, b, e = before.record, after.record, own.effects
    old, new = loader_view(a, own.loader), loader_view(b, own.loader)
    rows = tuple(map(_loader_row, judged.values()))
    pins = [(name, before.versions.get(name)) for name in ("transformers", "tokenizers")]
    return Comparison(
        before=_side(before, own.loader),
        after=_side(after, own.loader),
        loader=own.loader,
        severity=own.severity,
        verdict=" ".join([*verdict_lines(own.findings, e), *_other_loaders(rows, own.loader)]),
        findings=own.findings,
        changes=found.changes,
        shadowing=(*shadowing(b, new), *_disagreements(after, list(judged))),
        flags=e.flags,
        stops=tuple(stop_rows(a, b, old, new)),
        vocabulary=e.vocabulary,
        merges=e.merges,
        template_diff=template_diff(old.template, new.template),
        template_variables=(
            tuple(sorted(template_variables(old.template))),
            tuple(sorted(template_variables(new.template))),
        ),
        renders=e.renders,
        prefix_breaks=(prefix_breaks(old), prefix_breaks(new)),
        families=e.families,
        probes=e.probes,
        drift=tuple(compare_drifts(old, new)),
        boundaries=tuple(compare_boundaries(old, new)),
        delimiters=e.delimiters,
        spacing=e.spacing,
        loaders=rows,
        advice=tuple(advice(own.findings, e, revision=before.revision, versions=pins)),
        notes=tuple(notes),
        snapshots=(before, after),
    )


def _other_loaders(rows: Sequence[LoaderRow], loader: str) -> Iterator[str]:
    """A change that one loader does not see is the trap of the Phi-3 story: say who does see it."""
    own = next(row for row in rows if row.loader == loader)
    for row in rows:
        if row.loader != loader and row.note != own.note:
            yield f"Seen through the {row.loader} loader it is {row.severity.label} ({row.note}); through {loader}: {own.note}."


def _disagreements(after: Snapshot, loaders: Sequence[str]) -> Iterator[str]:
    """Tell where loaders of the same files give other ids: each program then sees another tokenizer."""
    for name in loaders[1:]:
        if name == "raw" and after.loads(loaders[0]) and after.loads(name):
            views = loader_view(after.record, loaders[0]), loader_view(after.record, name)
            changed, counts = compare_probes(*views)
            differing = sum(change.ids_differ for change in changed)
            if differing:
                total = sum(count.probe_len for count in counts)
                yield (
                    f"the {loaders[0]} and {name} loaders give other ids for "
                    f"{differing} of {total} probes of {after.name}"
                )


def _loader_row(judged: Judged) -> LoaderRow:
    e = judged.effects
    note = "unchanged" if not e.any else "changed" if e.any_ids else "changed without other ids"
    if e.before_error or e.after_error:
        note = f"does not load: {e.after_error or e.before_error}"
    return LoaderRow(
        loader=judged.loader,
        severity=judged.severity,
        class_names=" → ".join(dict.fromkeys(name or "none" for name in e.class_names)),
        ids_changed=sum(family.ids_changed for family in e.families),
        probe_len=sum(family.probe_len for family in e.families),
        note=note,
    )


def _side(snapshot: Snapshot, loader: str) -> Side:
    view = loader_view(snapshot.record, loader)
    return Side(
        name=snapshot.name,
        revision=snapshot.revision,
        snapshot_sha256=snapshot.sha256,
        class_name=view.class_name,
        error=view.error,
        files=tuple(snapshot.record["files"]),
        versions=snapshot.versions,
    )
