"""Words for what was ruled: titles, evidence, the verdict, what to do. Nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.differences.behaviour import CORE_FAMILIES
from chatlab.revisions.differences.tables import TableDiff
from chatlab.revisions.differences.templates import TemplateChange
from chatlab.revisions.effects import Effects
from chatlab.revisions.findings import Causes, Reason, Ruling
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.structure import ABSENT, FileChange
from chatlab.severity import Severity
from chatlab.snapshots.views import LoaderView
from chatlab.turns.audit.finding import outline

EVIDENCE = 12
"""At most this many lines of evidence a finding; the files and the JSON hold the rest."""

LOST = 8
"""At most so many lost delimiters stand in a verdict."""

K = ChangeKind


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of change and what it does, in words."""

    kind: ChangeKind
    severity: Severity
    title: str
    evidence: tuple[str, ...]


TITLES = {
    K.VOCABULARY: "pieces came, went or got other ids",
    K.MODEL: "merges, scores or switches of the model changed",
    K.NORMALIZER: "text is rewritten differently before it is cut",
    K.PRE_TOKENIZER: "text is cut differently before the model sees it",
    K.ADDED_TOKENS: "added tokens or their flags changed",
    K.POST_PROCESSOR: "BOS, EOS or the frame around a text changed",
    K.DECODER: "the same ids decode to other text",
    K.CHAT_TEMPLATE: "the chat template changed",
    K.SPECIALS: "special or stop tokens changed",
    K.LIMITS: "length limits, truncation or padding changed",
    K.CLASS: "the class that does the work is chosen differently",
    K.LIBRARY: "library versions differ",
    K.LAYOUT: "files were added, removed or respelled",
    K.REMOTE_CODE: "code that the repository brings along changed",
}


BY_KIND = {
    K.VOCABULARY: "Weights and tokenizer must be of one commit: ids now mean other pieces; do not mix cached ids of the two.",
    K.MODEL: "Re-tokenize stored ids and check the model was trained with the new merges.",
    K.NORMALIZER: "Compare texts with combining marks, full-width letters and newlines before you switch.",
    K.PRE_TOKENIZER: "Compare digits, contractions and code before you switch: texts are cut elsewhere.",
    K.ADDED_TOKENS: "Cut echoes and replies by token ids, never by characters or by the text of a delimiter.",
    K.POST_PROCESSOR: "Count the BOS of an encoded prompt: encode a rendered template with add_special_tokens=False.",
    K.DECODER: "Compare decoded texts as text; cut the echo by token count.",
    K.CHAT_TEMPLATE: "Render your own dialogues with both templates and read the difference; keep a copy of the template you tested.",
    K.SPECIALS: "Set the stop ids yourself: read them from generation_config.json of the commit you pinned.",
    K.LIMITS: "Set model_max_length, padding_side and truncation yourself.",
    K.CLASS: "Name the tokenizer class you tested, and keep config.json beside the tokenizer.",
    K.LIBRARY: "Pin the library version together with the revision: the same files behave otherwise under another one.",
    K.LAYOUT: "Load the new layout under every library version you run, the oldest first.",
    K.REMOTE_CODE: "Read the changed code before you run it, and pin code_revision to a commit.",
}


def finding_of(ruling: Ruling, found: Causes, e: Effects, loader: str) -> Finding:
    """Return a ruling in words."""
    lines = [*change_lines(ruling.changes), *_more(ruling, found, e)]
    return Finding(
        kind=ruling.kind, severity=ruling.severity, title=_title(ruling, found, e, loader), evidence=tuple(lines)
    )


def _title(ruling: Ruling, found: Causes, e: Effects, loader: str) -> str:
    plain = TITLES[ruling.kind]
    if ruling.kind is K.CHAT_TEMPLATE and ruling.reason is not Reason.UNLOADABLE:
        return _template_title(ruling.reason, e, loader)
    if ruling.kind is K.VOCABULARY and e.vocabulary is not None and ruling.reason is Reason.FELT:
        return renumbered(e.vocabulary) or plain
    felt_anyway = not found.changes and e.any
    titles = {
        Reason.LATENT: f"{plain}; latent: the {loader} loader does not read it or no probe reaches it",
        Reason.UNLOADABLE: f"does not load {'after' if e.after_error else 'before'} the change",
        Reason.LIBRARY: "library versions or options differ"
        + (": nothing in the files changed, yet the effect did" if felt_anyway else ""),
        Reason.BYTES: f"bytes of {', '.join(found.respelled)} differ, their meaning does not"
        + (f"; yet the {loader} loader reads them otherwise" if e.any else ""),
    }
    return titles.get(ruling.reason, plain)


def renumbered(diff: TableDiff) -> str | None:
    """Return the title of a vocabulary whose pieces mostly moved, such as by new control tokens in front."""
    if diff.moved_len == 0 or diff.moved_len < diff.before_len // 2:
        return None
    by = f" by {next(iter(diff.offsets)):+d}" if len(diff.offsets) == 1 else ""
    came = f"; new in front: {', '.join(diff.added[:3])} …" if diff.added else ""
    return f"{diff.moved_len:,} of {diff.before_len:,} pieces were renumbered{by}{came}"


