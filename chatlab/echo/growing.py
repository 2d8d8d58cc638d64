"""The prompts of one dialogue share their beginning: encode each part once, where that gives the very same ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.interface import Tokenizer


class GrowingPrompts:
    """Encode texts that share parts, in one batch call over the parts.

    **Law.** ``encode_batch(texts)`` is the tokenizer's own ``encode_batch(texts)``.

    A Rust tokenizer takes the added tokens out of a text first and reads what stands between them piece by piece, so a
    text may be cut in front of an added token that looks at no neighbour (no ``lstrip`` or ``normalized``), begins with
    no blank that the token before it may take (``rstrip``), and is contained or run into by no other; and nowhere, where
    some token looks whether a letter follows (``single_word``). What a piece gets because it comes first, such
    as a dummy prefix, it gets of its place in the text: every part but the first begins with its token. Other
    tokenizers, and a model that draws (BPE dropout), are asked the plain way.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokens = _cut_points(tokenizer) if isinstance(tokenizer, FastTokenizer) else []
        longest_first = sorted(tokens, key=len, reverse=True)
        self._before = re.compile(f"(?={'|'.join(map(re.escape, longest_first))})") if tokens else None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        if self._before is None:
            return self._tokenizer.encode_batch(texts)
        split = self._before.split
        parts = [split(text) for text in texts]
        unique = list(dict.fromkeys(chain.from_iterable(parts)))
        ids = dict(zip(unique, self._tokenizer.encode_batch(unique), strict=True))
        return [list(chain.from_iterable(map(ids.__getitem__, own))) for own in parts]


def _cut_points(tokenizer: FastTokenizer) -> list[str]:
    """Return the added tokens before which a text may be cut."""
    rust = tokenizer.rust
    added = list(rust.get_added_tokens_decoder().values())
    draws = bool(getattr(rust.model, "dropout", None))
    if draws or rust.encode_special_tokens or any(token.single_word for token in added):
        return []
    texts = [token.content for token in added]
    return [
        token.content
        for token in added
        if token.content[:1].strip()
        and not (token.lstrip or token.normalized)
        and not any(_runs_into(other, token.content) for other in texts)
    ]


def _runs_into(other: str, text: str) -> bool:
    """Whether a match of ``other`` can reach over the place where ``text`` begins.

    >>> _runs_into("a<s", "<s>"), _runs_into("x<s>", "<s>"), _runs_into("<s>x", "<s>"), _runs_into("</s>", "<s>")
    (True, True, False, False)
    """
    return any(other[start:].startswith(text) or text.startswith(other[start:]) for start in range(1, len(other)))
