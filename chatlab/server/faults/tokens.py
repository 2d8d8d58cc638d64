"""Faults of the tokenizer, and of what happens to ids on their way to the model."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from chatlab.server.faults.fault import Ids
from chatlab.tokenizers.changes import CHANGES
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer
from chatlab.tokenizers.pipeline.steps import Json, steps, with_steps

SLOT_LEN = 64
"""Ids of a prompt that a server with too small a context keeps: the last ones."""
_TELLING = "In 2024, 1234567 people said: don't  panic!\n\n\tWell"
"""Text that pre-tokenizers cut differently: digits, a short form, runs of blanks."""


def bos_id(tokenizer: Tokenizer) -> int | None:
    """The id that a text begins with, where there is one."""
    told = getattr(tokenizer.wrapped, "bos_token_id", None)
    added = tokenizer.encode("", add_special_tokens=True)[:1]
    return told if told is not None else next(iter(added), None)


def double_bos(ids: Ids, tokenizer: Tokenizer) -> Ids:
    """The ids with their BOS once more, as where template and tokenizer both write it."""
    return ids[:1] + ids if ids[:1] == (bos_id(tokenizer),) else ids


def missing_bos(ids: Ids, tokenizer: Tokenizer) -> Ids:
    """The ids without their BOS."""
    return ids[1:] if ids[:1] == (bos_id(tokenizer),) else ids


def cut_from_the_left(ids: Ids, _: Tokenizer) -> Ids:
    """The last ids alone."""
    return ids[-SLOT_LEN:]


def other_pre_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with another pre-tokenizer, the first of some usual ones that cuts differently; else itself."""
    if not isinstance(tokenizer, FastTokenizer):
        return tokenizer
    own = tokenizer.encode(_TELLING)
    for state in _with_others(tokenizer.state):
        changed = _over(tokenizer, RustTokenizer.from_str(json.dumps(state)))
        if changed.encode(_TELLING) != own:
            return changed
    return tokenizer


def _with_others(state: Json) -> Iterator[Json]:
    parts = steps(state.get("pre_tokenizer"))
    yield with_steps(state, "pre_tokenizer", [{"type": "Digits", "individual_digits": True}, *parts])
    changed = CHANGES["prefix_never"](state, None)
    if changed is not None:
        yield changed
    pattern = {"Regex": r"\p{N}{1,2}|\s+|[^\s\p{N}]+"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    yield with_steps(state, "pre_tokenizer", [split, *parts])


def _over(tokenizer: FastTokenizer, rust: RustTokenizer) -> Tokenizer:
    """The same tokenizer, its template and names, over another pipeline."""
    if tokenizer.wrapped is None:
        return as_tokenizer(rust)
    wrapped: Any = copy.copy(tokenizer.wrapped)
    wrapped._tokenizer = rust
    return as_tokenizer(wrapped)
