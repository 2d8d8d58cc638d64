"""What differs in effect between two views: what one loader made of the files on each side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.behaviour import (
    CORE_FAMILIES,
    FamilyCount,
    ProbeChange,
    RenderRow,
    bos_counts,
    compare_probes,
    compare_renders,
)
from chatlab.revisions.structure import TableDiff, differences, merges_diff, vocabulary_diff
from chatlab.snapshots.recorder import FLAGS, RESERVED, special_content
from chatlab.snapshots.snapshot import exceeded

Record = Mapping[str, Any]
View = Mapping[str, Any]

CONTROL = ("bos_token", "eos_token")


@dataclass(frozen=True, kw_only=True)
class FlagRow:
    """One flag of one added token: what each file says, and what the loader made of it."""

    token: str
    flag: str
    before: Any
    """Effective value; ``None`` where the token is absent."""
    after: Any
    json_before: Any
    """What ``tokenizer.json`` says."""
    json_after: Any
    config_before: Any
    """What ``tokenizer_config.json`` says."""
    config_after: Any

    @property
    def changed(self) -> bool:
        """Whether the effective value changed; a token that comes or goes changes its id, and not each flag besides."""
        known = self.before is not None and self.after is not None
        return bool(self.before != self.after) and (known or self.flag == "id")

    @property
    def disagree(self) -> bool:
        """Whether the two files of one side say different things."""
        pairs = ((self.json_before, self.config_before), (self.json_after, self.config_after))
        return any(x is not None and y is not None and x != y for x, y in pairs)


@dataclass(frozen=True, kw_only=True)
class Effects:
    """All that differs in effect; empty and false where nothing does."""

    before_error: str | None
    after_error: str | None
    class_names: tuple[str, str]
    flags: tuple[FlagRow, ...]
    components: Mapping[str, tuple[tuple[str, Any, Any], ...]]
    """Component name → (path, before, after) of its differing values."""
    vocabulary: TableDiff | None
    merges: TableDiff | None
    scores_differ: bool
    specials: tuple[tuple[str, Any, Any], ...]
    settings: tuple[tuple[str, Any, Any], ...]
    template_differs: bool
    exceeded: tuple[str | None, str | None]
    """Which limit of the renders the chat template exceeded on each side."""
    renders: tuple[RenderRow, ...]
    probes: tuple[ProbeChange, ...]
    families: tuple[FamilyCount, ...]
    bos_changed: tuple[str, ...]
    stop_ids: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def load_differs(self) -> bool:
        """Whether exactly one side loads."""
        return (self.before_error is None) != (self.after_error is None)

    @property
    def core_ids(self) -> bool:
        """Whether ids of a chat, a turn border or a control token changed."""
        return any(p.ids_differ and p.family in CORE_FAMILIES for p in self.probes)

    @property
    def any_ids(self) -> bool:
        """Whether any ids changed."""
        return any(p.ids_differ for p in self.probes)

    @property
    def any_text(self) -> bool:
        """Whether a decoded text changed though the ids did not."""
        return any(not p.ids_differ for p in self.probes)

    @property
    def static(self) -> bool:
        """Whether anything but probes and renders differs."""
        return bool(
            self.class_names[0] != self.class_names[1]
            or any(row.changed for row in self.flags)
            or self.components
            or self.vocabulary
            or self.merges
            or self.scores_differ
            or self.specials
            or self.settings
            or self.template_differs
            or self.stop_ids[0] != self.stop_ids[1]
        )

    @property
    def any(self) -> bool:
        """Whether anything differs in effect."""
        return bool(self.load_differs or self.static or self.probes or any(not r.same for r in self.renders))


def effects(a: Record, b: Record, loader: str) -> Effects:
    """Return what differs between the views that ``loader`` has of two records."""
    x, y = a["views"][loader], b["views"][loader]
    probes, families = compare_probes(x, y)
    models = [v.get("components", {}).get("model", {}) for v in (x, y)]
    tables = [
        [record["tables"].get(model.get(name)) for name in ("vocab", "merges")]
        for record, model in zip((a, b), models, strict=True)
    ]
    counts = bos_counts(x), bos_counts(y)
    return Effects(
        before_error=x.get("error"),
        after_error=y.get("error"),
        class_names=(x.get("class", ""), y.get("class", "")),
        flags=tuple(flag_rows(a, b, x, y)),
        components=_components(x.get("components", {}), y.get("components", {})),
        vocabulary=_table(vocabulary_diff, models, "vocab", tables[0][0], tables[1][0]),
        merges=_table(merges_diff, models, "merges", tables[0][1], tables[1][1]),
        scores_differ=models[0].get("scores") != models[1].get("scores"),
        specials=_pairs(x.get("specials", {}), y.get("specials", {})),
        settings=_pairs(x.get("settings", {}), y.get("settings", {})),
        template_differs=x.get("template", {}).get("text") != y.get("template", {}).get("text"),
        exceeded=(exceeded(x.get("template", {})), exceeded(y.get("template", {}))),
        renders=tuple(compare_renders(x, y)),
        probes=tuple(probes),
        families=tuple(families),
        bos_changed=tuple(
            sorted(
                k for k in counts[0].keys() & counts[1].keys() if counts[0][k] != counts[1][k] and same_text(x, y, k)
            )
        ),
        stop_ids=(tuple(stop_ids(a, x)), tuple(stop_ids(b, y))),
    )


def same_text(x: View, y: View, label: str) -> bool:
    """Whether both sides were asked to encode the same text under a label."""
    rows = [{**view.get("chats", {}), **view.get("sequences", {})}[label] for view in (x, y)]
    return bool(rows[0].get("text") == rows[1].get("text"))


def _table(diff: Any, models: list[Any], name: str, before: Any, after: Any) -> TableDiff | None:
    if models[0].get(name) == models[1].get(name) or before is None or after is None:
        return None
    found: TableDiff = diff(before, after)
    return found


def _components(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[tuple[str, Any, Any], ...]]:
    found = {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if name == "model":
            old, new = (
                {k: v for k, v in (m or {}).items() if k not in ("vocab", "merges", "scores")} for m in (old, new)
            )
        rows = tuple(("/".join(path), x, y) for path, x, y in differences(old, new))
        if rows and name != "version":
            found[name] = rows
    return found


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    keys = sorted(before.keys() | after.keys())
    return tuple((k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k))


# -- added tokens --------------------------------------------------------------------------------------------


def flag_rows(a: Record, b: Record, x: View, y: View) -> list[FlagRow]:
    """Return each flag that changed in effect or in a file, or over which the files of one side disagree."""
    sides = []
    for record, view in ((a, x), (b, y)):
        documents = record["documents"]
        sides.append((tokens_of(view.get("added_tokens")), json_tokens(documents), config_tokens(documents)))
    (before, json_before, config_before), (after, json_after, config_after) = sides
    rows = []
    for token in sorted(before.keys() | after.keys(), key=lambda t: (before.get(t, after.get(t, {})).get("id", -1), t)):
        for flag in ("id", *FLAGS):
            values = [
                side.get(token, {}).get(flag)
                for side in (before, after, json_before, json_after, config_before, config_after)
            ]
            row = FlagRow(
                token=token,
                flag=flag,
                before=values[0],
                after=values[1],
                json_before=values[2],
                json_after=values[3],
                config_before=values[4],
                config_after=values[5],
            )
            if row.changed or row.disagree or values[2] != values[3] or values[4] != values[5]:
                rows.append(row)
    return rows


def tokens_of(rows: Any) -> dict[str, dict[str, Any]]:
    """Return a list of added tokens by content."""
    return {t["content"]: t for t in rows or [] if isinstance(t, dict) and "content" in t}


def json_tokens(documents: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the added tokens of ``tokenizer.json``."""
    document = documents.get("tokenizer.json")
    return tokens_of(document.get("added_tokens")) if isinstance(document, dict) else {}


