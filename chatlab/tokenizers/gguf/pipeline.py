"""The pipeline that a GGUF file describes, built from its own fields as llama.cpp reads them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from chatlab.errors import ChatlabWarning
from chatlab.tokenizers.gguf.fields import token_types

Fields = Mapping[str, Any]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_PUNCTUATION, _THREE_DIGITS = r"[\p{P}\$\+<=>\^~\|`]+", "[0-9][0-9][0-9]"
SPLITS = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", _THREE_DIGITS),
    "falcon": (_PUNCTUATION, GPT2, _THREE_DIGITS),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "gigachat", "trillion"), (GPT2,)),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"), (r"\p{N}", GPT2)),
}
"""Patterns of llama.cpp's ``llama-vocab.cpp`` by ``tokenizer.ggml.pre``, one applied after the other."""

WHOLE_WORDS_FIRST = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken")
)
"""Values of ``pre`` under which llama.cpp takes a word that is a piece whole, and adds a BOS, unless told otherwise."""


class GgufWarning(ChatlabWarning):
    """A field of a GGUF file is not heeded, so that llama.cpp may read texts otherwise."""


def build(fields: Fields) -> Tokenizer | None:
    """Return the pipeline of a SentencePiece-like or byte-level vocabulary; ``None`` for one of another kind."""
    builder = {"llama": _spaces_marked, "gpt2": _byte_level}.get(fields["tokenizer.ggml.model"])
    if builder is None:
        return None
    rust = builder(fields)
    for token, kind in zip(fields["tokenizer.ggml.tokens"], token_types(fields), strict=True):
        # llama.cpp cuts the text at these, and what follows one begins anew, with its own dummy prefix.
        if kind in ("control", "unknown"):
            rust.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == "user_defined":
            rust.add_tokens([AddedToken(token, special=False, normalized=False)])
    return rust


def _spaces_marked(fields: Fields) -> Tokenizer:
    from transformers.tokenization_utils_base import generate_merges

    tokens = fields["tokenizer.ggml.tokens"]
    vocab = {token: number for number, token in enumerate(tokens)}
    merges = generate_merges(vocab, dict(zip(tokens, fields["tokenizer.ggml.scores"], strict=True)))
    unknown = tokens[fields.get("tokenizer.ggml.unknown_token_id", 0)]
    rust = Tokenizer(models.BPE(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefixed = fields.get("tokenizer.ggml.add_space_prefix", True)
    marks = [normalizers.Replace(" ", "\u2581")]
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), *marks] if prefixed else marks)
    ends = [decoders.Strip(" ", 1, 0)] if prefixed else []
    rust.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    return rust


def _byte_level(fields: Fields) -> Tokenizer:
    vocab = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in fields.get("tokenizer.ggml.merges", ())]
    pre = fields.get("tokenizer.ggml.pre", "default")
    rust = Tokenizer(models.BPE(vocab, merges, ignore_merges=pre in WHOLE_WORDS_FIRST))
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _splits(pre)]
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    rust.decoder = decoders.ByteLevel()
    return rust


def _splits(pre: str) -> tuple[str, ...]:
    from transformers.integrations.gguf import gguf_tokenizer_mapping

    known = {**{name: (one,) for name, one in gguf_tokenizer_mapping.GGUF_PRE_TOKENIZER_SPLITS.items()}, **SPLITS}
    if pre not in known:
        warnings.warn(
            f"tokenizer.ggml.pre is {pre!r}, whose way of cutting text is not known here: text is cut as GPT-2 does. "
            'load_tokenizer(…, loader="llama.cpp") gives llama.cpp\'s own ids',
            GgufWarning,
            stacklevel=2,
        )
    return known.get(pre, (GPT2,))


def special_names(fields: Fields) -> dict[str, str]:
    """Return the named special tokens, as transformers names them; llama.cpp's own defaults where the file is silent."""
    tokens = fields["tokenizer.ggml.tokens"]
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if fields["tokenizer.ggml.model"] == "llama" else {}
    found = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = fields.get(f"tokenizer.ggml.{key}_token_id", defaults.get(key))
        if number is not None and number < len(tokens):
            found[f"{name}_token"] = tokens[number]
    return found


def added_ends(fields: Fields) -> dict[str, bool]:
    """Return whether BOS and EOS are put around a text: the file's own words, else what llama.cpp does."""
    pre = fields.get("tokenizer.ggml.pre")
    begins = fields["tokenizer.ggml.model"] == "llama" or pre in WHOLE_WORDS_FIRST
    return {
        "add_bos_token": fields.get("tokenizer.ggml.add_bos_token", begins),
        "add_eos_token": fields.get("tokenizer.ggml.add_eos_token", False),
    }


def chat_template(fields: Fields) -> str | dict[str, str] | None:
    """Return the chat template, or all of them by name where the file has several."""
    mark = "tokenizer.chat_template"
    default = fields.get(mark)
    named = {key.removeprefix(f"{mark}."): text for key, text in fields.items() if key.startswith(f"{mark}.")}
    return {**({"default": default} if default else {}), **named} if named else default
