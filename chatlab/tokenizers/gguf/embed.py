"""A vocabulary over one layer of zeros: the smallest model that llama.cpp loads, to ask it about its tokenizer."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from chatlab.tokenizers.gguf.fields import STRING, entries, tells_of_tokenizer

WIDTH, ALIGNMENT, F16 = 32, 32, 1
"""Numbers a token, bytes to which tensors are aligned, and ggml's name for half precision."""


def embed_vocabulary(source: Path, target: Path, changed: Mapping[str, bytes]) -> None:
    """Write a model to ``target`` whose tokenizer is that of ``source``, field by field as it stands there.

    Args:
        source: any GGUF file, of a vocabulary alone or of a model too big to load for a question.
        target: the file to write; its zeros take no room where the file system knows holes.
        changed: fields written otherwise, by name, as :func:`field` makes them.

    Raises:
        ValueError: it is no GGUF file.
    """
    kept, vocab_len = {}, 0
    for key, value, data in entries(source):
        if tells_of_tokenizer(key) and key != "general.architecture":
            kept[key] = data
        if key == "tokenizer.ggml.tokens":
            vocab_len = len(value)
    fields = [*{**kept, **changed}.values(), *_shape(vocab_len)]
    tensors, size = _tensors(vocab_len)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join([*fields, *tensors])
    with target.open("wb") as file:
        file.write(head)
        file.truncate(-len(head) % ALIGNMENT + len(head) + size)


def field(key: str, value: bool | int | float | str) -> bytes:
    """Return one metadata field as bytes."""
    if isinstance(value, str):
        return _string(key) + struct.pack("<I", STRING) + _string(value)
    kind, letter = (7, "?") if isinstance(value, bool) else (4, "I") if isinstance(value, int) else (6, "f")
    return _string(key) + struct.pack(f"<I{letter}", kind, value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _shape(vocab_len: int) -> list[bytes]:
    sizes = {
        **dict.fromkeys(("embedding_length", "feed_forward_length", "rope.dimension_count"), WIDTH),
        **dict.fromkeys(("block_count", "attention.head_count", "attention.head_count_kv"), 1),
        "context_length": 64,
        "vocab_size": vocab_len,
    }
    return [
        field("general.architecture", "llama"),
        field("llama.attention.layer_norm_rms_epsilon", 1e-5),
        *(field(f"llama.{key}", value) for key, value in sizes.items()),
    ]


def _tensors(vocab_len: int) -> tuple[list[bytes], int]:
    """Return the table of tensors, and the bytes that all of them take."""
    shapes = {
        "token_embd": (WIDTH, vocab_len),
        "output_norm": (WIDTH,),
        **{f"blk.0.{name}_norm": (WIDTH,) for name in ("attn", "ffn")},
        **{f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (WIDTH, WIDTH) for name in ("gate", "up", "down")},
    }
    table, offset = [], 0
    for name, shape in shapes.items():
        kind = F16 if len(shape) == 2 else 0  # norms are kept in full precision
        table.append(_string(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        size = count * (2 if kind == F16 else 4)
        offset += size + -size % ALIGNMENT
    return table, offset
