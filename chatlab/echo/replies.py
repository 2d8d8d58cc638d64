"""Output ids for an experiment: a reply from the data set as a model would have written it, or a model's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal, Protocol

from chatlab.tokenizers.interface import Tokenizer

ReplyStart = Literal["word", "space", "bare"]
"""How a reply from a data set begins: ``word`` puts a space before a first word of a script that writes spaces, as
Llama-2 does; ``space`` puts one before every reply; ``bare`` takes the text as it is."""

_ANCHORS = ("\n", "a", ":", "\u3002", "]")
_SPACED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "HANGUL")


class Replier(Protocol):
    """Whatever answers prompt ids with output ids, such as :class:`chatlab.echo.generate.ModelReplies`."""

    def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
        """Return the ids of the answer, without the prompt's."""
        ...


class Continuations:
    """Encode replies as the continuation of a text, and say what their ids truly mean.

    Encoded alone, a reply gets a dummy prefix that no model wrote. Encoded after an anchor, whose ids are then
    taken off, it gets the ids of a continuation. The same anchor, decoded with the ids, gives their true text: a
    measure that neither looks at the prompt nor uses the detokenizer under test.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._anchor_ids = {anchor: tokenizer.encode(anchor) for anchor in _ANCHORS}
        plain = [a for a, ids in self._anchor_ids.items() if ids and tokenizer.decode(ids).endswith(a)]
        self._anchor = plain[0] if plain else ""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text the ids of a model that goes on with it."""
        anchor_ids = self._anchor_ids.get(self._anchor, [])
        batch = self._tokenizer.encode_batch([self._anchor + text for text in texts])
        return [
            token_ids[len(anchor_ids) :] if token_ids[: len(anchor_ids)] == anchor_ids else self._encode_one(text)
            for text, token_ids in zip(texts, batch, strict=True)
        ]

    def decode(self, outputs: Sequence[Sequence[int]]) -> list[str]:
        """Return the true text of each list of output ids."""
        anchor_ids = self._anchor_ids.get(self._anchor, [])
        prefix_len = len(self._tokenizer.decode(anchor_ids)) if anchor_ids else 0
        texts = self._tokenizer.decode_own_batch([[*anchor_ids, *output] for output in outputs])
        return [text[prefix_len:] for text in texts]

    def _encode_one(self, text: str) -> list[int]:
        """Try other anchors where the first one grew together with the text."""
        for anchor, anchor_ids in self._anchor_ids.items():
            token_ids = self._tokenizer.encode(anchor + text)
            if anchor_ids and token_ids[: len(anchor_ids)] == anchor_ids:
                return token_ids[len(anchor_ids) :]
        return self._tokenizer.encode(text)


def begin(reply: str, start: ReplyStart) -> str:
    """Return the reply with the space its first word would carry.

    >>> begin("Yes.", "word"), begin("はい。", "word"), begin("はい。", "space")
    (' Yes.', 'はい。', ' はい。')
    """
    if start == "space" or (start == "word" and reply[:1].isalpha() and _is_spaced(reply[0])):
        return f" {reply}"
    return reply


def _is_spaced(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_SPACED_SCRIPTS)


def carries_space(piece: str) -> bool:
    """Tell whether a piece begins with a space, as SentencePiece and byte-level BPE spell it."""
    return piece.startswith(("\u2581", "\u0120", " "))
