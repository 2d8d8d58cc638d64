"""What a GGUF file says of its tokenizer, as a document of a record; llama.cpp decides by every one of these fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatlab.tokenizers.gguf.fields import token_types, tokenizer_fields

TABLES = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.merges", "tokenizer.ggml.token_type"}
CHAT_TEMPLATE = "tokenizer.chat_template"
SPECIALS = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad", "seperator": "sep", "mask": "mask"}
"""How the fields ``tokenizer.ggml.*_token_id`` call them (one is misspelt in the format), and how transformers does."""


def gguf_documents(folder: Path) -> dict[str, Any]:
    """Return the document of each GGUF file of a folder, or why it is unreadable."""
    return {path.name: _document(path) for path in sorted(folder.glob("*.gguf"))}


def _document(path: Path) -> dict[str, Any]:
    try:
        return document_of(tokenizer_fields(path))
    except (OSError, ValueError, LookupError, TypeError) as error:
        return {"unreadable": f"{type(error).__name__}: {str(error).replace(str(path), path.name)}"}


def document_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return pieces by id, scores, merges, kinds of pieces, special tokens, templates, and every smaller field."""
    pieces = [str(piece) for piece in fields["tokenizer.ggml.tokens"]]
    kinds = zip(pieces, token_types(fields), strict=True)
    tables = {
        name: fields[f"tokenizer.ggml.{name}"] for name in ("scores", "merges") if f"tokenizer.ggml.{name}" in fields
    }
    named = {_template_name(key): value for key, value in fields.items() if _is_template(key)}
    return {
        "metadata": {key: value for key, value in fields.items() if key not in TABLES and not _is_template(key)},
        "vocab": {piece: number for number, piece in enumerate(pieces)},
        **tables,
        "kinds": {piece: kind for piece, kind in kinds if kind != "normal"},
        "specials": dict(_specials(fields, pieces)),
        **({"chat_template": named} if named else {}),
    }


def _specials(fields: Mapping[str, Any], pieces: list[str]) -> list[tuple[str, str]]:
    numbers = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for key, name in SPECIALS.items()}
    return [(f"{name}_token", pieces[n]) for name, n in numbers.items() if isinstance(n, int) and 0 <= n < len(pieces)]


def _is_template(key: str) -> bool:
    return key == CHAT_TEMPLATE or key.startswith(f"{CHAT_TEMPLATE}.")


def _template_name(key: str) -> str:
    return key[len(CHAT_TEMPLATE) + 1 :] or "default"