def config_tokens(documents: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the ``added_tokens_decoder`` of ``tokenizer_config.json``."""
    document = documents.get("tokenizer_config.json")
    decoder = document.get("added_tokens_decoder") if isinstance(document, dict) else None
    return tokens_of([{**t, "id": int(i)} for i, t in decoder.items()]) if isinstance(decoder, dict) else {}


def changed_tokens(rows: tuple[FlagRow, ...]) -> tuple[list[str], bool]:
    """Return the added tokens whose effect changed, and whether all of them are unused placeholders."""
    tokens = sorted({row.token for row in rows if row.changed})
    return tokens, bool(tokens) and all(RESERVED.search(token) for token in tokens)


# -- stop ids ------------------------------------------------------------------------------------------------


def stop_id_table(record: Record, view: View) -> dict[str, list[int]]:
    """Return the ids that end a reply, according to each of the four places that may say so."""
    documents = record["documents"]
    found = {}
    for name in ("generation_config.json", "config.json"):
        document = documents.get(name)
        value = document.get("eos_token_id") if isinstance(document, dict) else None
        if value is not None:
            found[name] = sorted(value) if isinstance(value, list) else [value]
    vocabulary = {t["content"]: t.get("id") for t in view.get("added_tokens", [])}
    table = record["tables"].get(view.get("components", {}).get("model", {}).get("vocab"), {})
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        document = documents.get(name)
        eos = document.get("eos_token") if isinstance(document, dict) else None
        content = special_content(eos)
        if content is not None:
            token_id = vocabulary.get(content, table.get(content) if isinstance(table, dict) else None)
            found[name] = [token_id] if token_id is not None else []
    return found


def stop_ids(record: Record, view: View) -> list[int]:
    """Return the ids that generation stops at: ``generation_config.json`` decides, then the model's config, then the tokenizer."""
    table = stop_id_table(record, view)
    for name in ("generation_config.json", "config.json"):
        if name in table:
            return table[name]
    eos = view.get("specials", {}).get("eos_token", {}).get("id")
    return [eos] if eos is not None else []
