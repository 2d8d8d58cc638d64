"""Lock a tokenizer: write down the commit, the bytes and the behaviour that were tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chatlab.errors import LockError, RevisionCompareError
from chatlab.locks.difference import differences_of
from chatlab.locks.latent import latent_hashes
from chatlab.locks.lockfile import DEFAULT, Entry, checked_alias, editing
from chatlab.locks.vendor import copy_files, copy_place
from chatlab.revisions.compare import compare_snapshots
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.differences.behaviour import probes, talk
from chatlab.revisions.differences.delimiters import candidates, delimiters_of
from chatlab.revisions.differences.drift import drift_of
from chatlab.revisions.differences.templates import meaning, written_words
from chatlab.revisions.files import files_tokens
from chatlab.snapshots.arguments import texts
from chatlab.snapshots.cache import Cache
from chatlab.snapshots.corpus import probe_corpus
from chatlab.snapshots.recorder import RESERVED, canonical, sha256, tokenizer_files
from chatlab.snapshots.snapshot import Snapshot, snapshot
from chatlab.snapshots.stops import stop_ids
from chatlab.snapshots.views import Probe, Refused, loader_view
from chatlab.tokenizers.source import Source, foreign_code, resolve
from chatlab.turns.audit.audit import conversations_of

HISTORY = 20
TOKENS = 256
"""At most this many added tokens are probed for a lock."""
GOLDEN = 10
"""So many probes stand in the lock with their ids and texts, for people; the hashes cover all."""


def lock(
    alias: str,
    source: str | Path | None = None,
    *,
    revision: str | None = None,
    path: str | Path = DEFAULT,
    loader: str = "auto",
    options: Mapping[str, Any] | None = None,
    prompts: Sequence[str] = (),
    roles: Mapping[str, Any] | None = None,
    vendor: bool = False,
    update: bool = False,
) -> Entry:
    """Lock a tokenizer under an alias.

    Args:
        alias: what your programs call it.
        source: anything :func:`chatlab.tokenizers.source.resolve` takes; left out with ``update``, the locked one.
        revision: commit, tag or branch.
        path: the lock file. Local folders must lie beside or below it.
        loader: the loader that your programs use.
        options: keyword arguments for ``from_pretrained`` that your programs use.
        prompts: prompts of your own; their ids are locked too.
        roles: commits of what belongs to the tokenizer, such as ``{"weights": "org/model@COMMIT"}``.
        vendor: copy the files beside the lock file, so that a deleted repository or a force push cannot take them.
        update: replace a locked alias, and keep a note of what changed.

    Raises:
        LockError: the alias is locked already, or unknown to ``update``, or the folder lies outside, or the chat
            template exceeds a limit, so that its renders are not known.
        TokenizerLoadError: the source does not resolve, or does not load with that loader.
    """
    prompts = texts("prompts", prompts)
    lock_path = Path(path)
    with editing(lock_path) as entries:
        old = entries.get(checked_alias(alias))
        if old is not None and not update:
            raise LockError(
                f"{alias!r} is locked already: update=True (--update) replaces it with a note of what changed"
            )
        if old is None and (update or source is None):
            raise LockError(f"{alias!r} is not in {lock_path.name}: lock it with its source first")
        if old is not None:
            loader, options, prompts = (
                (loader if loader != "auto" else old.loader),
                options or old.options,
                prompts or old.prompts,
            )
        found = resolve(source, revision) if source is not None else _again(old, revision, lock_path.parent)  # type: ignore[arg-type]
        roles = {**(_kept_roles(old, found, source) if old is not None else {}), **(roles or {})}
        taken = _taken(found, loader, prompts, options)
        if taken.warnings:
            raise LockError(f"{found.name} cannot be locked: {'; '.join(taken.warnings)}")
        copy = copy_place(lock_path.parent, alias, taken.record["files"])
        entry = entry_of(alias, found, taken, lock_path.parent, roles, copy=copy if vendor else None)
        entry.check()
        if vendor:
            copy_files(tokenizer_files(found.folder), copy)
        Cache("locked").put(taken.sha256, taken.to_dict())
        if old is not None:
            entry = replace(entry, history=(_note(old, entry, taken), *old.history)[:HISTORY])
        entries[alias] = entry
    return entry


def _taken(source: Source, loader: str, prompts: Sequence[str], options: Mapping[str, Any] | None) -> Snapshot:
    """Return the snapshot to lock: a check cannot ask the old files again, so every added token is probed now."""
    taken = snapshot(source, [loader], prompts=prompts, options=options)
    tokens = sorted(token for token in files_tokens(taken.record) if token and not RESERVED.search(token))[:TOKENS]
    if set(tokens) <= set(taken.record["tokens"]):
        return taken
    return snapshot(source, [loader], prompts=prompts, also=tokens, options=options)


def _again(old: Entry, revision: str | None, root: Path) -> Source:
    """Return the locked source as it is today: where its branch or tag points now."""
    place = old.place if old.kind == "hub" else str(root / old.place)
    return resolve(place, revision or (old.requested if old.kind != "folder" else None))


def _kept_roles(old: Entry, found: Source, source: str | Path | None) -> dict[str, Any]:
    """Return the roles that an update leaves as they were: all but those that the new source tells itself."""
    kept = dict(old.roles)
    if source is not None or found.revision is not None:  # else it is the vendored copy, which knows no commit
        kept.pop("tokenizer", None)
    if isinstance(kept.get("code"), list):
        del kept["code"]
    return kept


def entry_of(
    alias: str,
    source: Source,
    taken: Snapshot,
    root: Path,
    roles: Mapping[str, Any],
    *,
    copy: Path | None = None,
    tokens: Sequence[str] | None = None,
) -> Entry:
    """Return the lock entry of a snapshot; of the files' copy where there is one.

    ``tokens`` are the added tokens whose probes count; left out, all that were probed.
    """
    name = f"{source.name}@{source.revision}" if source.revision else source.name
    if copy is not None:
        source = replace(source, kind="folder", place=copy, repo_id=None, requested=None, revision=None)
    loader = taken.loaders[0]
    return Entry(
        alias=alias,
        kind="hub" if source.kind == "hub" else "git" if source.kind == "git" else "folder",
        place=source.repo_id or _relative(source, root),
        requested=source.requested,
        revision=source.revision,
        roles={
            "tokenizer": name,
            **_code(source),
            **roles,
        },
        loader=loader,
        options=dict(taken.record["options"]),
        prompts=tuple(taken.record["prompts"]),
        files={name: dict(file) for name, file in taken.record["files"].items()},
        components=component_hashes(taken, loader),
        golden=golden(taken, loader, taken.record["tokens"] if tokens is None else tokens),
        versions=dict(taken.versions),
        snapshot_sha256=taken.sha256,
    )


def _relative(source: Source, root: Path) -> str:
    folder = source.place if source.place is not None else source.folder
    try:
        return folder.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        raise LockError(
            f"{source.name} lies outside the folder of the lock file: vendor=True (--vendor) copies its files there"
        ) from error


def _code(source: Source) -> dict[str, Any]:
    repositories = foreign_code(source.folder)
    return {"code": [f"{name}@unpinned" for name in repositories]} if repositories else {}


# -- hashes --------------------------------------------------------------------------------------------------


_CONTEXTS = tuple(row["label"] for row in probe_corpus()["contexts"] if "{other}" not in row["pattern"])


def component_hashes(taken: Snapshot, loader: str) -> dict[str, str]:
    """Return the hash of each part of what a tokenizer is, by name."""
    view, raw = loader_view(taken.record, loader), taken.view(loader)
    if view.error is not None:
        return {"error": sha256(view.error)}
    components = {name: value for name, value in raw["components"].items() if name != "version"}
    model = dict(components.pop("model", {}))
    parts = {name: model.pop(name) for name in ("vocab", "merges", "scores") if name in model}
    values = {
        **components,
        "model": model,
        "class": view.class_name,
        "added_tokens": raw["added_tokens"],
        "added_token_ids": {
            t.content: t.token_id for t in view.added_tokens.values() if not RESERVED.search(t.content)
        },
        "specials": view.specials,
        **{name: view.specials.get(name) for name in ("bos_token", "eos_token")},
        "settings": view.settings,
        "stop_ids": list(stop_ids(taken.record, view)),
        "template": meaning(view.template),
        "template_text": view.template,
    }
    for roles in sorted({"plain", *(render.roles for render in view.renders.values())}):
        renders = {label: render.text for label, render in view.renders.items() if render.roles == roles}
        values[f"renders_{roles}"] = renders
    hashes = {name: sha256(canonical(value)) for name, value in values.items()}
    return {**parts, **hashes, **latent_hashes(taken.record)}


def golden(taken: Snapshot, loader: str, asked: Sequence[str]) -> dict[str, Any]:
    """Return hashes of every family's ids and texts, ten readable examples, and the drift of each prompt.

    Of the probes of added tokens those count that depend on nothing but the token: which others there are, and in which
    order they are probed, depends on the files, and a lock holds what these same probes give, whatever the files say.
    """
    view = loader_view(taken.record, loader)
    families: dict[str, dict[str, list[Any]]] = {}
    counted = {f"added/{token}/{context}" for token in asked for context in _CONTEXTS}
    rows = {label: row for label, row in probes(view).items() if row.family != "added" or label in counted}
    for label, probe in sorted(rows.items()):
        # A template that changes for tools alone must not look as if every chat had changed.
        name = probe.family if probe.roles == "plain" else f"{probe.family} {probe.roles}"
        family = families.setdefault(name, {"ids": [], "texts": []})
        family["ids"].append([label, probe.text, probe.ids])
        texts = [t if isinstance(t, str) else None for t in (probe.keep, probe.skip, probe.joined)]
        family["texts"].append([label, *texts])
    tokens = view.control_tokens | files_tokens(taken.record)
    delimiters = delimiters_of(view, candidates(tokens, written_words(view.template)))
    prompts = talk(view)
    examples = [label for label in rows if label in prompts] + [label for label in rows if label not in prompts]
    drifts = {label: drift_of(probe, view) for label, probe in prompts.items()}
    return {
        "corpus": dict(taken.record["corpus"]),
        "probed": {"tokens": sorted(asked), "injected": taken.record["injected"]},
        "families": {
            name: {part: sha256(canonical(v)) for part, v in family.items()}
            for name, family in sorted(families.items())
        },
        "examples": {label: _example(rows[label]) for label in examples[:GOLDEN]},
        "delimiters": {form: asdict(came) for form, came in delimiters.items()},
        "conversations": {found.key: found.severity.label for found in conversations_of(taken.record, view)},
        "drift": {label: {"kept": d.keep, "skipped": d.skip} for label, d in drifts.items() if d},
    }


def _example(probe: Probe) -> dict[str, Any]:
    echo: Any = {"error": str(probe.keep)} if isinstance(probe.keep, Refused) else probe.keep
    return {"text": probe.text, "ids": None if probe.ids is None else list(probe.ids), "echo": echo}


def locked_snapshot(entry: Entry) -> Snapshot | None:
    """Return the snapshot that an entry was made from, where this machine still keeps it."""
    kept = Cache("locked").get(entry.snapshot_sha256)
    try:
        return Snapshot.from_dict(kept) if kept else None
    except RevisionCompareError:  # kept by another version of chatlab
        return None


def comparison_with(entry: Entry, taken: Snapshot) -> Comparison | None:
    """Return the whole comparison with what was locked, where the old snapshot is still kept."""
    before = locked_snapshot(entry)
    if (
        before is None
        or entry.loader not in before.loaders
        or before.record["corpus"] != taken.record["corpus"]
        or before.record["prompts"] != taken.record["prompts"]
    ):
        return None
    return compare_snapshots(before, taken)


def _note(old: Entry, new: Entry, taken: Snapshot) -> dict[str, Any]:
    found = differences_of(old, new)
    return {
        "from": old.revision,
        "to": new.revision,
        "severity": found.severity.label,
        "changed": list(found.lines),
        "versions": {k: [v, new.versions.get(k)] for k, v in old.versions.items() if v != new.versions.get(k)},
    }
