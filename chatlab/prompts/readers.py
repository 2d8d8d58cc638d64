"""How text becomes token ids, for the tokenizers that can also say which characters each id came from.

A reader gives ids with offsets, knows which ids are added tokens, and can read a stretch of text as if
no control token existed. For Rust tokenizers that is a twin in which every control token is renamed to
something nobody can type: in the added tokens, so that it is not matched, and in the vocabulary, so that
no merge can build it. Python tokenizers keep no offsets, but they split a text at its added tokens before
anything else, and tell where.
"""

from __future__ import annotations

import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from tokenizers import Tokenizer as RustTokenizer

from chatlab.errors import ControlTokenError, EncodeError

# Phi-3's repository once unset the special flag of </s>: the spelling tells what the flag forgot.
_CONTROL_SPELLING = re.compile(
    r"<\|[^<>|]+\|>|<｜[^<>｜]+｜>|</?(?:s|unk|pad|mask|cls|sep|bos|eos|eod|eot|eom)>|\[/?[A-Z_]{3,}\]"
)


class Token(NamedTuple):
    """An id and the characters it came from: code points, end exclusive."""

    token_id: int
    start: int
    end: int


class Reading(NamedTuple):
    """The ids of a text, and the tokens among them that are added tokens and stand in the text."""

    token_ids: list[int]
    added: list[Token]


class Reader(ABC):
    """What the control-token law asks of a tokenizer."""

    name: str
    added: Mapping[int, str]
    """Added tokens that are not mere whitespace: each could stand for something the format says."""
    special: frozenset[int]
    """Those that are control tokens by the tokenizer's own word."""
    unk_id: int | None

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``, as the tokenizer itself gives them."""

    @abstractmethod
    def read(self, text: str, add_special_tokens: bool = False) -> Reading:
        """The ids of ``text``, with those that could speak for the format."""

    @abstractmethod
    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch`` with no control token in it, where it stands after the token ``after``."""

    def _reading(self, token_ids: list[int], spans: Callable[[], Sequence[tuple[int, int]]]) -> Reading:
        """Spans are fetched only when an added token is there, and kept only for those: both cost time."""
        added = self.added
        numbers = [number for number, token_id in enumerate(token_ids) if token_id in added]
        offsets = spans() if numbers else []
        tokens = (Token(token_ids[number], *offsets[number]) for number in numbers)
        return Reading(token_ids, [token for token in tokens if token.end > token.start])

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that ``add_special_tokens=True`` puts before and after a text."""
        bare = self.encode("a")
        full = self.encode("a", add_special_tokens=True)
        at = next((i for i in range(len(full) - len(bare) + 1) if full[i : i + len(bare)] == bare), len(full))
        return full[:at], full[at + len(bare) :]


class RustReader(Reader):
    """A raw ``tokenizers.Tokenizer``, or the one inside a fast AutoTokenizer."""

    def __init__(self, rust: RustTokenizer, *, name: str, special_ids: frozenset[int] = frozenset()) -> None:
        self._rust = rust
        self.name = name
        tokens = rust.get_added_tokens_decoder()
        self.added = {i: token.content for i, token in tokens.items() if not token.content.isspace()}
        spelled = {i for i, token in tokens.items() if token.special or _CONTROL_SPELLING.fullmatch(token.content)}
        self.special = special_ids.union(spelled).intersection(self.added)
        self.unk_id = _unk_id(rust)
        self._twins: dict[frozenset[int], tuple[RustTokenizer, dict[int, str]]] = {}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        ids: list[int] = self._encode(self._rust, text, add_special_tokens).ids
        return ids

    def read(self, text: str, add_special_tokens: bool = False) -> Reading:
        """The ids of ``text``, with those that could speak for the format."""
        encoding = self._encode(self._rust, text, add_special_tokens)
        return self._reading(encoding.ids, lambda: encoding.offsets)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch`` from the twin; a renamed control token before it stands for ``after``."""
        if control not in self._twins:
            self._twins[control] = self._twin(control)
        twin, renamed = self._twins[control]
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

    def read(self, text: str, add_special_tokens: bool = False) -> Reading:
        """The ids of ``text``, with those that could speak for the format."""
        encoding = self._tokenizer.encode_spans(text, add_special_tokens=add_special_tokens)
        if encoding.spans is None:
            raise ControlTokenError(
                f"{self.name} keeps no offsets, so control tokens in messages cannot be told from the format's: "
                "load its fast version, or pass allow_control_tokens=True if every message is trusted"
            )
        return self._reading(encoding.token_ids, lambda: encoding.spans)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch``, cut inside each control token so that none is whole."""
        bare = self._tokenizer.change("prefix_never") or self._tokenizer
        ids: list[int] = []
        if control not in self._patterns:
            contents = "|".join(re.escape(self.added[i]) for i in sorted(control))
            self._patterns[control] = re.compile(f"(?={contents})" if contents else "(?!)")
        for number, part in enumerate(_cut(stretch, self._patterns[control])):
            if number:
                ids += bare.encode(part)
            elif after is None:
                ids += self._tokenizer.encode(part)
            else:
                ids += self._tokenizer.encode(self.added[after] + part)[1:]
        return ids


class SlowReader(Reader):
    """A Python tokenizer of transformers: it splits a text at its added tokens, and encodes each part by itself."""

    def __init__(self, slow: Any, *, name: str) -> None:
        self._slow = slow
        self.name = name
        tokens = {token.content: (i, token) for i, token in slow.added_tokens_decoder.items()}
        plain = zip(slow.all_special_tokens, slow.all_special_ids, strict=True)
        self._tokens = {text: (i, None) for text, i in plain if i is not None} | tokens
        self.added = {i: text for text, (i, _) in self._tokens.items() if not text.isspace()}
        flagged = {i for i, token in self._tokens.values() if token is None or token.special}
        spelled = {i for i, text in self.added.items() if _CONTROL_SPELLING.fullmatch(text)}
        self.special = frozenset(flagged | spelled).intersection(self.added)
        self.unk_id = slow.unk_token_id

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(f"{self.name} cannot encode the text: {error}") from error
        return list(self._slow(text, add_special_tokens=add_special_tokens)["input_ids"])

    def read(self, text: str, add_special_tokens: bool = False) -> Reading:
        """The ids of ``text``, with those that could speak for the format."""
        bare = self.encode(text)
        found = [Token(i, start, end) for start, end, i in self._parts(text) if i is not None and i in self.added]
        known = self.added.keys() - {self.unk_id}
        if [token.token_id for token in found if token.token_id in known] != [i for i in bare if i in known]:
            raise ControlTokenError(
                f"{self.name} reads other added tokens than those it splits the text at, so control tokens in messages "
                "cannot be told from the format's: load its fast version, or pass allow_control_tokens=True if every "
                "message is trusted"
            )
        return Reading(self.encode(text, add_special_tokens=True) if add_special_tokens else bare, found)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch``, split at no control token; a part does not depend on what stands before it."""
        if self._slow.prepare_for_tokenization(stretch)[0] != stretch:
            raise ControlTokenError(f"{self.name} rewrites a text before it splits it: load its fast version")
        ids: list[int] = []
        for start, end, token_id in self._parts(stretch, control):
            if token_id is not None:
                ids.append(token_id)
            elif end > start:
                ids += self._slow.convert_tokens_to_ids(self._slow._tokenize(stretch[start:end]))
        return ids

    def _parts(self, text: str, unread: frozenset[int] = frozenset()) -> list[tuple[int, int, int | None]]:
        """Start, end and id of each added token, and of the plain text between them; stripped space is the token's."""
        parts: list[tuple[int, int, int | None]] = []
        start = 0
        for part in self._slow.tokens_trie.split(text):
            end = start + len(part)
            token_id, token = self._tokens.get(part, (None, None))
            around = text[max(0, start - 1) : start] + text[end : end + 1]
            if token_id in unread or (token is not None and token.single_word and around.strip(" ")):
                token_id = None
            if token_id is None and parts and parts[-1][2] is None:
                start = parts.pop()[0]
            parts.append((start, end, token_id))
            start = end
        return self._stripped(text, parts)

    def _stripped(self, text: str, parts: list[tuple[int, int, int | None]]) -> list[tuple[int, int, int | None]]:
        for number, (start, end, token_id) in enumerate(parts):
            token = None if token_id is None else self._tokens[text[start:end]][1]
            if token is not None and token.lstrip and number and parts[number - 1][2] is None:
                left, _, _ = parts[number - 1]
                start = left + len(text[left:start].rstrip())
                parts[number - 1] = left, start, None
            if token is not None and token.rstrip and parts[number + 1 :] and parts[number + 1][2] is None:
                right = parts[number + 1][1]
                end = right - len(text[end:right].lstrip())
                parts[number + 1] = end, right, None
            parts[number] = start, end, token_id
        return parts


