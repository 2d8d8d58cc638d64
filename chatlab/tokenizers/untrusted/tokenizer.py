"""A tokenizer of a stranger's files, that lives in a child with limits of time and memory, behind the same interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from operator import index
from typing import Any

from chatlab.child.session import Session
from chatlab.tokenizers.decoding import Decoder
from chatlab.tokenizers.interface import Encoding, Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.untrusted import answers

Change = tuple[str, Any]
InChild = Callable[[Callable[[Any, Any], Any], Any], Any]
"""Calls a function of a module's top level with the tokenizer, in its child, and a JSON value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateOwner:
    """What templates ask of the AutoTokenizer behind a tokenizer: data alone, for that one lives in the child."""

    name_or_path: str
    chat_template: str | Mapping[str, str] | None
    special_tokens_map: Mapping[str, str]
    all_special_tokens: Sequence[str]
    bos_token_id: int | None
    in_child: InChild
    untrusted = True
    """Prompts over this render in a child."""


class UntrustedTokenizer(Tokenizer):
    """A tokenizer whose every call is done by its child.

    **Law.** What it gives is what the tokenizer itself gives in this process, or a typed error. A call that takes more
    than it may ends the child, and raises a :class:`~chatlab.errors.TokenizerLimitError` that names the limit; the
    next call loads the files anew, in a new child.
    """

    def __init__(self, session: Session, changes: Sequence[Change] = (), facts: dict[str, Any] | None = None) -> None:
        """Stand for the tokenizer that ``session`` holds, with ``changes`` made to it."""
        self._changes = tuple(changes)
        self.in_child: InChild = partial(_ask, session, self._changes)
        told = self.in_child(answers.facts, None) if facts is None else facts
        self._session = session
        self.name, self.loader, self.versions = told["name"], told["loader"], told["versions"]
        self._specials: dict[str, int] = told["special_strs"]
        self._special_ids, self._vocab_len, self._unk_id = told["special_ids"], told["vocab_len"], told["unk_id"]
        self.wrapped = told["template"] and TemplateOwner(**told["template"], in_child=self.in_child)
        self.clean_up: Callable[[str], str] | None = (
            partial(self.in_child, answers.clean_up) if told["cleans_up"] else None
        )
        # Not of the method: a cache over it would keep the child alive.
        self._piece = lru_cache(maxsize=100_000)(partial(self.in_child, answers.piece))
        self._bytes = lru_cache(maxsize=100_000)(partial(self.in_child, answers.token_bytes))

    @property
    def special_strs(self) -> Mapping[str, int]:
        """Texts that are read as control tokens, with their ids."""
        return self._specials

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that ``skip_special_tokens`` removes."""
        return frozenset(self._special_ids)

    @property
    def vocab_len(self) -> int:
        """Number of ids, added tokens included."""
        return self._vocab_len  # type: ignore[no-any-return]  # of JSON

    @property
    def unk_id(self) -> int | None:
        """The id that stands for text the vocabulary lacks."""
        return self._unk_id  # type: ignore[no-any-return]

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text`` with their spans."""
        token_ids, spans = self.in_child(answers.encode_spans, [_checked(text), add_special_tokens])
        return Encoding(token_ids=token_ids, spans=None if spans is None else [(start, end) for start, end in spans])

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of ``text``."""
        return self.in_child(answers.encode, [_checked(text), add_special_tokens])  # type: ignore[no-any-return]

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Return the ids of each text, in one call of the child."""
        return self.in_child(answers.encode_batch, [[*map(_checked, texts)], add_special_tokens])  # type: ignore[no-any-return]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ``token_ids``."""
        return str(self.in_child(answers.decode, [_plain(token_ids), skip_special_tokens]))

    def decode_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of each list of ids, in one call of the child."""
        return self.in_child(answers.decode_batch, [[*map(_plain, batch)], skip_special_tokens])  # type: ignore[no-any-return]

    def decoder(self, *, skip_special_tokens: bool = True) -> Decoder:
        """Return ``decode`` as a stream needs it."""

        def decode(token_ids: Sequence[int]) -> str:
            return str(self.in_child(answers.decode_for_stream, [_plain(token_ids), skip_special_tokens]))

        return Decoder(decode, self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id that may be a part of a character; ``None`` for one of whole characters."""
        found = self._bytes(index(token_id))
        return None if found is None else bytes(found)

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id."""
        return str(self._piece(index(token_id)))

    def without_special_strs(self, text: str) -> str:
        """Return ``text`` without the control tokens spelled in it."""
        return str(self.in_child(answers.without_special_strs, _checked(text)))

    def change(self, name: str, argument: object = None) -> UntrustedTokenizer | None:
        """Return a copy with one thing changed, in the same child, or ``None`` where it is not there to change."""
        facts = self.in_child(answers.changed, [name, argument])
        if facts is None:
            return None
        return UntrustedTokenizer(self._session, [*self._changes, (name, argument)], facts)

    def close(self) -> None:
        """End the child now, and not with this object; a later call begins another."""
        self._session.close()


def _checked(text: str) -> str:
    """Two halves of a character would be joined on their way to the child."""
    refuse_lone_surrogates(text)
    return text


def _plain(token_ids: Sequence[int]) -> list[int]:
    return list(map(index, token_ids))  # NumPy's and torch's integers are no JSON


def _ask(session: Session, changes: Sequence[Change], function: Callable[[Any, Any], Any], argument: Any) -> Any:
    named = {"module": function.__module__, "function": function.__name__}
    return session.call(answers.answered, {**named, "changes": changes, "argument": argument})
