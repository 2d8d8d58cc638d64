"""What differs between the files of two records, value by value, each with its kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.differences.tables import changed_scores
from chatlab.revisions.files import contradictions
from chatlab.revisions.kinds import ChangeKind, kind_of
from chatlab.snapshots.recorder import canonical
from chatlab.snapshots.views import Record, scores_by_piece


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
    listed, decoder = result.get("added_tokens"), result.get("added_tokens_decoder")
    if file == "tokenizer.json" and isinstance(listed, list):
        rows = [(t.get("id") if isinstance(t, dict) else None, t) for t in listed]
        result["added_tokens"] = by_content(rows) if all(map(_is_token, rows)) else listed
    if isinstance(decoder, dict) and all(map(_is_token, decoder.items())):
        result["added_tokens_decoder"] = by_content(decoder.items())
    return result


def _is_token(row: tuple[Any, Any]) -> bool:
    """Whether a file tells an added token as files do; of others only that they differ can be said."""
    number, token = row
    return isinstance(token, dict) and (isinstance(number, int) or isinstance(number, str) and number.isdecimal())


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


def file_changes(before: Record, after: Record) -> list[FileChange]:
    """Return every value that differs between the files of two records, sorted by file and path.

    A template that moved between ``tokenizer_config.json`` and ``chat_template.jinja`` unchanged, or merges that
    are now spelled as pairs, are changes of layout. So is a file that came or went, but for what it says otherwise than
    the files beside it.
    """
    changes: list[FileChange] = []
    for file in sorted(before["files"].keys() | after["files"].keys()):
        sides = [side["files"].get(file) for side in (before, after)]
        if sides[0] == sides[1]:
            continue
        changes += _within(file, before, after) if None not in sides else _whole_file(file, before, after)
    return _fold_moved_templates(changes)


def _whole_file(file: str, before: Record, after: Record) -> Iterator[FileChange]:
    added = file in after["files"]
    documents = (after if added else before)["documents"]
    template = file.endswith((".py", ".jinja")) or file.startswith("chat_template")
    shown = documents.get(file) if isinstance(documents.get(file), str) else None
    operation = "added" if added else "removed"
    yield FileChange(
        file=file,
        path="",
        kind=(kind_of(file, ()) if template else None) or ChangeKind.LAYOUT,
        operation=operation,
        before=None if added else shown,
        after=shown if added else None,
    )
    for found in contradictions(documents):
        if file in found.values:
            others = next((value for name, value in found.values.items() if name != file), None)
            pair = (others, found.values[file]) if added else (found.values[file], others)
            yield FileChange(
                file=file, path=found.name, kind=found.kind, operation="changed", before=pair[0], after=pair[1]
            )


def _within(file: str, before: Record, after: Record) -> Iterator[FileChange]:
    documents = [named(file, side["documents"].get(file)) for side in (before, after)]
    if documents[0] is None and documents[1] is None:  # code, tiktoken ranks: only the bytes are known
        kind = kind_of(file, ()) or ChangeKind.LAYOUT
        shas = before["files"][file]["sha256"], after["files"][file]["sha256"]
        yield FileChange(file=file, path="", kind=kind, operation="changed", before=shas[0], after=shas[1])
    for path, old, new in differences(*documents):
        kind_found = kind_of(file, path)
        if kind_found is None or _same_scores(path, documents, (before["tables"], after["tables"])):
            continue
        yield FileChange(
            file=file,
            path="/".join(path),
            kind=kind_found,
            operation="added" if old is ABSENT else "removed" if new is ABSENT else "changed",
            before=None if old is ABSENT else old,
            after=None if new is ABSENT else new,
        )


def _same_scores(path: tuple[str, ...], documents: list[Any], tables: tuple[Any, Any]) -> bool:
    """Whether a list of scores differs only because pieces came, went or moved."""
    if path[-1:] != ("scores",):
        return False
    sides = []
    for document, known in zip(documents, tables, strict=True):
        for key in path[:-1]:
            document = document.get(key, {})
        sides.append(scores_by_piece(known.get(document.get("vocab")), known.get(document.get("scores"))))
    return None not in sides and not changed_scores(*sides)


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
