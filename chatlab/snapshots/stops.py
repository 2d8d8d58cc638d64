"""What ends a reply, according to each file that may say so, and which of them decides."""

from __future__ import annotations

from typing import Any

from chatlab.snapshots.recorder import special_content
from chatlab.snapshots.views import LoaderView, Record

STOP_FILES = ("generation_config.json", "config.json")
"""Files that name stop ids themselves, the one that decides first."""


def stop_id_table(record: Record, view: LoaderView) -> dict[str, tuple[int, ...]]:
    """Return the ids that end a reply, according to each of the four places that may say so."""
    documents: Any = record["documents"]
    found = {}
    for name in STOP_FILES:
        value = field_of(documents, name, "eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            found[name] = tuple(sorted(i for i in ids if isinstance(i, int)))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = special_content(field_of(documents, name, "eos_token"))
        if content is not None:
            number = _id_of(view, content)
            found[name] = () if number is None else (number,)
    return found


def field_of(documents: Any, name: str, key: str) -> Any:
    """Return what a file says under a key; ``None`` where it says nothing."""
    document = documents.get(name)
    return document.get(key) if isinstance(document, dict) else None


def _id_of(view: LoaderView, content: str) -> int | None:
    token = view.added_tokens.get(content)
    return token.token_id if token else (view.components.vocabulary or {}).get(content)


def stop_ids(record: Record, view: LoaderView) -> tuple[int, ...]:
    """Return the ids that generation stops at: ``generation_config.json`` decides, then the model's config, then the tokenizer."""
    table = stop_id_table(record, view)
    for name in STOP_FILES:
        if name in table:
            return table[name]
    eos = view.special_id("eos_token")
    return () if eos is None else (eos,)
