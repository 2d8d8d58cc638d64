"""What a reply is held against: nothing that was not asked for is taken in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chatlab.errors import ChatlabError

_LOST = "\ufffd"
MAX_TOKEN_CHARS = 512
"""No vocabulary has a longer piece of text; many have blanks of 128."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request asked for, as far as its answer can be checked by it."""

    max_new_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()
    stops: tuple[str, ...] = ()
    """Texts that stand for ``stop_ids`` on a server that reads text."""
    prompt_ids: tuple[int, ...] = ()
    tokenizer: Any = None
    """The model's tokenizer, where there is one: it tells whether text and ids of a reply agree."""

    def too_much(self, text: str, piece_len: int) -> bool:
        """Whether a text that came in ``piece_len`` pieces must be longer than the tokens asked for.

        A piece is a token at least on every server that was met; a proxy that cuts finer is believed where the
        tokenizer counts no more tokens than were asked for.
        """
        if self.max_new_tokens is None:
            return False
        if len(text) > (self.max_new_tokens + 1) * MAX_TOKEN_CHARS:
            return True
        if piece_len <= self.max_new_tokens + 1:
            return False
        return self.tokenizer is None or len(self.tokenizer.encode(text)) > self.max_new_tokens + 1


def agree(text: str, token_ids: Sequence[int], asked: Asked) -> bool:
    """Tell whether a server's text is one that the ids can be read as.

    Servers differ in blanks, in special tokens, in whether the stop is written, and leave out unfinished characters;
    no more than that is forgiven.
    """
    tokenizer = asked.tokenizer
    wanted = [_bare(part, tokenizer) for part in re.split(f"{_LOST}+", text)]
    try:
        return any(_fits(wanted, _bare(reading, tokenizer)) for reading in _readings(token_ids, asked))
    except ChatlabError:
        return True  # ids that this tokenizer cannot read: nothing is known


def _readings(token_ids: Sequence[int], asked: Asked) -> Iterator[str]:
    """What the ids say, alone and behind the prompt; where they end in a stop, without it, too."""
    decode, prompt_ids = asked.tokenizer.decode, list(asked.prompt_ids)
    forms = [list(token_ids)]
    if token_ids and token_ids[-1] in asked.stop_ids:
        forms.append(list(token_ids[:-1]))
    for ids in forms:
        yield decode(ids, skip_special_tokens=False)
    prompt = decode(prompt_ids, skip_special_tokens=False).rstrip(_LOST)
    for ids in forms:
        yield decode([*prompt_ids, *ids], skip_special_tokens=False)[len(prompt) :]


def _bare(text: str, tokenizer: Any) -> str:
    for special in tokenizer.special_strs:
        text = text.replace(special, "") if special else text
    return "".join(text.split()).replace(_LOST, "")


def _fits(parts: list[str], text: str) -> bool:
    """Whether ``text`` is the parts in order, with anything between them."""
    first, *middle = parts
    if not middle:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    for part in middle[:-1]:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(text) - at >= len(middle[-1]) and text.endswith(middle[-1])
