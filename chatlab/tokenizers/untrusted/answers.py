"""The child's side: what a tokenizer there is asked, by functions that take JSON values and return such."""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any

from chatlab.tokenizers.interface import Tokenizer


def answered(tokenizer: Tokenizer, asked: dict[str, Any]) -> Any:
    """Return what a function gives for the changed tokenizer; copies are kept by the tokenizer itself."""
    changed = reduce(lambda one, change: one.change(*change), asked["changes"], tokenizer)  # type: ignore[arg-type, return-value]  # it was a copy when it was asked for
    return getattr(importlib.import_module(asked["module"]), asked["function"])(changed, asked["argument"])


def facts(tokenizer: Tokenizer, _: Any) -> dict[str, Any]:
    """Return what a tokenizer tells of itself, and its AutoTokenizer of templates."""
    owner = tokenizer.wrapped
    template = owner and {
        "name_or_path": str(owner.name_or_path),
        "chat_template": getattr(owner, "chat_template", None) or None,
        "special_tokens_map": {k: str(v) for k, v in owner.special_tokens_map.items() if not isinstance(v, list)},
        "all_special_tokens": [str(token) for token in owner.all_special_tokens],
        "bos_token_id": owner.bos_token_id,
    }
    return {
        "name": tokenizer.name,
        "loader": str(tokenizer.loader),
        "versions": dict(tokenizer.versions),
        "special_strs": dict(tokenizer.special_strs),
        "special_ids": sorted(tokenizer.special_ids),
        "vocab_len": tokenizer.vocab_len,
        "unk_id": tokenizer.unk_id,
        "cleans_up": tokenizer.change("clean_up_off") is not None,
        "template": template if owner is not None else None,
    }


def encode_spans(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return ids and spans of ``[text, add_special_tokens]``."""
    found = tokenizer.encode_spans(asked[0], add_special_tokens=asked[1])
    return found.token_ids, found.spans


def encode(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return the ids of ``[text, add_special_tokens]``."""
    return tokenizer.encode(asked[0], add_special_tokens=asked[1])


def encode_batch(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return the ids of ``[texts, add_special_tokens]``."""
    return tokenizer.encode_batch(asked[0], add_special_tokens=asked[1])


def decode(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return the text of ``[ids, skip_special_tokens]``."""
    return tokenizer.decode(asked[0], skip_special_tokens=asked[1])


def decode_batch(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return the texts of ``[lists of ids, skip_special_tokens]``."""
    return tokenizer.decode_batch(asked[0], skip_special_tokens=asked[1])


def decode_for_stream(tokenizer: Tokenizer, asked: list[Any]) -> Any:
    """Return the text of ``[ids, skip_special_tokens]`` as a stream shows it."""
    return tokenizer.decoder(skip_special_tokens=asked[1])(asked[0])


def token_bytes(tokenizer: Tokenizer, token_id: int) -> Any:
    """Return the bytes of an id that may be a part of a character."""
    found = tokenizer.decoder().token_bytes(token_id)
    return None if found is None else list(found)


def piece(tokenizer: Tokenizer, token_id: int) -> Any:
    """Return the vocabulary entry of an id."""
    return tokenizer.piece(token_id)


def without_special_strs(tokenizer: Tokenizer, text: str) -> Any:
    """Return a text without the control tokens in it."""
    return tokenizer.without_special_strs(text)


def clean_up(tokenizer: Tokenizer, text: str) -> Any:
    """Return a decoded text as the class cleans it up."""
    return (getattr(tokenizer, "clean_up", None) or tokenizer.wrapped.clean_up_tokenization)(text)


def changed(tokenizer: Tokenizer, change: tuple[str, Any]) -> Any:
    """Return what the copy with one ``[name, argument]`` changed tells of itself, or ``None``."""
    changed = tokenizer.change(*change)
    return None if changed is None else facts(changed, None)
