"""The fourteen kinds of change, and which kind a changed value in a file is."""

from __future__ import annotations

from enum import StrEnum


class ChangeKind(StrEnum):
    """What was changed, in the order of the taxonomy that grew out of 32 public incidents."""

    VOCABULARY = "vocabulary"
    MODEL = "model"
    NORMALIZER = "normalizer"
    PRE_TOKENIZER = "pre-tokenizer"
    ADDED_TOKENS = "added tokens"
    POST_PROCESSOR = "post-processor"
    DECODER = "decoder"
    CHAT_TEMPLATE = "chat template"
    SPECIALS = "special and stop tokens"
    LIMITS = "length and padding"
    CLASS = "tokenizer class"
    LIBRARY = "library"
    LAYOUT = "file layout"
    REMOTE_CODE = "remote code"

    @property
    def number(self) -> int:
        """Place in the taxonomy, from 1."""
        return list(ChangeKind).index(self) + 1


K = ChangeKind

TOKENIZER_JSON = {
    "truncation": K.LIMITS,
    "padding": K.LIMITS,
    "added_tokens": K.ADDED_TOKENS,
    "normalizer": K.NORMALIZER,
    "pre_tokenizer": K.PRE_TOKENIZER,
    "post_processor": K.POST_PROCESSOR,
    "decoder": K.DECODER,
}

SPECIAL_KEYS = dict.fromkeys(
    (
        *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
        *("additional_special_tokens", "extra_special_tokens", "eos_token_id", "bos_token_id", "pad_token_id"),
        *("stop_strings", "decoder_start_token_id", "forced_eos_token_id", "forced_bos_token_id"),
    ),
    K.SPECIALS,
)

CONFIG_KEYS = {
    **SPECIAL_KEYS,
    "added_tokens_decoder": K.ADDED_TOKENS,
    "split_special_tokens": K.ADDED_TOKENS,
    "add_bos_token": K.POST_PROCESSOR,
    "add_eos_token": K.POST_PROCESSOR,
    "clean_up_tokenization_spaces": K.DECODER,
    "spaces_between_special_tokens": K.DECODER,
    "chat_template": K.CHAT_TEMPLATE,
    "model_max_length": K.LIMITS,
    "max_length": K.LIMITS,
    "padding_side": K.LIMITS,
    "truncation_side": K.LIMITS,
    "max_position_embeddings": K.LIMITS,
    "tokenizer_class": K.CLASS,
    "model_type": K.CLASS,
    "architectures": K.CLASS,
    "auto_map": K.REMOTE_CODE,
    "add_prefix_space": K.PRE_TOKENIZER,
    "legacy": K.PRE_TOKENIZER,
    "fix_mistral_regex": K.PRE_TOKENIZER,
    "do_lower_case": K.NORMALIZER,
    "strip_accents": K.NORMALIZER,
    "tokenize_chinese_chars": K.NORMALIZER,
    "sp_model_kwargs": K.MODEL,
    "vocab_size": K.VOCABULARY,
    "backend": K.CLASS,
}

SENTENCEPIECE = {"kinds": K.ADDED_TOKENS, "specials": K.SPECIALS, "trainer": K.MODEL, "normalizer": K.NORMALIZER}

GGUF = {
    "tokens": K.VOCABULARY,
    "vocab": K.VOCABULARY,
    "merges": K.MODEL,
    "scores": K.MODEL,
    "model": K.MODEL,
    "token_type": K.ADDED_TOKENS,
    "kinds": K.ADDED_TOKENS,
    "pre": K.PRE_TOKENIZER,
    "add_space_prefix": K.PRE_TOKENIZER,
    "remove_extra_whitespaces": K.NORMALIZER,
    "precompiled_charsmap": K.NORMALIZER,
    "add_bos_token": K.POST_PROCESSOR,
    "add_eos_token": K.POST_PROCESSOR,
    "add_sep_token": K.POST_PROCESSOR,
}
"""Fields of a GGUF file, without their prefix ``tokenizer.ggml.``."""


def kind_of(file: str, path: tuple[str, ...]) -> ChangeKind | None:
    """Return the kind of a change at ``path`` inside ``file``, or ``None`` where no tokenizer reads that value.

    >>> kind_of("tokenizer.json", ("added_tokens", "<|end|>", "rstrip"))
    <ChangeKind.ADDED_TOKENS: 'added tokens'>
    >>> kind_of("config.json", ("hidden_size",)) is None
    True
    """
    # Of the model's own config only the keys above touch a tokenizer; the rest (layers, dropout …) is not told.
    top = path[0] if path else ""
    if file.endswith(".gguf"):
        return _kind_of_field(path)
    if file.endswith(".py"):
        return K.REMOTE_CODE
    if file.startswith(("chat_template", "additional_chat_templates/")):
        return K.CHAT_TEMPLATE
    if file == "tokenizer.json":
        if top == "model" and path[1:] == ("merges_format",):
            return K.LAYOUT
        if top == "model":
            return K.VOCABULARY if path[1:2] == ("vocab",) else K.MODEL
        return TOKENIZER_JSON.get(top, K.LAYOUT)
    if file in ("config.json", "generation_config.json"):
        return K.LAYOUT if top in ("", "unreadable") else CONFIG_KEYS.get(top)
    if file == "special_tokens_map.json":
        return K.SPECIALS if len(path) < 2 or path[1] == "content" else K.ADDED_TOKENS
    if file == "added_tokens.json":
        return K.ADDED_TOKENS
    if file.endswith(".model"):
        return K.VOCABULARY if path[:2] == ("model", "vocab") else SENTENCEPIECE.get(top, K.MODEL)
    if file in ("vocab.json", "vocab.txt", "tekken.json") or file.endswith(".tiktoken"):
        return K.VOCABULARY
    if file == "merges.txt":
        return K.MODEL
    return CONFIG_KEYS.get(top, K.LAYOUT)


def _kind_of_field(path: tuple[str, ...]) -> ChangeKind:
    """Return the kind of a field of a GGUF file, wherever a record keeps it."""
    for name in (key.removeprefix("tokenizer.ggml.").removeprefix("tokenizer.") for key in path):
        if name.startswith("chat_template"):
            return K.CHAT_TEMPLATE
        if name.endswith("_token_id"):
            return K.SPECIALS
        if name in GGUF:
            return GGUF[name]
    return K.MODEL if path else K.LAYOUT
