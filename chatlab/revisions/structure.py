"""What differs between the files of two records, value by value, each with its kind."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.kinds import ChangeKind, kind_of
from chatlab.snapshots.recorder import canonical

EXAMPLES = 20
"""At most this many entries of a vocabulary or merge list are told."""


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """One value that differs in one file."""

    file: str
    path: str
    """Keys joined with ``/``; added tokens are named by their content, not by their place in a list."""
    kind: ChangeKind
    operation: str
    """``added``, ``removed`` or ``changed``."""
    before: Any
    after: Any


def named(file: str, document: Any) -> Any:
    """Return a document with its added tokens keyed by content, so that order and numbering do not blur a diff."""
    if not isinstance(document, dict):
        return document
    result = dict(document)
    if file == "tokenizer.json" and isinstance(result.get("added_tokens"), list):
        result["added_tokens"] = by_content((t.get("id"), t) for t in result["added_tokens"])
    if isinstance(result.get("added_tokens_decoder"), dict):
        result["added_tokens_decoder"] = by_content(result["added_tokens_decoder"].items())
    return result


def by_content(tokens: Any) -> dict[str, Any]:
    """Return added tokens by content; a content that stands twice gets its id appended."""
    found: dict[str, Any] = {}
    for number, token in tokens:
        content = str(token.get("content", number))
        key = f"{content}#{number}" if content in found else content
        found[key] = {"id": int(number), **{k: v for k, v in token.items() if k not in ("id", "content", "__type")}}
    return found


def differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, before, after) of each differing leaf; list items are aligned, so one insertion is one difference.

    >>> list(differences({"a": [1, 2, 3]}, {"a": [1, 3], "b": 0}))
    [(('a', '1'), 2, <absent>), (('b',), <absent>, 0)]
    """
    # Python calls False and 0 equal, at any depth; JSON does not.
    if before == after and canonical(before) == canonical(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), (*path, key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_differences(before, after, path)
    else:
        yield path, before, after


def _list_differences(
    before: list[Any], after: list[Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    matcher = difflib.SequenceMatcher(
        None, [canonical(v) for v in before], [canonical(v) for v in after], autojunk=False
    )
    for operation, a0, a1, b0, b1 in matcher.get_opcodes():
        if operation == "equal":
            continue
        for offset in range(max(a1 - a0, b1 - b0)):
            old = before[a0 + offset] if a0 + offset < a1 else ABSENT
            new = after[b0 + offset] if b0 + offset < b1 else ABSENT
            yield from differences(old, new, (*path, str(a0 + offset)))


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"


ABSENT = _Absent()
"""Stands for a value that is not there, which differs from JSON's null."""


def file_changes(a: dict[str, Any], b: dict[str, Any]) -> list[FileChange]:
    """Return every value that differs between the files of two records, sorted by file and path.

    A template that moved between ``tokenizer_config.json`` and ``chat_template.jinja`` unchanged, or merges that
    are now spelled as pairs, are changes of layout.
    """
    changes = []
    for file in sorted(a["files"].keys() | b["files"].keys()):
        if a["files"].get(file) == b["files"].get(file):
            continue
        if file not in a["files"] or file not in b["files"]:
            present = b if file in b["files"] else a
            changes.append(_whole_file(file, present["documents"].get(file), added=present is b))
            continue
        changes += _within(file, a, b)
    return _fold_moved_templates(changes)


def _whole_file(file: str, document: Any, *, added: bool) -> FileChange:
    kind = (
        kind_of(file, ()) if file.endswith((".py", ".jinja")) or file.startswith("chat_template") else ChangeKind.LAYOUT
    )
    shown = document if isinstance(document, str) else None
    return FileChange(
        file=file,
        path="",
        kind=kind or ChangeKind.LAYOUT,
        operation="added" if added else "removed",
        before=None if added else shown,
        after=shown if added else None,
    )


def _within(file: str, a: dict[str, Any], b: dict[str, Any]) -> list[FileChange]:
    before, after = named(file, a["documents"].get(file)), named(file, b["documents"].get(file))
    found = []
    if before is None and after is None:  # code, tiktoken ranks: only the bytes are known
        kind = kind_of(file, ()) or ChangeKind.LAYOUT
        shas = a["files"][file]["sha256"], b["files"][file]["sha256"]
        found.append(FileChange(file=file, path="", kind=kind, operation="changed", before=shas[0], after=shas[1]))
    for path, old, new in differences(before, after):
        kind_found = kind_of(file, path)
        if kind_found is not None:
            operation = "added" if old is ABSENT else "removed" if new is ABSENT else "changed"
            known = [None if value is ABSENT else value for value in (old, new)]
            found.append(
                FileChange(
                    file=file,
                    path="/".join(path),
                    kind=kind_found,
                    operation=operation,
                    before=known[0],
                    after=known[1],
                )
            )
    return found


def _fold_moved_templates(changes: list[FileChange]) -> list[FileChange]:
    """Turn "template removed here" with "the same template added there" into one change of layout."""
    templates = [c for c in changes if c.kind is ChangeKind.CHAT_TEMPLATE and c.path in ("", "chat_template")]
    for gone in templates:
        for new in templates:
            if gone.operation == "removed" and new.operation == "added" and gone.before == new.after:
                moved = FileChange(
                    file=new.file,
                    path=new.path,
                    kind=ChangeKind.LAYOUT,
                    operation="changed",
                    before=f"template in {gone.file}",
                    after=f"template in {new.file}",
                )
                return [c for c in changes if c not in (gone, new)] + [moved]
    return changes


@dataclass(frozen=True, kw_only=True)
class TableDiff:
    """Two vocabularies or merge lists against each other; the lists hold the first few entries."""

    before_len: int
    after_len: int
    added_len: int
    removed_len: int
    moved_len: int
    """Pieces that kept their name and lost their number, or merges that changed their place."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line of counts."""
        parts = (
            [f"{self.before_len:,} → {self.after_len:,}"]
            if self.before_len != self.after_len
            else [f"{self.before_len:,}"]
        )
        parts += [
            f"{n:,} {word}"
            for n, word in ((self.added_len, "added"), (self.removed_len, "removed"), (self.moved_len, "renumbered"))
            if n
        ]
        return ", ".join(parts)


def vocabulary_diff(before: dict[str, int], after: dict[str, int]) -> TableDiff:
    """Return which pieces came, went or got another id.

    >>> vocabulary_diff({"a": 0, "b": 1}, {"b": 0, "c": 1}).summary
    '2, 1 added, 1 removed, 1 renumbered'
    """
    added = sorted(after.keys() - before.keys(), key=lambda p: after[p])
    removed = sorted(before.keys() - after.keys(), key=lambda p: before[p])
    moved = [p for p, i in before.items() if p in after and after[p] != i]
    return TableDiff(
        before_len=len(before),
        after_len=len(after),
        added_len=len(added),
        removed_len=len(removed),
        moved_len=len(moved),
        added=tuple(f"{p} {after[p]}" for p in added[:EXAMPLES]),
        removed=tuple(f"{p} {before[p]}" for p in removed[:EXAMPLES]),
        moved=tuple(f"{p} {before[p]} → {after[p]}" for p in moved[:EXAMPLES]),
    )


def merges_diff(before: list[str], after: list[str]) -> TableDiff:
    """Return which merges came or went, and how many of those in both stand in another order."""
    old, new = set(before), set(after)
    added, removed = [m for m in after if m not in old], [m for m in before if m not in new]
    kept, wanted = [m for m in before if m in new], [m for m in after if m in old]
    moved = [m for m, n in zip(kept, wanted, strict=False) if m != n]
    return TableDiff(
        before_len=len(before),
        after_len=len(after),
        added_len=len(added),
        removed_len=len(removed),
        moved_len=len(moved),
        added=tuple(added[:EXAMPLES]),
        removed=tuple(removed[:EXAMPLES]),
        moved=tuple(moved[:EXAMPLES]),
    )


def shown(value: Any) -> str:
    """Return a value as one short line of JSON.

    >>> shown({"rstrip": True})
    '{"rstrip": true}'
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 120 else f"{text[:117]}…"
