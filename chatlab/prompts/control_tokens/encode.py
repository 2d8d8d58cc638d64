"""Token ids of a prompt in which no message can speak as the format does.

**Law L8.** Text of a user, a system text, a tool or a model never yields a control-token id. A prompt whose
messages spell no control token keeps exactly the ids that its tokenizer gives.

A chat prompt is one string, so ``</s><s>[INST]`` typed by a user becomes the same ids as the format's own.
Here the spans of the messages are found first (``chatlab.prompts.control_tokens.spans``). When a control token touches one,
the text is cut at the control tokens of the format alone, and each stretch between them is encoded as plain text.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatlab.errors import ChatlabWarning, ControlTokenError, PromptError
from chatlab.plain import Plain
from chatlab.prompts.base import AbstractChatPrompt, may_be_sorted, prompt_text
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.control_tokens.reading import EncodedText, Reader, Token
from chatlab.prompts.control_tokens.spans import MessageSpan, SpannedPrompt, span_prompt

_FILLER = "x"


class ControlTokenWarning(ChatlabWarning):
    """A message spelled a control token; it was encoded as plain text."""


@dataclass(frozen=True, kw_only=True)
class ForgedToken:
    """A control token that a message spelled, at ``offset`` (code points) of the prompt."""

    token_id: int
    piece: str
    whose: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt(Plain):
    """A prompt, its token ids, and the control tokens that messages spelled and did not get."""

    text: str
    token_ids: list[int]
    forged: tuple[ForgedToken, ...] = ()


def encode_prompt(
    tokenizer: Any,
    prompt: AbstractChatPrompt,
    opts: Mapping[str, Any] | None = None,
    *,
    add_special_tokens: bool | None = None,
    allow_control_tokens: bool = False,
    warn: bool = True,
) -> EncodedPrompt:
    """Encode a prompt so that its messages yield no control-token id (law L8).

    Control tokens are the tokenizer's special tokens, added tokens spelled like one (``<|…|>``, ``</s>``, ``[INST]``),
    the added tokens that the format itself writes, and those its class or template names.

    Args:
        tokenizer: an AutoTokenizer, fast or slow, a raw ``tokenizers.Tokenizer``, or one of ``load_tokenizer``.
        prompt: the dialogue.
        opts: handed to ``create_prompt``.
        add_special_tokens: what the tokenizer is called with; None asks the prompt class, and where that does not
            say, adds them unless the text begins with what they would put there.
        allow_control_tokens: encode the text as it is, for messages that are all trusted.
        warn: warn of control tokens that messages spell; the result names them in any case.

    Raises:
        ControlTokenError: a message spells a control token and cannot be told from the format.
        EncodeError: the text holds a lone surrogate.
        PromptError: ``prompt`` is no object of a prompt class.

    Warns:
        ControlTokenWarning: a message spelled a control token; it names the token and the message.
    """
    if isinstance(prompt, type) or not hasattr(prompt, "with_texts"):
        name = f"the class {prompt.__name__} itself" if isinstance(prompt, type) else type(prompt).__name__
        raise PromptError(f"encode_prompt(tokenizer, prompt) takes an object of a prompt class, not {name}")
    spanned = span_prompt(prompt, opts)
    reader = reader_of(tokenizer)
    add = prompt.add_special_tokens if add_special_tokens is None else add_special_tokens
    if add is None:
        before = reader.frame[0]
        add = not (before and spanned.text.startswith(reader.added.get(before[0], "\0")))
    if allow_control_tokens:
        return EncodedPrompt(text=spanned.text, token_ids=reader.encode(spanned.text, add))
    encoded_text = reader.read(spanned.text, add)
    bare = EncodedPrompt(text=spanned.text, token_ids=encoded_text.token_ids)
    if spanned.unmarked and not _are_innocent(spanned.unmarked, reader, encoded_text):
        _refuse_unlike_neutral(reader, prompt, opts, (spanned, encoded_text), add)
    if spanned.spans is None:
        return bare
    if not any(_in_spans(encoded_text.added, spanned.spans)):
        return bare
    encoded = _encode_guarded(reader, spanned, prompt.writes_token, encoded_text, add)
    for token in {token.piece: token for token in reversed(encoded.forged)}.values() if warn else ():
        text = f"{token.whose}: the control token {token.piece!r} (id {token.token_id}) is spelled there"
        warnings.warn(f"{text}, and is encoded as plain text", ControlTokenWarning, stacklevel=2)
    return encoded


def _encode_guarded(
    reader: Reader, spanned: SpannedPrompt, is_written: Callable[[str], bool], encoded_text: EncodedText, add: bool
) -> EncodedPrompt:
    """Encode a text in whose messages an added token was found."""
    masked = spanned.masked(_FILLER)
    own = [token for token in reader.read(masked).added if not _is_unknown(reader, token, masked)]
    control = reader.special.union(token.token_id for token in own)
    control |= {i for i, content in reader.added.items() if is_written(content)}
    forged = tuple(_forged(reader, spanned, encoded_text.added, control))
    if not forged:
        return EncodedPrompt(text=spanned.text, token_ids=encoded_text.token_ids)
    before, after = reader.frame if add else ([], [])
    token_ids = [*before, *_stretches(reader, spanned.text, own, control), *after]
    return EncodedPrompt(text=spanned.text, token_ids=token_ids, forged=forged)


def _forged(
    reader: Reader, spanned: SpannedPrompt, tokens: Sequence[Token], control: frozenset[int]
) -> Iterator[ForgedToken]:
    for token, span in _in_spans(tokens, spanned.spans or ()):
        if token.token_id in control and not _is_unknown(reader, token, spanned.text):
            piece = reader.added[token.token_id]
            yield ForgedToken(token_id=token.token_id, piece=piece, whose=span.whose, offset=token.start)


def _is_unknown(reader: Reader, token: Token, text: str) -> bool:
    """Whether the unknown token stands for text that the vocabulary lacks, and not for its own spelling."""
    return token.token_id == reader.unk_id and reader.added[token.token_id] not in text[token.start : token.end]


def _stretches(reader: Reader, text: str, own: Sequence[Token], control: frozenset[int]) -> Iterator[int]:
    """The format's own control tokens, and between them plain text."""
    offset, after = 0, None
    for anchor in [token for token in own if token.token_id in control] + [None]:
        stretch = text[offset : anchor.start if anchor else len(text)]
        ids = reader.read_as_text(stretch, control, after) if stretch else []
        built = (control - {reader.unk_id}).intersection(ids)
        if built:
            pieces = [reader.added[i] for i in sorted(built)]
            raise ControlTokenError(
                f"{reader.name} builds the control tokens {pieces} from plain text: {stretch!r:.80}"
            )
        yield from ids
        if anchor:
            yield anchor.token_id
            offset, after = anchor.end, anchor.token_id


