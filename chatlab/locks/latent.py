"""What the files say, whether or not the locked loader reads it: other programs and other versions may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chatlab.revisions.differences.templates import meaning
from chatlab.revisions.files import contradictions
from chatlab.revisions.findings import UNREAD
from chatlab.revisions.kinds import ChangeKind, kind_of
from chatlab.revisions.structure import named
from chatlab.snapshots.recorder import canonical, sha256

ANY_FILE = "files"
"""In place of a file's name for what acts from whichever file it stands in: chat templates and code."""


def latent_hashes(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of what each file says of each kind of change that is never below MAJOR-latent.

    The names are ``tokenizer.json: added tokens``. Bytes that mean the same hash the same, and so does a chat template
    that moved to another file.
    """
    said: dict[str, list[str]] = {}
    for file, facts in record["files"].items():
        document = named(file, record["documents"].get(file))
        for path, value in _leaves(document) if document is not None else [((), facts["sha256"])]:
            kind = kind_of(file, path)
            if kind is None or kind in UNREAD:
                continue
            template = kind is ChangeKind.CHAT_TEMPLATE
            where = ANY_FILE if template or file.endswith(".py") else file
            said.setdefault(f"{where}: {kind}", []).append(canonical(_told(value) if template else [file, path, value]))
    for found in contradictions(record["documents"]):
        said.setdefault(f"{ANY_FILE}: {found.kind}, contradicted", []).append(canonical([found.name, found.values]))
    return {name: sha256(canonical(sorted(set(values)))) for name, values in said.items()}


def _told(template: Any) -> Any:
    return meaning(template) if isinstance(template, str) else template


def file_of(component: str) -> str | None:
    """Return the file that a name of :func:`latent_hashes` speaks of; ``None`` for the other parts of a lock.

    >>> file_of("tokenizer.json: added tokens"), file_of("added_tokens")
    ('tokenizer.json', None)
    """
    file, mark, _ = component.rpartition(": ")
    return file if mark else None


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value