def reader_of(tokenizer: Any) -> Reader:
    """The reader of a tokenizer; made once a tokenizer, and anew when its vocabulary grows.

    Raises:
        ControlTokenError: the tokenizer is of a kind that does not tell where its tokens come from.
    """
    return _reader_of(tokenizer, len(tokenizer) if hasattr(tokenizer, "__len__") else -1)


@lru_cache(maxsize=16)
def _reader_of(tokenizer: Any, _: int) -> Reader:
    if isinstance(tokenizer, RustTokenizer):
        return RustReader(tokenizer, name="the tokenizer")
    if hasattr(tokenizer, "backend_tokenizer"):
        ids = frozenset(i for i in tokenizer.all_special_ids if i is not None)
        return RustReader(tokenizer.backend_tokenizer, name=tokenizer.name_or_path, special_ids=ids)
    if hasattr(tokenizer, "encode_spans"):
        if hasattr(tokenizer, "state"):
            rust = RustTokenizer.from_str(json.dumps(tokenizer.state))
            return RustReader(rust, name=tokenizer.name, special_ids=frozenset(tokenizer.special_strs.values()))
        if hasattr(tokenizer.wrapped, "tokens_trie"):
            return SlowReader(tokenizer.wrapped, name=tokenizer.name)
        return SpanReader(tokenizer)
    if hasattr(tokenizer, "tokens_trie"):
        return SlowReader(tokenizer, name=tokenizer.name_or_path or type(tokenizer).__name__)
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
