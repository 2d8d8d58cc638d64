"""A GGUF file as a tokenizer of transformers, for the chat templates, over the pipeline that the file describes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from chatlab.tokenizers.gguf.fields import tokenizer_fields
from chatlab.tokenizers.gguf.pipeline import GgufWarning, added_ends, build, chat_template, special_names


def load_gguf(path: Path) -> Any:
    """Return the AutoTokenizer-like object of a GGUF file.

    Raises:
        ValueError: it is no GGUF file, or holds no vocabulary, or one of a kind that transformers does not read.
    """
    from transformers import PreTrainedTokenizerFast

    fields = tokenizer_fields(path)
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.tokens"):
        if key not in fields:
            raise ValueError(f"it has no {key}: a GGUF file without a vocabulary")
    rust = build(fields)
    if rust is not None:
        return PreTrainedTokenizerFast(
            tokenizer_object=rust,
            chat_template=chat_template(fields),
            clean_up_tokenization_spaces=False,
            **special_names(fields),
            **added_ends(fields),
        )
    kind = fields["tokenizer.ggml.model"]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        str(path.parent), gguf_file=path.name, local_files_only=True, trust_remote_code=False
    )
    warnings.warn(
        f"a vocabulary of kind {kind!r} is read by transformers, which does not heed "
        f"{', '.join(key for key in fields if key not in _READ_BY_TRANSFORMERS)}: "
        'load_tokenizer(…, loader="llama.cpp") gives llama.cpp\'s own ids',
        GgufWarning,
        stacklevel=2,
    )
    return tokenizer


_READ_BY_TRANSFORMERS = {
    "general.architecture",
    "general.name",
    "tokenizer.chat_template",
    *(f"tokenizer.ggml.{name}" for name in ("model", "tokens", "scores", "token_type", "merges")),
    *(f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "unknown", "padding")),
    *(f"tokenizer.ggml.add_{name}_token" for name in ("bos", "eos")),
}
