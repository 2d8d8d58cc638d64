"""From what changed in the files and what it did, to findings with a kind and a severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.effects import Effects
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.rules import RULES, any_effect
from chatlab.revisions.structure import FileChange, shown
from chatlab.severity import Severity

EVIDENCE = 12
"""At most this many lines of evidence a finding; the files and the JSON hold the rest."""

K = ChangeKind


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of change and what it does."""

    kind: ChangeKind
    severity: Severity
    title: str
    evidence: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": str(self.kind),
            "severity": self.severity.label,
            "title": self.title,
            "evidence": list(self.evidence),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Return the finding that ``to_dict`` wrote."""
        kind, severity = ChangeKind(data["kind"]), Severity.from_label(data["severity"])
        return cls(kind=kind, severity=severity, title=data["title"], evidence=tuple(data["evidence"]))


UNREAD = {K.LIMITS: Severity.INFO, K.LAYOUT: Severity.INFO, K.CLASS: Severity.MINOR, K.LIBRARY: Severity.INFO}
"""Severity of a change in a file that had no effect; in every other kind another loader may well see it."""

SAME_MEANING = {K.CHAT_TEMPLATE: Severity.MINOR, K.LAYOUT: Severity.INFO}


def findings(
    changes: list[FileChange], versions: list[str], e: Effects, *, template_equal: bool, loader: str
) -> list[Finding]:
    """Return one finding a kind of change, the worst first.

    Args:
        changes: what differs in the files.
        versions: what differs in the libraries and options, as lines.
        e: what the loader made of it.
        template_equal: whether the two templates are the same once parsed.
        loader: which loader ``e`` speaks of.
    """
    found = []
    kinds = sorted({c.kind for c in changes}, key=lambda k: k.number)
    for kind in kinds:
        own = [c for c in changes if c.kind is kind]
        found.append(
            _of_files(
                kind, own, e, template_equal=template_equal, loader=loader, alone=len(kinds) == 1 and not versions
            )
        )
    if versions:
        severity = any_effect(e) if not changes else None
        title = "library versions or options differ" + (
            ": nothing in the files changed, yet the effect did" if severity else ""
        )
        found.append(
            Finding(
                kind=K.LIBRARY,
                severity=severity or Severity.INFO,
                title=title,
                evidence=tuple(versions) + effect_lines(e),
            )
        )
    if not changes and not versions and e.any:
        raise AssertionError("equal files and equal versions gave two different records")  # law L5 is broken
    if e.load_differs and all(f.severity < Severity.BREAKING for f in found):
        found = [_unloadable(f, e) for f in found]
    return sorted(found, key=lambda f: (-f.severity, f.kind.number))


def _unloadable(finding: Finding, e: Effects) -> Finding:
    error = e.after_error or e.before_error or ""
    side = "after" if e.after_error else "before"
    return Finding(
        kind=finding.kind,
        severity=Severity.BREAKING,
        title=f"does not load {side} the change",
        evidence=(error, *finding.evidence),
    )


def _of_files(
    kind: ChangeKind, own: list[FileChange], e: Effects, *, template_equal: bool, loader: str, alone: bool
) -> Finding:
    severity = RULES[kind](e)
    title = renumbered(e) or TITLES[kind] if kind is K.VOCABULARY else TITLES[kind]
    # A file's setting may act through a component of another name: then the behaviour speaks, if it has one cause.
    if severity is None and alone and e.any:
        severity = any_effect(e)
    if severity is None:
        severity = UNREAD.get(kind, Severity.MAJOR_LATENT)
        if severity is Severity.MAJOR_LATENT:
            title = f"{title}; latent: the {loader} loader does not read it or no probe reaches it"
    if kind is K.CHAT_TEMPLATE and any(e.exceeded):
        sides = [
            f"{told} {side} the change" for side, told in zip(("before", "after"), e.exceeded, strict=True) if told
        ]
        title = f"the chat template {', and '.join(sides)}"
    elif kind is K.CHAT_TEMPLATE and template_equal and severity <= Severity.MAJOR_LATENT:
        severity, title = Severity.MINOR, "the chat template is spelled differently and means the same"
    return Finding(kind=kind, severity=severity, title=title, evidence=change_lines(own) + _tables(kind, e))


def renumbered(e: Effects) -> str | None:
    """Return the title of a vocabulary whose pieces mostly moved by one offset, such as by new control tokens in front."""
    diff = e.vocabulary
    if diff is None or diff.moved_len < diff.before_len // 2:
        return None
    offsets = {int(after) - int(before) for before, after in (entry.rsplit(" ", 3)[1::2] for entry in diff.moved)}
    by = f" by {offsets.pop():+d}" if len(offsets) == 1 else ""
    came = f"; new in front: {', '.join(entry.rsplit(' ', 1)[0] for entry in diff.added[:3])} …" if diff.added else ""
    return f"{diff.moved_len:,} of {diff.before_len:,} pieces were renumbered{by}{came}"


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


def change_lines(changes: list[FileChange]) -> tuple[str, ...]:
    """Return changes of files as lines of evidence, the first of many."""
    lines = []
    for change in changes[:EVIDENCE]:
        where = f"{change.file}: {change.path}" if change.path else change.file
        if change.kind is K.CHAT_TEMPLATE or change.path in (
            "model/vocab",
            "model/merges",
            "model/scores",
            "vocab",
            "lines",
        ):
            lines.append(f"{where} {change.operation}")
        elif change.operation == "changed":
            lines.append(f"{where}: {shown(change.before)} → {shown(change.after)}")
        else:
            lines.append(
                f"{where} {change.operation}" + (f": {shown(change.after or change.before)}" if change.path else "")
            )
    if len(changes) > EVIDENCE:
        lines.append(f"… and {len(changes) - EVIDENCE} more")
    return tuple(lines)


def _tables(kind: ChangeKind, e: Effects) -> tuple[str, ...]:
    if kind is K.VOCABULARY and e.vocabulary:
        return (f"pieces: {e.vocabulary.summary}",)
    if kind is K.MODEL and e.merges:
        return (f"merges: {e.merges.summary}",)
    return ()


def effect_lines(e: Effects) -> tuple[str, ...]:
    """Return what differs in effect as lines, for causes that lie outside the files."""
    lines = []
    if e.class_names[0] != e.class_names[1]:
        lines.append(f"class: {e.class_names[0] or 'none'} → {e.class_names[1] or 'none'}")
    lines += [
        f"{name}: {path or 'whole'}: {shown_any(x)} → {shown_any(y)}"
        for name, rows in e.components.items()
        for path, x, y in rows[:2]
    ]
    lines += [f"{name}: {shown(x)} → {shown(y)}" for name, x, y in e.settings]
    lines += [f"pieces: {e.vocabulary.summary}"] if e.vocabulary else []
    lines += [f"merges: {e.merges.summary}"] if e.merges else []
    return tuple(lines[:EVIDENCE])


def shown_any(value: Any) -> str:
    """Return a JSON value, or what stands for an absent one, as a short line."""
    return "absent" if repr(value) == "<absent>" else shown(value)