def _template_title(reason: Reason, e: Effects, loader: str) -> str:
    name = _template_names(e.templates)
    sides = zip(("before", "after"), e.exceeded, strict=True)
    respaced = ", ".join(f"{s.token!r} ({s.before!r} → {s.after!r})" for s in e.spacing[:4])
    titles = {
        Reason.EXCEEDED: f"{name} {', and '.join(f'{told} {side} the change' for side, told in sides if told)}",
        Reason.NO_JINJA: f"{name} is no Jinja any more: nothing renders",
        Reason.CAME: f"{name} came beside the others; latent: only programs that name it use it",
        Reason.GONE: f"{name} is gone: programs must format their prompts themselves",
        Reason.SAME_MEANING: f"{name} is spelled differently and means the same",
        Reason.LATENT: f"{name} changed; latent: the {loader} loader does not read it, other programs do",
        Reason.UNREACHED: f"{name} changed where no probe reaches: every render is the same; latent",
        Reason.CONVERSATIONS: f"conversations: {_conversation_words(e)}",
        Reason.SPACING: f"the template writes other whitespace around {respaced}: a parser that splits on the delimiter "
        "with its whitespace is concerned, one that splits on the delimiter alone is not",
    }
    return titles.get(reason, f"{name} changed")


def _conversation_words(e: Effects) -> str:
    kinds = [", ".join(dict.fromkeys(str(found.kind) for found in side)) for side in (e.newly_lost, e.no_longer_lost)]
    told = [f"{name} {word}" for name, word in zip(("new:", "no longer:"), kinds, strict=True) if word]
    return "; ".join(told)


def _conversation_lines(e: Effects) -> Iterator[str]:
    for word, side in (("new", e.newly_lost), ("no longer", e.no_longer_lost)):
        for found in side[:EVIDENCE]:
            who = outline(found.messages)
            yield f"{word}: {found.told}; hurts {', '.join(found.hurts)}; smallest conversation: {who}"


def _template_names(changes: Sequence[TemplateChange]) -> str:
    names = list(dict.fromkeys(change.name for change in changes))
    if names in ([], ["default"]):
        return "the chat template"
    word = "templates" if len(names) > 1 else "template"
    return f"the chat {word} {', '.join(map(repr, names))}"


def _more(ruling: Ruling, found: Causes, e: Effects) -> Iterator[str]:
    """Yield the evidence that stands in no file's change."""
    if ruling.reason is Reason.UNLOADABLE or (ruling.reason is Reason.BYTES and e.load_differs):
        yield e.after_error or e.before_error or ""
    if ruling.reason is Reason.LIBRARY:
        yield from (f"{name}: {old or 'absent'} → {new or 'absent'}" for name, old, new in found.versions)
        yield from ["options differ"] if found.options_differ else []
        yield from effect_lines(e)
    if ruling.reason in (Reason.NO_JINJA, Reason.LATENT, Reason.FELT) and ruling.kind is K.CHAT_TEMPLATE:
        yield from (f"{c.name} ({c.source}): {c.error}" for c in e.templates if c.error)
    if ruling.reason is Reason.CONVERSATIONS:
        yield from _conversation_lines(e)
    if ruling.reason is Reason.UNREACHED:
        yield from filter(None, map(_unreached, e.templates))
    if ruling.kind is K.VOCABULARY and e.vocabulary:
        yield f"pieces: {summary(e.vocabulary)}"
    if ruling.kind is K.MODEL and e.merges:
        yield f"merges: {summary(e.merges)}"
    if ruling.kind is K.MODEL and e.scores:
        yield f"scores of {len(e.scores):,} pieces, such as {', '.join(map(repr, e.scores[:3]))}"


def _unreached(change: TemplateChange) -> str:
    branches = [f"line {line} ({branch})" for line, branch in change.unreached[:6]]
    more = ", …" if len(change.unreached) > 6 else ""
    return f"no probe goes through {', '.join(branches)}{more} of {change.name}" if branches else ""


def moving_lines(view: LoaderView) -> Iterator[str]:
    """Yield what to know of templates whose renders depend on more than their messages."""
    for template in view.templates:
        name = "the chat template" if template.name == "default" else f"the chat template {template.name!r}"
        if template.used and template.volatile:
            yield f"{name} is not the same twice: its renders depend on chance, and were compared for one throw of it"
        if template.used and template.clock:
            yield f"{name} asks the clock: its renders move by the day, and were compared for one day"


def summary(diff: TableDiff) -> str:
    """Return the counts of a table in one line.

    >>> from chatlab.revisions.differences.tables import vocabulary_diff
    >>> summary(vocabulary_diff({"a": 0, "b": 1}, {"b": 0, "c": 1}))
    '2, 1 added, 1 removed, 1 renumbered'
    """
    size = f"{diff.before_len:,}"
    size += f" → {diff.after_len:,}" if diff.before_len != diff.after_len else ""
    counts = ((diff.added_len, "added"), (diff.removed_len, "removed"), (diff.moved_len, "renumbered"))
    return ", ".join([size, *(f"{count:,} {word}" for count, word in counts if count)])


