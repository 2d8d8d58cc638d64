"""How text becomes token ids, for the tokenizers that can also say which characters each id came from.

A reader gives ids with offsets, knows which ids are added tokens, and can read a stretch of text as if
no control token existed. For Rust tokenizers that is a twin in which every control token is renamed to
something nobody can type: in the added tokens, so that it is not matched, and in the vocabulary, so that
no merge can build it.
"""

from __future__ import annotations

import json
import pickle
import re
import secrets
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from chatlab.errors import ControlTokenError, EncodeError
from chatlab.lexicon import lexicon_pattern
from chatlab.prompts.control_tokens.child_reader import ChildReader, told_by
from chatlab.prompts.control_tokens.reading import CONTROL_SPELLING, EncodedText, Reader
from chatlab.prompts.control_tokens.slow_reader import SlowReader

_TWINS = 8
"""Twins kept a tokenizer: one a set of control tokens, and each as large as the tokenizer."""


class RustReader(Reader):
    """A raw ``tokenizers.Tokenizer``, or the one inside a fast AutoTokenizer."""

    def __init__(
        self,
        rust: RustTokenizer,
        *,
        name: str,
        special_ids: frozenset[int] = frozenset(),
        of_transformers: bool = False,
    ) -> None:
        self._rust, self._of_transformers = rust, of_transformers
        self.name = name
        tokens = rust.get_added_tokens_decoder()
        self.added = {i: token.content for i, token in tokens.items() if not token.content.isspace()}
        spelled = {i for i, token in tokens.items() if token.special or CONTROL_SPELLING.fullmatch(token.content)}
        self.special = special_ids.union(spelled).intersection(self.added)
        self.unk_id = _unk_id(rust)
        self._twins: dict[tuple[Any, ...], tuple[RustTokenizer, dict[int, str]]] = {}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        ids: list[int] = self._encode(self._rust, text, add_special_tokens).ids
        return ids

    def read(self, text: str, add_special_tokens: bool = False) -> EncodedText:
        """The ids of ``text``, with those that could speak for the format."""
        encoding = self._encode(self._rust, text, add_special_tokens)
        return self._encoded(encoding.ids, lambda: encoding.offsets)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch`` from the twin; a renamed control token before it stands for ``after``."""
        # The steps before the model may be exchanged at any time, and a pickle of them is small.
        key = control, pickle.dumps(self._rust.normalizer), pickle.dumps(self._rust.pre_tokenizer)
        if key not in self._twins:
            self._twins = dict([*self._twins.items()][1 - _TWINS :]) | {key: self._twin(control)}
        twin, renamed = self._twins[key]
        if after is None:
            ids: list[int] = self._encode(twin, stretch, False).ids
            return ids
        encoding = self._encode(twin, renamed[after] + stretch, False)
        head = next(n for n, (_, end) in enumerate(encoding.offsets) if end >= len(renamed[after]))
        return list(encoding.ids[head + 1 :])

    def _twin(self, control: frozenset[int]) -> tuple[RustTokenizer, dict[int, str]]:
        nonce = secrets.token_hex(8)
        renamed = {i: f"\U0010fff0{nonce}.{i}\U0010fff1" for i in control}
        state = _renamed(json.loads(self._rust.to_str()), {self.added[i]: name for i, name in renamed.items()})
        twin = RustTokenizer.from_str(json.dumps(state))
        return twin, renamed

    def _encode(self, rust: RustTokenizer, text: str, add_special_tokens: bool) -> Any:
        if self._of_transformers:
            # transformers sets both anew at each call and leaves them so, and a prompt asks for neither.
            if rust.truncation is not None:
                rust.no_truncation()
            if rust.padding is not None:
                rust.no_padding()
        try:
            return rust.encode(text, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:
            raise EncodeError(f"{self.name} cannot encode the text: {error}") from error


class SpanReader(Reader):
    """A tokenizer of ``chatlab.tokenizers`` that keeps offsets but is no Rust pipeline, such as SentencePiece."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.name = tokenizer.name
        self.added = {i: text for text, i in tokenizer.special_strs.items() if not text.isspace()}
        self.special = frozenset(self.added)
        self.unk_id = tokenizer.unk_id
        self._patterns: dict[frozenset[int], re.Pattern[str]] = {}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return ids

    def read(self, text: str, add_special_tokens: bool = False) -> EncodedText:
        """The ids of ``text``, with those that could speak for the format."""
        encoding = self._tokenizer.encode_spans(text, add_special_tokens=add_special_tokens)
        if encoding.spans is None:
            raise ControlTokenError(
                f"{self.name} keeps no offsets, so control tokens in messages cannot be told from the format's: "
                "load its fast version, or pass allow_control_tokens=True if every message is trusted"
            )
        return self._encoded(encoding.token_ids, lambda: encoding.spans)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch``, cut inside each control token so that none is whole."""
        bare = self._tokenizer.change("prefix_never") or self._tokenizer
        ids: list[int] = []
        if control not in self._patterns:
            self._patterns[control] = lexicon_pattern((self.added[i] for i in control), overlapping=True)
        for number, part in enumerate(_cut(stretch, self._patterns[control])):
            if number:
                ids += bare.encode(part)
            elif after is None:
                ids += self._tokenizer.encode(part)
            else:
                ids += self._tokenizer.encode(self.added[after] + part)[1:]
        return ids


def reader_of(tokenizer: Any) -> Reader:
    """The reader of a tokenizer; made anew when its added tokens, its special tokens or its size change.

    A model exchanged for another of the same size in a tokenizer already read is not seen: make a new one for that.

    Raises:
        ControlTokenError: the tokenizer is of a kind that does not tell where its tokens come from.
    """
    if hasattr(tokenizer, "in_child"):
        return ChildReader(tokenizer, _told)
    inside = (getattr(tokenizer, name, None) for name in ("wrapped", "rust"))
    inner = next((i for i in inside if i is not None and _added_table(i) is not None), tokenizer)
    return _reader_of(inner, getattr(tokenizer, "name", None), _added_table(inner))


def _told(tokenizer: Any, asked: list[Any]) -> Any:
    return told_by(reader_of(tokenizer), *asked)


def _added_table(tokenizer: Any) -> Hashable:
    """What makes a reader stale: the length is not enough, a token of the vocabulary may become a special one."""
    if isinstance(tokenizer, RustTokenizer):
        return tokenizer.get_vocab_size(), *_table(tokenizer.get_added_tokens_decoder())
    if hasattr(tokenizer, "backend_tokenizer"):
        return _added_table(tokenizer.backend_tokenizer), *tokenizer.all_special_ids
    if hasattr(tokenizer, "tokens_trie"):
        return len(tokenizer), *_table(tokenizer.added_tokens_decoder), *tokenizer.all_special_ids
    return None


def _table(added: Mapping[int, AddedToken]) -> Iterator[Hashable]:
    """An ``AddedToken`` equals another with the same flags; the slow classes set ``special`` in place."""
    return ((i, token, token.special) for i, token in added.items())


@lru_cache(maxsize=16)
def _reader_of(tokenizer: Any, name: str | None, _: Hashable) -> Reader:
    if isinstance(tokenizer, RustTokenizer):
        return RustReader(tokenizer, name=name or "the tokenizer")
    if hasattr(tokenizer, "backend_tokenizer"):
        ids = frozenset(i for i in tokenizer.all_special_ids if i is not None)
        return RustReader(
            tokenizer.backend_tokenizer, name=name or tokenizer.name_or_path, special_ids=ids, of_transformers=True
        )
    if hasattr(tokenizer, "tokens_trie"):
        return SlowReader(tokenizer, name=name or tokenizer.name_or_path or type(tokenizer).__name__)
    if hasattr(tokenizer, "encode_spans"):
        return SpanReader(tokenizer)
    raise ControlTokenError(
        f"{type(tokenizer).__name__} keeps no offsets, so control tokens in messages cannot be told from the format's: "
        "load its fast version, or, if every message is trusted, encode prompt.create_prompt() with it yourself"
    )


def _unk_id(rust: RustTokenizer) -> int | None:
    """The unknown token's id; a Unigram model keeps it by id, and only its JSON shows it."""
    if type(rust.model).__name__ == "Unigram":
        unk: int | None = json.loads(rust.to_str())["model"]["unk_id"]
        return unk
    found: int | None = rust.token_to_id(getattr(rust.model, "unk_token", None) or "")
    return found


def _renamed(state: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A ``tokenizer.json`` in which each control token goes by another name, under its own id."""
    model = dict(state["model"])
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(piece, piece): i for piece, i in vocab.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocab]
    if "merges" in model:
        model["merges"] = [
            merge for merge in map(_pair, model["merges"]) if not {*merge, "".join(merge)} & names.keys()
        ]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    added = [
        {**token, "content": names[token["content"]], "normalized": False} if token["content"] in names else token
        for token in state["added_tokens"]
    ]
    return {**state, "model": model, "added_tokens": added, "post_processor": None, "truncation": None, "padding": None}


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _cut(text: str, control: re.Pattern[str]) -> Iterator[str]:
    """``text`` in parts, cut after the first character of each control token in it."""
    start = 0
    for found in control.finditer(text):
        if found.start() + 1 > start:
            yield text[start : found.start() + 1]
            start = found.start() + 1
    yield text[start:]
