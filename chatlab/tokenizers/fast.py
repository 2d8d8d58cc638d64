"""Adapter for the Rust tokenizers: raw ``tokenizers.Tokenizer`` and every fast AutoTokenizer built on one."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from itertools import groupby
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from chatlab.errors import DecodeError, EncodeError, TokenIdError, TokenizerLoadError
from chatlab.tokenizers.changes import CHANGES
from chatlab.tokenizers.decoding import Decoder, byte_level_bytes, fallback_bytes
from chatlab.tokenizers.interface import ID_LIMIT, Encoding, Tokenizer, is_panic, refuse_lone_surrogates
from chatlab.tokenizers.pipeline.patterns import interruptible, may_be_costly
from chatlab.tokenizers.pipeline.steps import Json, steps

CleanUp = Callable[[str], str]
OwnDecode = Callable[..., str]
"""A class's own ``decode``, over a pipeline."""

COPY_CAP = 64
"""Changed copies that one tokenizer keeps."""

_NO_MODEL: Json = {"type": "BPE", "vocab": {}, "merges": []}


class FastTokenizer(Tokenizer):
    """A Rust pipeline, and the clean-up that transformers may run on the decoded text after it."""

    def __init__(
        self,
        rust: RustTokenizer,
        *,
        name: str = "tokenizer.json",
        loader: str = "tokenizers",
        clean_up: CleanUp | None = None,
        library: str = "tokenizers",
        own_decode: Callable[[RustTokenizer], OwnDecode] | None = None,
    ) -> None:
        """Wrap a pipeline.

        ``clean_up`` is applied to whole decoded texts, as transformers does when its flag is set. ``own_decode`` gives
        for a pipeline the ``decode`` of a class that has one of its own (Whisper leaves out its time stamps).
        """
        self.name, self.loader, self.clean_up = name, loader, clean_up
        self._own_decode = own_decode
        self._shows = None if own_decode is None else own_decode(rust)
        self.versions = {lib: version(lib) for lib in sorted({"tokenizers", library})}
        self._rust = rust
        self._changed: dict[str, FastTokenizer | None] = {}

    @classmethod
    def of_transformers(cls, tokenizer: Any, *, name: str | None = None) -> FastTokenizer:
        """Wrap a fast AutoTokenizer: the same ids and the same text as calling it with the same switches."""
        rust = tokenizer.backend_tokenizer
        cleans = tokenizer.clean_up_tokenization_spaces and (
            type(rust.model).__name__ != "BPE"
            or getattr(tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False)
        )
        adapter = cls(
            rust,
            name=name or tokenizer.name_or_path or type(tokenizer).__name__,
            loader="transformers",
            clean_up=tokenizer.clean_up_tokenization if cleans else None,
            library="transformers",
            own_decode=partial(_decode_over, tokenizer) if _decodes_by_itself(tokenizer) else None,
        )
        adapter.wrapped = tokenizer
        return adapter

    @property
    def rust(self) -> RustTokenizer:
        """The pipeline, as a plain call of its owner would use it: shared with the owner, who may change it."""
        if self.wrapped is not None:
            # transformers sets both anew at each call and leaves them so, and a plain call asks for neither.
            if self._rust.truncation is not None:
                self._rust.no_truncation()
            if self._rust.padding is not None:
                self._rust.no_padding()
        return self._rust

    @cached_property
    def state(self) -> Json:
        """The pipeline as the parsed ``tokenizer.json`` it would be saved as."""
        state: Json = json.loads(self.rust.to_str())
        return state

    @cached_property
    def special_strs(self) -> Mapping[str, int]:
        """Added tokens whose ``special`` flag is set, and those skipped all the same: a token added twice is both."""
        added = sorted(self._rust.get_added_tokens_decoder().items())
        return {token.content: i for i, token in added if token.special or self._is_skipped(i)}

    def _is_skipped(self, token_id: int) -> bool:
        try:
            kept, shown = (self._rust.decode([token_id], skip_special_tokens=skip) for skip in (True, False))
        except BaseException as error:
            self._refuse_panic(error)
            raise
        return bool(shown) and not kept

    @cached_property
    def vocab_len(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._rust.get_vocab_size(with_added_tokens=True))

    @cached_property
    def unk_id(self) -> int | None:
        """The model's unknown token; a Unigram model names it by id, the others by text."""
        model = self.state["model"]
        unk_id: int | None = model.get("unk_id")
        if unk_id is None and model.get("unk_token") is not None:
            unk_id = self._rust.token_to_id(model["unk_token"])
        return unk_id

    @cached_property
    def _may_be_costly(self) -> bool:
        return may_be_costly(self._rust)

    @cached_property
    def _ids(self) -> frozenset[int]:
        return frozenset(self._rust.get_vocab(with_added_tokens=True).values())

    def refuse_absurd_ids(self) -> None:
        """Refuse a vocabulary with an id that only a stranger's joke has: Rust writes down each id that is left out.

        Raises:
            TokenizerLoadError: there is one; to write such a pipeline as JSON takes gigabytes, and then the process.
        """
        last = max(self._ids, default=-1)
        if last >= ID_LIMIT:
            raise TokenizerLoadError(f"{self.name} has the id {last} among {len(self._ids)}: ids end at {ID_LIMIT - 1}")

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """Return the ids of ``text``, each with the characters the pipeline says it came from."""
        encoding = self._encode(text, add_special_tokens)
        return Encoding(token_ids=encoding.ids, spans=encoding.offsets)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of ``text``."""
        token_ids: list[int] = self._encode(text, add_special_tokens).ids
        return token_ids

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Return the ids of each text, in one call into Rust."""

        def call() -> Any:
            return self.rust.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)

        try:
            encodings = interruptible(call) if self._may_be_costly else call()
        except BaseException as error:
            self._refuse_text(error, texts)
            raise
        return [encoding.ids for encoding in encodings]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ``token_ids``, cleaned up where transformers would."""
        text = self._decode(token_ids, skip_special_tokens)
        return self.clean_up(text) if self.clean_up else text

    def decode_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of each list of ids, in one call into Rust."""
        for token_ids in batch:
            self._check(token_ids)
        return self.decode_own_batch(batch, skip_special_tokens=skip_special_tokens)

    def decode_own_batch(self, batch: Sequence[Sequence[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """Return the text of ids that this tokenizer gave, without looking whether it has them."""
        if self._shows is not None:
            return [self.decode(token_ids, skip_special_tokens=skip_special_tokens) for token_ids in batch]
        try:
            texts: list[str] = self._rust.decode_batch(batch, skip_special_tokens=skip_special_tokens)
        except BaseException as error:
            self._refuse_panic(error)
            raise
        return [self.clean_up(text) for text in texts] if self.clean_up else texts

    def decoder(self, *, skip_special_tokens: bool = True) -> Decoder:
        """Return the pipeline's own decode: clean-up rewrites text that was already shown, so no stream can use it."""
        return Decoder(partial(self._decode, skip_special_tokens=skip_special_tokens), self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id that may be a part of a character; ``None`` for one of whole characters."""
        return self._piece_bytes(self.piece(token_id))

    @cached_property
    def _piece_bytes(self) -> Callable[[str], bytes | None]:
        # Not from `state`, which spells out a vocabulary of perhaps 150,000 pieces.
        decoder = json.loads(self._rust.decoder.__getstate__()) if self._rust.decoder else None
        is_byte_level = any(step["type"] == "ByteLevel" for step in steps(decoder))
        return byte_level_bytes if is_byte_level else fallback_bytes

    def piece(self, token_id: int) -> str:
        """Return the vocabulary entry of an id."""
        self._check([token_id])
        return str(self._rust.id_to_token(token_id))

    def change(self, name: str, argument: object = None) -> FastTokenizer | None:
        """Return a copy with one thing changed: ``clean_up_off`` or a name of ``changes.CHANGES``."""
        key = f"{name} {argument!r}"
        if key not in self._changed:
            if len(self._changed) >= COPY_CAP:  # texts of one prompt: all kept, they would pile up
                self._changed.pop(next(iter(self._changed)))
            self._changed[key] = self._copy(name, argument)
        return self._changed[key]

    def _copy(self, name: str, argument: object) -> FastTokenizer | None:
        rust, clean_up = self._rust, self.clean_up
        if name == "clean_up_off":
            if clean_up is None:
                return None
            clean_up = None
        elif name in CHANGES:
            state = CHANGES[name](self.state, argument)
            if state is None:
                return None
            rust = self._made_of(state)
        else:
            return None
        made = FastTokenizer(
            rust,
            name=f"{self.name} + {name}",
            loader=self.loader,
            clean_up=clean_up,
            own_decode=self._own_decode,
        )
        # No change takes a piece away, and to ask Rust for a whole vocabulary again takes longer than a prompt.
        vars(made)["_ids"] = self._ids.union(rust.get_added_tokens_decoder())
        vars(made)["unk_id"] = self.unk_id
        return made

    def _made_of(self, state: Json) -> RustTokenizer:
        """Return the pipeline of a changed state; a model that stays is shared, for reading a vocabulary takes long."""
        if state["model"] is not self.state["model"]:
            return RustTokenizer.from_str(json.dumps(state))
        rust = RustTokenizer.from_str(json.dumps({**state, "model": _NO_MODEL, "added_tokens": []}))
        rust.model = self._rust.model
        by_id = sorted(state["added_tokens"], key=lambda token: token["id"])
        for special, tokens in groupby(by_id, key=lambda token: token["special"]):
            added = [AddedToken(**{k: v for k, v in token.items() if k != "id"}) for token in tokens]
            (rust.add_special_tokens if special else rust.add_tokens)(added)
        return rust

    def _encode(self, text: str, add_special_tokens: bool) -> Any:
        def batched() -> Any:
            return self.rust.encode_batch([text], add_special_tokens=add_special_tokens)[0]

        try:
            if self._may_be_costly:  # `encode` keeps Python's lock, `encode_batch` frees it
                return interruptible(batched)
            return self.rust.encode(text, add_special_tokens=add_special_tokens)
        except BaseException as error:
            self._refuse_text(error, [text])
            raise

    def _decode(self, token_ids: Sequence[int], skip_special_tokens: bool) -> str:
        self._check(token_ids)
        try:
            text: str
            if self._shows is None:
                text = self._rust.decode(token_ids, skip_special_tokens=skip_special_tokens)
            else:
                text = self._shows(list(token_ids), skip_special_tokens=skip_special_tokens)
        except BaseException as error:
            self._refuse_panic(error)
            raise
        return text

    def _refuse_text(self, error: BaseException, texts: Sequence[str]) -> None:
        """Raise what a text, or the pipeline's way with it, is to blame for as a typed error."""
        if not (is_panic(error) or isinstance(error, Exception)):
            return
        for text in texts:
            if not isinstance(text, str):
                raise EncodeError(f"the text is {text!r:.80}: give a string") from error
            refuse_lone_surrogates(text)
        raise EncodeError(
            f"the pipeline of {self.name} fails on this text ({error}): a pattern of its normalizer or pre-tokenizer "
            "may cost more than is allowed; change it in its tokenizer.json, or shorten the text"
        ) from error

    def _refuse_panic(self, error: BaseException) -> None:
        """Raise a panic of Rust, which is no ``Exception`` and would pass every handler, as a typed error."""
        if not is_panic(error) and type(error) is not Exception:  # as Rust raises its errors
            return
        decoder = self.state["decoder"] or {"type": "none"}
        kinds = [part["type"] for part in decoder.get("decoders", [decoder])]
        why = " (a right Strip fails on text shorter than what it strips)" if "Strip" in kinds else ""
        raise DecodeError(
            f"the decoder of {self.name}, {' + '.join(kinds)}, fails on these ids{why}: {error}. Change `decoder` in "
            "its tokenizer.json, or load the tokenizer's SentencePiece or slow files"
        ) from error

    def _check(self, token_ids: Sequence[int]) -> None:
        # Rust leaves unknown ids out without a word, and text would be lost.
        if not self._ids.issuperset(token_ids):
            unknown = next(token_id for token_id in token_ids if token_id not in self._ids)
            raise TokenIdError.unknown(self.name, unknown, max(self._ids, default=-1))


def _decodes_by_itself(tokenizer: Any) -> bool:
    """Whether a class, or its pipeline, shows ids in a way of its own, which the bare pipeline does not know."""
    if "decode" in getattr(tokenizer.backend_tokenizer, "__dict__", {}):  # CLIP puts one over the pipeline's
        return True
    return any({"decode", "_decode"} & vars(cls).keys() for cls in type(tokenizer).__mro__ if not _is_general(cls))


def _is_general(cls: type) -> bool:
    """Whether a class stands for all tokenizers of transformers."""
    name = cls.__module__
    return cls is object or (name.startswith("transformers.") and not name.startswith("transformers.models."))


def _decode_over(tokenizer: Any, rust: RustTokenizer) -> OwnDecode:
    """The ``decode`` of a tokenizer's class over a pipeline: its own, or a changed copy of it."""
    if rust is not tokenizer.backend_tokenizer:
        tokenizer = copy.copy(tokenizer)
        tokenizer._tokenizer = rust
        wrap = getattr(tokenizer, "_wrap_decode_method_backend_tokenizer", None)
        if wrap is not None:
            wrap()
    known = inspect.signature(tokenizer.decode).parameters
    cleans = "clean_up_tokenization_spaces" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    return partial(tokenizer.decode, clean_up_tokenization_spaces=False) if cleans else tokenizer.decode