NAMED_TABLES = ("model/vocab", "model/merges", "model/scores", "vocab", "merges", "scores", "lines")
"""Values that a record keeps by their hash: which one it is tells nobody anything."""


def change_lines(changes: Sequence[FileChange]) -> list[str]:
    """Return changes of files as lines of evidence, the first of many."""
    lines = [_change_line(change) for change in changes[:EVIDENCE]]
    return [*lines, f"… and {len(changes) - EVIDENCE} more"] if len(changes) > EVIDENCE else lines


def _change_line(change: FileChange) -> str:
    where = f"{change.file}: {change.path}" if change.path else change.file
    if change.kind is K.CHAT_TEMPLATE or change.path in NAMED_TABLES:
        return f"{where} {change.operation}"
    if change.operation == "changed":
        return f"{where}: {shown(change.before)} → {shown(change.after)}"
    value = f": {shown(change.before if change.after is None else change.after)}" if change.path else ""
    return f"{where} {change.operation}{value}"


def effect_lines(e: Effects) -> list[str]:
    """Return what differs in effect as lines, for causes that lie outside the files."""
    lines = []
    if e.class_names[0] != e.class_names[1]:
        lines.append(f"class: {e.class_names[0] or 'none'} → {e.class_names[1] or 'none'}")
    for name, rows in e.components.items():
        lines += [f"{name}: {row.name or 'whole'}: {shown(row.before)} → {shown(row.after)}" for row in rows[:2]]
    lines += [f"{row.name}: {shown(row.before)} → {shown(row.after)}" for row in e.settings]
    lines += [f"pieces: {summary(e.vocabulary)}"] if e.vocabulary else []
    lines += [f"merges: {summary(e.merges)}"] if e.merges else []
    return lines[:EVIDENCE]


def shown(value: Any) -> str:
    """Return a value as one short line of JSON.

    >>> shown({"rstrip": True})
    '{"rstrip": true}'
    """
    if value is ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 120 else f"{text[:117]}…"


# -- the verdict ---------------------------------------------------------------------------------------------


def verdict_lines(found: Sequence[Finding], e: Effects) -> Iterator[str]:
    """Yield the sentences of a verdict: the worst finding first, then what follows from it."""
    if not found:
        yield "Nothing differs."
        return
    yield f"{found[0].kind}: {found[0].title}."
    changed = sorted((f for f in e.families if f.ids_changed), key=lambda f: f.family not in CORE_FAMILIES)
    if changed:
        counts = ", ".join(f"{f.ids_changed} of {f.probe_len} {f.family} probes" for f in changed)
        yield f"Ids change in {counts}."
    if e.lost:
        more = f" and {len(e.lost) - LOST} more" if len(e.lost) > LOST else ""
        yield f"A parser no longer finds {', '.join(e.lost[:LOST])}{more} as before."


def advice(
    found: Sequence[Finding], e: Effects, *, revision: str | None, versions: Sequence[tuple[str, str | None]]
) -> list[str]:
    """Return what to do, the most urgent first; nothing for changes that do not matter.

    Args:
        found: the findings.
        e: what differs in effect.
        revision: the commit that works today, where there is one.
        versions: the libraries that work today.
    """
    serious = [finding for finding in found if finding.severity >= Severity.MAJOR_LATENT]
    if not serious:
        return []
    lines = [_stay(serious, revision, versions)]
    if e.exceeded[1]:
        lines.append(f"Do not render the new chat template outside a process with limits: it {e.exceeded[1]}.")
    lines += _parser_lines(e)
    lines += dict.fromkeys(BY_KIND[finding.kind] for finding in serious)
    if e.stop_ids[0] != e.stop_ids[1]:
        lines.append(f"Replies end at {list(e.stop_ids[1])} now, at {list(e.stop_ids[0])} before.")
    return lines


def _stay(serious: Sequence[Finding], revision: str | None, versions: Sequence[tuple[str, str | None]]) -> str:
    if any(finding.kind is K.LIBRARY for finding in serious):
        pins = ", ".join(f"{name}=={version}" for name, version in versions)
        return f"Stay on {pins} until your prompts are tested."
    if revision:
        return f"Stay on revision={revision!r} until your prompts are tested."
    return "Keep a copy of the files you tested until your prompts are tested with the new ones."


def _parser_lines(e: Effects) -> Iterator[str]:
    for delimiter in [d for d in e.delimiters if d.broken and d.written != d.token][:4]:
        old, new = delimiter.echo_before, delimiter.echo_after
        if not delimiter.lost_kept:
            old, new = delimiter.bare_before, delimiter.bare_after
        finds = f"now find {new!r}" if new.strip() else "now find nothing"
        yield f"Parsers that look for {old!r} {finds}: split on the id of {delimiter.token} instead."
    for row in e.spacing[:2]:
        yield f"Split on {row.token!r} and strip the parts: the template writes {row.after!r} where it wrote {row.before!r}."
