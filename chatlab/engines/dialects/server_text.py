"""What a server that reads text is sent: the prompt's own text, without what the server puts there by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from chatlab.errors import ChatlabWarning, RemoteLacks, TokenIdError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.control_tokens.encode import ControlTokenWarning, encode_prompt
from chatlab.prompts.control_tokens.reading import CONTROL_SPELLING
from chatlab.prompts.control_tokens.spans import span_prompt
from chatlab.tokenizers.interface import Tokenizer


class ServerTextWarning(ControlTokenWarning):
    """A message spelled a control token, and it goes to a server as text, so the server may take it for one."""


class RereadWarning(ChatlabWarning):
    """A server reads other token ids in a prompt's text than those it was encoded as here."""


def text_of_prompt(
    prompt: AbstractChatPrompt | Sequence[Mapping[str, Any]] | str | Sequence[int],
    tokenizer: Tokenizer,
    *,
    allow_control_tokens: bool = False,
) -> str | None:
    """The text of a prompt as its class or its author wrote it; ``None`` for token ids, which have none.

    Warns:
        ServerTextWarning: a message spells a control token. Law L8 ends where a server makes ids of text.
    """
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, AbstractChatPrompt):
        return None
    if not allow_control_tokens:
        for piece, whose in dict.fromkeys(_forged(prompt, tokenizer)):
            warnings.warn(
                f"{whose}: the control token {piece!r} is spelled there, and goes to the server as text, which may take "
                "it for the token: use a server that takes token ids, or leave it out of the message",
                ServerTextWarning,
                stacklevel=2,
            )
    return prompt.create_prompt() or ""


def _forged(prompt: AbstractChatPrompt, tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """Each control token in a message, and whose message; without a vocabulary, what is spelled like one."""
    if tokenizer.special_strs:
        for token in encode_prompt(tokenizer, prompt, warn=False).forged:
            yield token.piece, token.whose
        return
    spanned = span_prompt(prompt)
    for span in spanned.spans or ():
        for found in CONTROL_SPELLING.finditer(spanned.text[span.start : span.end]):
            yield found.group(), span.whose


def server_text(text: str | None, token_ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """The text that a server reads as ``token_ids``, when it reads with ``tokenizer`` and its special tokens.

    That is ``text``, or ``text`` without the BOS that leads it where the server adds its own. Without ``text`` it is
    what the ids decode to.

    Raises:
        RemoteLacks: there is no ``text``, and what the ids decode to is read as other ids.

    Warns:
        RereadWarning: the server reads other ids in ``text``, such as one more blank after its BOS.
    """
    first = tokenizer.encode("a", add_special_tokens=True)[:1]
    bos = next((spelled for spelled, token_id in tokenizer.special_strs.items() if [token_id] == first), "")
    given = tokenizer.decode(token_ids, skip_special_tokens=False) if text is None else text
    bare = given.removeprefix(bos)
    forms = [given, bare] if text is not None else [given, bare, bare.removeprefix(" ")]
    readings = {form: tokenizer.encode(form, add_special_tokens=True) for form in forms}
    for form, reading in readings.items():
        if reading == list(token_ids):
            return form
    if text is None:
        raise RemoteLacks(
            f"the server takes the prompt as text only, and reads other ids in {given!r:.80} than the {len(token_ids)} "
            "given: give the prompt as text or as a prompt class, or use a server that takes token ids"
        )
    # Where a message spells a control token, the ids here are not those of the text, and that was said already.
    if list(token_ids) in (tokenizer.encode(text), readings[text]):
        _warn_of_rereading(readings[bare], list(token_ids), tokenizer)
    return bare


def _warn_of_rereading(reading: list[int], token_ids: list[int], tokenizer: Tokenizer) -> None:
    pairs = enumerate(zip_longest(reading, token_ids))
    number, pair = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    theirs, ours = ["nothing" if i is None else _named(i, tokenizer) for i in pair]
    warnings.warn(
        f"the server has its own reading of the prompt, and reads {theirs} in it where {ours} was encoded here (token "
        f"{number}): use a server that takes token ids, or the tokenizer that it has",
        RereadWarning,
        stacklevel=4,
    )


def _named(token_id: int, tokenizer: Tokenizer) -> str:
    try:
        return repr(tokenizer.piece(token_id))
    except TokenIdError:  # an id of the server's that this tokenizer does not have
        return f"id {token_id}"


def warn_of_other_reading(
    prompt_ids: Sequence[int] | None, prompt_len: int | None, sent: Sequence[int] | str, tokenizer: Tokenizer
) -> None:
    """Hold what a server says of a prompt against what was sent: its ids where it tells them, else its count.

    Warns:
        RereadWarning: it read another prompt than this tokenizer reads in what was sent.
    """
    ours = tokenizer.encode(sent, add_special_tokens=True) if isinstance(sent, str) else list(sent)
    if prompt_ids is not None and list(prompt_ids) != ours:
        _warn_of_rereading(list(prompt_ids), ours, tokenizer)
    elif prompt_ids is None and prompt_len is not None and prompt_len != len(ours):
        warnings.warn(
            f"the server counts {prompt_len} tokens in the prompt where this tokenizer reads {len(ours)}: it has another "
            "tokenizer, or puts tokens of its own there",
            RereadWarning,
            stacklevel=3,
        )


def text_of_stop(token_id: int, tokenizer: Tokenizer) -> str:
    """The text that a token adds to a reply, so that a server can look for it.

    Raises:
        RemoteLacks: it adds none, or a part of a character.
    """
    for spelled, special_id in tokenizer.special_strs.items():
        if special_id == token_id:
            return spelled
    before = tokenizer.encode("a")
    alone = tokenizer.decode(before, skip_special_tokens=False)
    text = tokenizer.decode([*before, token_id], skip_special_tokens=False)
    added = text.removeprefix(alone)
    if not added or added == text or "\ufffd" in added:
        raise RemoteLacks(
            f"the server takes stops as text only, and token id {token_id} ({tokenizer.piece(token_id)!r}) is no text of "
            "its own: leave it out of stop_ids, or give a stop string"
        )
    return added
