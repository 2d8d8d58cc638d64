"""The steps of a ``tokenizer.json``'s components: taken apart, put together, and known by what they do.

One rule can be spelled in many ways: a dummy prefix is a ``Prepend``, or a ``Replace`` of the start of the text. So a
step is run on a few small texts and judged by what comes out, not by its type.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

Json = dict[str, Any]

SPACE_MARK = "\u2581"

_BARE: Json = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
_WORDS = ("x", "a", "x y", "x  y", "Xy. z", "1", "[", "\u8a9e")
"""Texts that a step which only writes blanks leaves alone but for their blanks."""


def steps(component: Json | None) -> list[Json]:
    """Return the flat steps of a normalizer, pre-tokenizer or decoder; a Sequence is its steps."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    inner = component.get("normalizers") or component.get("pretokenizers") or component.get("decoders") or []
    return [step for part in inner for step in steps(part)]


def sequence(kind: str, parts: list[Json]) -> Json | None:
    """Return the component made of ``parts``; the inverse of :func:`steps`."""
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    key = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}[kind]
    return {"type": "Sequence", key: parts}


def with_steps(state: Json, kind: str, parts: list[Json]) -> Json:
    """Return ``state`` with the steps of one component replaced."""
    return {**state, kind: sequence(kind, parts)}


def edit_steps(state: Json, kind: str, edit: Callable[[Json], list[Json] | None]) -> Json | None:
    """Return ``state`` with each step replaced by ``edit(step)``; ``None`` where no step is edited."""
    before = steps(state.get(kind))
    edits = [edit(step) for step in before]
    if all(new is None for new in edits):
        return None
    after = [part for step, new in zip(before, edits, strict=True) for part in ([step] if new is None else new)]
    return with_steps(state, kind, after)


@lru_cache(maxsize=256)
def _normalized(step: str) -> tuple[str, ...]:
    normalizer = RustTokenizer.from_str(json.dumps({**_BARE, "normalizer": json.loads(step)})).normalizer
    return tuple(normalizer.normalize_str(text) for text in _WORDS)


@lru_cache(maxsize=256)
def _decoded(step: str) -> tuple[str, ...]:
    decoder = RustTokenizer.from_str(json.dumps({**_BARE, "decoder": json.loads(step)})).decoder
    return tuple(decoder.decode([text.replace(" ", blank)]) for blank in (" ", SPACE_MARK) for text in _ENDS)


_ENDS = ("  x y  ",)
"""A text with blanks at its ends and in it."""


def writes_prefix(step: Json) -> bool:
    r"""Tell whether a normalizer step puts a space or the space mark in front of some texts, and does nothing else.

    >>> writes_prefix({"type": "Replace", "pattern": {"Regex": "(?<!\\n)^"}, "content": "\u2581"})
    True
    """
    pairs = list(zip(_WORDS, map(_unmarked, _normalized(json.dumps(step))), strict=True))
    return all(after in (text, f" {text}") for text, after in pairs) and any(text != after for text, after in pairs)


def writes_space_mark(step: Json) -> bool:
    """Tell whether a normalizer step only prepends the space mark or writes it for a space.

    >>> writes_space_mark({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    True
    """
    return writes_prefix(step) or _normalized(json.dumps(step)) == tuple(t.replace(" ", SPACE_MARK) for t in _WORDS)


def strips_ends(step: Json) -> bool:
    """Tell whether a decoder step takes blanks off the ends of a text and nothing out of it."""
    if step["type"] == "ByteFallback":
        return False
    for blank, after in zip((" ", SPACE_MARK), _decoded(json.dumps(step)), strict=True):
        whole = _ENDS[0].replace(" ", blank)
        if after != whole and after in whole and f"x{blank}y" in after:
            return True
    return False


def _unmarked(text: str) -> str:
    return text.replace(SPACE_MARK, " ")
