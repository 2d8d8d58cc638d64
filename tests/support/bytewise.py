"""Small tekken.json and tiktoken files, written by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from chatlab.tokenizers.bytewise.tiktoken_file import LLAMA_3

WORDS = ("th", "the", " the", "ll", "\u65e5", "\u00e9", "  ", "\n\n", "33", "333")
PATTERN = LLAMA_3.pattern


def ranks() -> dict[bytes, int]:
    """All bytes, then the parts that merges of a few words need, each after the parts it is made of."""
    found = {bytes([byte]): byte for byte in range(256)}
    for word in WORDS:
        data = word.encode()
        for end in range(2, len(data) + 1):
            found.setdefault(data[:end], len(found))
    return found


def write_tiktoken(file: Path) -> Path:
    file.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks().items()))
    return file


def write_tekken(file: Path) -> Path:
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks().items()
    ]
    document = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(vocab),
            "default_vocab_size": len(vocab) + 8,
            "default_num_special_tokens": 8,
            "version": "v7",
        },
        "vocab": vocab,
        "special_tokens": [{"rank": n, "token_str": text, "is_control": True} for n, text in enumerate(specials)],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file