def _in_spans(tokens: Sequence[Token], spans: Sequence[MessageSpan]) -> Iterator[tuple[Token, MessageSpan]]:
    """Each token that touches a message, with the first message it touches; both come in order."""
    number = 0
    for token in tokens:
        while number < len(spans) and spans[number].end <= token.start:
            number += 1
        if number < len(spans) and spans[number].start < token.end:
            yield token, spans[number]


def _are_innocent(texts: Sequence[str], reader: Reader, encoded_text: EncodedText) -> bool:
    """Whether no text, nor any part of one, could have made an added token that stands in the prompt."""
    pieces = {reader.added[token.token_id] for token in encoded_text.added}
    ends = {char for piece in pieces for char in (piece[0], piece[-1])}
    if any(char.isalnum() for char in ends):
        return False
    bare = [text.strip() for text in texts if text.strip()]
    return all(ends.isdisjoint(text) and not any(text in piece for piece in pieces) for text in bare)


def _refuse_unlike_neutral(
    reader: Reader,
    prompt: AbstractChatPrompt,
    opts: Mapping[str, Any] | None,
    found: tuple[SpannedPrompt, EncodedText],
    add: bool,
) -> None:
    """Let a prompt pass whose control tokens are those of the same prompt with neutral texts, and no other."""
    spanned, encoded_text = found
    unmarked = {*spanned.unmarked}

    def neutral(text: str, whose: str) -> str:
        if may_be_sorted(text, whose) or text not in unmarked:
            return text
        return "".join(char if char.isspace() else _FILLER for char in text)

    def control_ids(text: str, encoded_text: EncodedText) -> list[int]:
        return [token.token_id for token in encoded_text.added if not _is_unknown(reader, token, text)]

    try:
        plain = prompt_text(prompt.with_texts(neutral), opts)
    except Exception:  # a template or a class, foreign code both, that refuses what says nothing
        plain = None
    if plain is None or control_ids(spanned.text, encoded_text) != control_ids(plain, reader.read(plain, add)):
        raise ControlTokenError(
            f"{type(prompt).__name__} changes its messages, so a control token in one cannot be told from the format's: "
            "pass allow_control_tokens=True if every message is trusted"
        )
