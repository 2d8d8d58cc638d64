"""Named single changes of a ``tokenizer.json``: the counterfactuals that prove a cause, and the faults tests inject.

Each change is a pure function on the parsed JSON. It returns the changed copy, or ``None`` where the tokenizer
has nothing of the kind to change. Format: https://huggingface.co/docs/tokenizers/api/tokenizer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chatlab.tokenizers.pipeline.steps import (
    SPACE_MARK,
    Json,
    edit_steps,
    steps,
    strips_ends,
    with_steps,
    writes_prefix,
    writes_space_mark,
)

Change = Callable[[Json, Any], Json | None]


def unchanged(state: Json, _: Any = None) -> Json:
    """Change nothing: a copy made for no other reason than to see whether copies are true."""
    return {**state}


def prefix_every_segment(state: Json, _: Any = None) -> Json:
    """Change nothing, but write a dummy prefix of the normalizer as the pre-tokenizer has it."""
    return _prefix(state, "always") or unchanged(state)


def prefix_first_only(state: Json, _: Any = None) -> Json | None:
    """Add the dummy prefix to the first segment only, the non-legacy way."""
    return _prefix(state, "first")


def prefix_never(state: Json, _: Any = None) -> Json | None:
    """Add no dummy prefix at all."""
    return _prefix(state, "never")


def _prefix(state: Json, scheme: str) -> Json | None:
    def pre(step: Json) -> list[Json] | None:
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") not in (scheme, "never"):
            return [{**step, "prepend_scheme": scheme}]
        if step["type"] == "ByteLevel" and step.get("add_prefix_space") and scheme != "always":
            return [{**step, "add_prefix_space": False}]
        return None

    changed = edit_steps(state, "pre_tokenizer", pre)
    if any(writes_prefix(step) for step in steps(state.get("normalizer"))):
        # A normalizer knows no "first": a Metaspace that only prepends says the same of one segment.
        changed = edit_steps(changed or state, "normalizer", lambda step: [] if writes_prefix(step) else None)
        assert changed is not None
        if scheme != "never":
            first = {"type": "Metaspace", "replacement": SPACE_MARK, "prepend_scheme": scheme, "split": False}
            changed = with_steps(changed, "pre_tokenizer", [*steps(changed.get("pre_tokenizer")), first])
    return changed


def prefix_always_added(state: Json, _: Any = None) -> Json | None:
    """Add the dummy prefix even to text that begins with a space, so that the space of the text stays one more."""

    def without(step: Json) -> list[Json] | None:
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return [{**step, "prepend_scheme": "never"}]
        if step["type"] == "ByteLevel" and step.get("add_prefix_space"):
            return [{**step, "add_prefix_space": False}]
        return None

    is_byte_level = any(step["type"] == "ByteLevel" for step in steps(state.get("pre_tokenizer")))
    prepend = {"type": "Prepend", "prepend": " " if is_byte_level else SPACE_MARK}
    changed = edit_steps(state, "pre_tokenizer", without)
    if changed is not None:
        return with_steps(changed, "normalizer", [*steps(state.get("normalizer")), prepend])
    return edit_steps(state, "normalizer", lambda s: [prepend] if s["type"] != "Prepend" and writes_prefix(s) else None)


def drop_normalizer_step(state: Json, number: int) -> Json | None:
    """Leave out one step of the normalizer."""
    parts = steps(state.get("normalizer"))
    if not 0 <= number < len(parts):
        return None
    return with_steps(state, "normalizer", parts[:number] + parts[number + 1 :])


def keep_text(state: Json, _: Any = None) -> Json | None:
    """Leave out every normalizer step that changes text, and keep those that only write the space mark."""
    return edit_steps(state, "normalizer", lambda step: None if writes_space_mark(step) else [])


def keep_split_off(state: Json, _: Any = None) -> Json | None:
    """Let the pre-tokenizer hand on everything it splits off."""
    return edit_steps(state, "pre_tokenizer", _dropping_nothing)


def _dropping_nothing(step: Json) -> list[Json] | None:
    if step["type"] in _DROPPED_BY:
        return [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in _DROPPED_BY[step["type"]]
        ]
    if step["type"] == "CharDelimiterSplit":
        pattern = {"String": step["delimiter"]}
        return [{"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}]
    return [{**step, "behavior": "Isolated"}] if step.get("behavior") == "Removed" else None


_DROPPED_BY = {
    "WhitespaceSplit": (r"\s",),
    "Whitespace": (r"\w+|[^\w\s]+",),
    "BertPreTokenizer": (r"\s", r"[!-/:-@\[-`{-~]|\p{P}"),
}
"""What those pre-tokenizers split at that leave white space out, written as splits that keep it."""


def decoder_keeps_ends(state: Json, _: Any = None) -> Json | None:
    """Let the decoder strip nothing from the ends of the text."""

    def edit(step: Json) -> list[Json] | None:
        if step["type"] != "Metaspace" and strips_ends(step):
            return []
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return [{**step, "prepend_scheme": "never"}]
        return None

    return edit_steps(state, "decoder", edit)


def add_byte_fallback_decoder(state: Json, _: Any = None) -> Json | None:
    """Let the decoder join byte pieces (``<0xE3>``) into characters."""
    parts = steps(state.get("decoder"))
    if any(step["type"] == "ByteFallback" for step in parts):
        return None
    return with_steps(state, "decoder", [{"type": "ByteFallback"}, *(parts or [{"type": "Fuse"}])])


def join_without_spaces(state: Json, _: Any = None) -> Json | None:
    """Join pieces with nothing between them, where a missing decoder would put spaces."""
    return None if state.get("decoder") else with_steps(state, "decoder", [{"type": "Fuse"}])


def decoder_of_its_model(state: Json, _: Any = None) -> Json | None:
    """Decode as the pieces are spelled: bytes, space marks, or suffixes of words."""
    decoder = _fitting_decoder(state)
    return None if steps(state.get("decoder")) == decoder else with_steps(state, "decoder", decoder)


_BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def _fitting_decoder(state: Json) -> list[Json]:
    model, pre = state["model"], steps(state.get("pre_tokenizer"))
    suffix = model.get("end_of_word_suffix")
    word_ends = [
        {"type": "Replace", "pattern": {"String": suffix}, "content": " "},
        {"type": "Replace", "pattern": {"Regex": " $"}, "content": ""},
    ]
    if any(step["type"] == "ByteLevel" for step in pre):
        return [_BYTE_LEVEL, *(word_ends if suffix else [])]
    if suffix:
        return [{"type": "Fuse"}, *word_ends]
    if model["type"] == "WordPiece":
        return [{"type": "WordPiece", "prefix": model["continuing_subword_prefix"], "cleanup": False}]
    space = {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}
    return [space, {"type": "ByteFallback"}, {"type": "Fuse"}]


def without_added_token(state: Json, content: str) -> Json | None:
    """Leave one text out of the added tokens, so that the model spells it."""
    tokens = state.get("added_tokens", [])
    if all(token["content"] != content for token in tokens):
        return None
    # Its id stays taken, by a text that nobody writes: a post-processor names the others by their ids.
    unmet = {"content": f"\U0010fffd{content}"}
    return {**state, "added_tokens": [{**t, **unmet} if t["content"] == content else t for t in tokens]}


def wordpiece_cleanup_off(state: Json, _: Any = None) -> Json | None:
    """Switch off the clean-up inside a WordPiece or CTC decoder."""
    return edit_steps(state, "decoder", lambda step: [{**step, "cleanup": False}] if step.get("cleanup") else None)


def added_token_flags(state: Json, flags: dict[str, Any]) -> Json | None:
    """Set flags on added tokens.

    ``{"content": "</s>", "lstrip": False}`` is one token; without ``content`` it is all of them.
    """
    content, new = flags.get("content"), {k: v for k, v in flags.items() if k != "content"}

    def wanted(token: Json) -> bool:
        return (content is None or token["content"] == content) and any(token[k] != v for k, v in new.items())

    tokens = state.get("added_tokens", [])
    if not any(wanted(token) for token in tokens):
        return None
    return {**state, "added_tokens": [{**token, **new} if wanted(token) else token for token in tokens]}


def know_the_unknown(state: Json, texts: Sequence[str]) -> Json | None:
    """Give the vocabulary a plain added token for each text it lacks."""
    known = {token["content"] for token in state.get("added_tokens", [])}
    first = 1 + max((i for i in _ids(state)), default=-1)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    new = [t for t in dict.fromkeys(texts) if t and t not in known]
    if not new:
        return None
    tokens = [{"id": first + n, "content": text, **flags} for n, text in enumerate(new)]
    return {**state, "added_tokens": [*state.get("added_tokens", []), *tokens]}


def _ids(state: Json) -> Iterator[int]:
    yield from (token["id"] for token in state.get("added_tokens", []))
    vocab = state["model"]["vocab"]
    yield from (vocab.values() if isinstance(vocab, dict) else range(len(vocab)))


def no_truncation(state: Json, _: Any = None) -> Json | None:
    """Encode the whole text."""
    return {**state, "truncation": None} if state.get("truncation") else None


def no_padding(state: Json, _: Any = None) -> Json | None:
    """Add no padding ids."""
    return {**state, "padding": None} if state.get("padding") else None


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        unchanged,
        prefix_every_segment,
        prefix_first_only,
        prefix_never,
        prefix_always_added,
        drop_normalizer_step,
        decoder_keeps_ends,
        keep_text,
        keep_split_off,
        add_byte_fallback_decoder,
        join_without_spaces,
        decoder_of_its_model,
        without_added_token,
        wordpiece_cleanup_off,
        added_token_flags,
        know_the_unknown,
        no_truncation,
        no_padding,
    )
}
"""Every change by its name; ``Tokenizer.change(name, argument)`` applies one."""

_CONTROLS: Mapping[str, str | None] = {
    "prefix_first_only": prefix_every_segment.__name__,
    # These are switches of the call: no copy is made.
    "clean_up_off": None,
    "no_spaces_between_specials": None,
}


def control_of(name: str) -> str | None:
    """Return the change that makes the same copy and changes nothing; ``None`` where no copy is made."""
    return _CONTROLS.get(name, unchanged.__name__)
