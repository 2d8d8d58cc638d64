"""Write down everything a tokenizer is and does, as one JSON value.

This file stands alone: it imports the standard library, and ``transformers``, ``tokenizers``, ``sentencepiece``
or ``jinja2`` only where a loader needs them.  So the very same code runs inside an environment that holds
transformers 4.31 and in one that holds 5.x (``python recorder.py request.json result.json``), and two library
versions can be compared like two revisions.

A record never holds a path, a date or a machine's name: equal files, equal library versions and an equal probe
corpus give an equal record (law L5).  Big tables (vocabulary, merges) stand once under ``tables``, named by their
sha256.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import hashlib
import importlib
import importlib.metadata
import json
import os
import random
import re
import select
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

SCHEMA = 2

FILE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "additional_chat_templates/*",
    "processor_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.model.v*",
    "tekken.json",
    "*.tiktoken",
    "*.py",
    "*.gguf",
)
"""Every file that can change what a tokenizer does; ``config.json`` decides the class, so it is one of them."""

LIBRARIES = ("transformers", "tokenizers", "sentencepiece", "jinja2", "mistral-common", "tiktoken", "protobuf")
CLOCK = datetime.datetime(2024, 5, 2, 12, 0, 0)
"""What ``strftime_now`` tells a chat template, so that a render does not change with the day."""
LATER = datetime.datetime(2031, 11, 23, 21, 47, 36, 5)
"""Another time, by which a template that asks for the clock is known."""

TEMPLATE_SECONDS = 3
"""Processor time for all renders of a view; those of an honest template take a tenth of a second together."""
TEMPLATE_BYTES = 512 * 2**20
"""Memory that renders may take above what the process holds already."""
TEMPLATE_CHARACTERS = 200_000
"""Length of one render at most."""
WAIT_SECONDS = 60
"""Time on the clock for all renders of a view, however busy the machine is."""

TOKEN_LIMIT = 16
"""At most this many added tokens are probed; those that the chat template writes come first."""

PROCESSOR_TEMPLATES = ("tokenizer_config.json", "chat_template.json", "processor_config.json")
"""Files whose field ``chat_template`` holds one; the last two are read by a processor, and not by a tokenizer."""

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "spaces_between_special_tokens",
    "split_special_tokens",
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "legacy",
    "is_fast",
)
FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")
SURROGATE = re.compile("[\ud800-\udfff]")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
RESERVED = re.compile(r"reserved|placeholder|unused|extra_id|dummy|pad_token|^\[?<?\|?control_\d", re.IGNORECASE)


def canonical(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256(data: str | bytes) -> str:
    """Return the hex sha256 of text (as UTF-8) or bytes."""
    return hashlib.sha256(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).hexdigest()


@lru_cache(maxsize=1)
def _installed_versions() -> tuple[tuple[str, str | None], ...]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return tuple(versions.items())


def library_versions() -> dict[str, str | None]:
    """Return the installed versions of the libraries that take part in tokenizing."""
    return dict(_installed_versions())


# -- files ---------------------------------------------------------------------------------------------------


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that take part in tokenizing, by their name inside it."""
    found = {path.relative_to(folder).as_posix(): path for pattern in FILE_PATTERNS for path in folder.glob(pattern)}
    return {name: found[name] for name in sorted(found) if found[name].is_file()}


class Tables(dict):  # type: ignore[type-arg]
    """Big values by their sha256, each kept once."""

    def put(self, value: object) -> str:
        """Keep a value and return its name."""
        name = sha256(canonical(value))
        self[name] = value
        return name

    def model(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return a tokenizer model with its vocabulary and merges replaced by their names."""
        slim = dict(model)
        if isinstance(slim.get("vocab"), dict):
            slim["vocab"] = self.put(slim["vocab"])
        elif isinstance(slim.get("vocab"), list):  # Unigram: [piece, log probability]
            slim["scores"] = self.put([score for _, score in slim["vocab"]])
            slim["vocab"] = self.put({piece: number for number, (piece, _) in enumerate(slim["vocab"])})
        if "merges" in slim:
            slim["merges"] = self.put([m if isinstance(m, str) else " ".join(m) for m in slim["merges"]])
        return slim


def protobuf_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield (field number, value) of a protobuf message, so that a SentencePiece model needs no library."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 2:
            size = varint()
            if at + size > len(data):
                raise ValueError("a protobuf field ends beyond its message")
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == 5:
            yield key >> 3, struct.unpack_from("<f", data, at)[0]
            at += 4
        elif kind == 1:
            yield key >> 3, struct.unpack_from("<d", data, at)[0]
            at += 8
        else:
            raise ValueError(f"protobuf wire type {kind}")


# Field numbers of sentencepiece_model.proto.
TRAINER_FIELDS = {
    3: "model_type",
    24: "whitespace_as_suffix",
    35: "byte_fallback",
    40: "unk_id",
    41: "bos_id",
    42: "eos_id",
    43: "pad_id",
}
NORMALIZER_FIELDS = {
    1: "name",
    2: "precompiled_charsmap",
    3: "add_dummy_prefix",
    4: "remove_extra_whitespaces",
    5: "escape_whitespaces",
}
PIECE_KINDS = {2: "unknown", 3: "control", 4: "user_defined", 5: "unused"}


def read_sentencepiece(data: bytes, tables: Tables) -> dict[str, Any]:
    """Return what a SentencePiece model file says: pieces, scores, kinds, trainer and normalizer settings."""
    document, found = _parse_sentencepiece(data)
    tables.update(found)
    return document


@lru_cache(maxsize=4)
def _parse_sentencepiece(data: bytes) -> tuple[dict[str, Any], Tables]:
    tables = Tables()
    vocab: dict[str, int] = {}
    scores: list[Any] = []
    kinds: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {"trainer": {}, "normalizer": {}}
    for field, value in protobuf_fields(data):
        if field == 1:
            piece = dict(protobuf_fields(value))  # type: ignore[arg-type]
            text = bytes(piece[1]).decode("utf-8", "replace")  # type: ignore[arg-type]
            vocab[text] = len(scores)
            if piece.get(3, 1) in PIECE_KINDS:
                kinds[text] = PIECE_KINDS[int(piece[3])]
            scores.append(piece.get(2, 0.0))
        elif field in (2, 3):
            part, names = ("trainer", TRAINER_FIELDS) if field == 2 else ("normalizer", NORMALIZER_FIELDS)
            for number, item in protobuf_fields(value):  # type: ignore[arg-type]
                if number in names:
                    known: Any = item
                    if isinstance(item, bytes):
                        known = sha256(item) if names[number] == "precompiled_charsmap" else item.decode()
                    settings[part][names[number]] = known
    pieces = list(vocab)
    specials = {}
    for key, name, default in (("bos_id", "bos_token", 1), ("eos_id", "eos_token", 2)):
        number = settings["trainer"].get(key, default)
        if number < len(pieces) and kinds.get(pieces[number]) == "control":
            specials[name] = pieces[number]
    model = {"type": "sentencepiece", "vocab": tables.put(vocab), "scores": tables.put(scores)}
    return {"model": model, "kinds": kinds, "specials": specials, **settings}, tables


def read_document(name: str, data: bytes, tables: Tables) -> Any:
    """Return the meaning of one file: parsed, with its big tables taken out; code and weights only by hash."""
    try:
        if name.endswith(".model"):
            return read_sentencepiece(data, tables)
        if name.endswith(".json"):
            document = json.loads(data)
            _require_shape(name, document)
            if name == "tokenizer.json" and isinstance(document.get("model"), dict):
                merges = document["model"].get("merges") or [""]
                document["model"] = tables.model(document["model"])
                document["model"]["merges_format"] = "strings" if isinstance(merges[0], str) else "pairs"
            elif name == "tekken.json" and isinstance(document.get("vocab"), list):
                document["vocab"] = tables.put({row["token_bytes"]: row["rank"] for row in document["vocab"]})
            elif name == "vocab.json":
                return {"vocab": tables.put(document)}
            return document
        if name in ("merges.txt", "vocab.txt"):
            return {"lines": tables.put(data.decode("utf-8").splitlines())}
        if name.endswith(".jinja"):
            return data.decode("utf-8")
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        return {"unreadable": f"{type(error).__name__}: {error}"}
    return None


def _require_shape(name: str, document: Any) -> None:
    """Raise where a part that is read later is not what every reader takes it for: then the file is unreadable."""
    if name == "added_tokens.json":
        wrong = {token: number for token, number in document.items() if not isinstance(number, int)}
        if wrong:
            raise TypeError(f"added tokens without an id: {wrong!r:.80}")
    tokens = document.get("added_tokens") or []
    decoder = document.get("added_tokens_decoder") or {}
    stops = document.get("eos_token_id")
    if isinstance(tokens, list):
        for token in tokens:
            if not (isinstance(token, str) or isinstance(token["content"], str) and isinstance(token["id"], int)):
                raise TypeError(f"an added token is {token!r:.80}")
    for number, token in decoder.items():
        if not (isinstance(token["content"], str) and int(number) >= 0):
            raise TypeError(f"added token {number} is {token!r:.80}")
    if stops is not None and not all(isinstance(n, int) for n in (stops if isinstance(stops, list) else [stops])):
        raise TypeError(f"eos_token_id is {stops!r:.80}")


# -- loaders -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _parse_model(tail: str) -> tuple[dict[str, Any], dict[str, Any]]:
    tables = Tables()
    return tables.model(json.loads(tail)), tables


def parse_backend(text: str, tables: Tables) -> dict[str, Any]:
    """Parse a serialized ``tokenizers.Tokenizer``; its model, megabytes of it, is parsed once for equal texts."""
    head, mark, tail = text.partition('"model":')
    try:
        document: dict[str, Any] = json.loads(f'{head}"model":0}}')
        model, found = _parse_model(tail.rstrip()[:-1])
    except ValueError:  # a key before the model is called "model"
        document = json.loads(text)
        document["model"] = tables.model(document["model"])
        return document
    tables.update(found)
    return {**document, "model": dict(model)}


class Loaded:
    """What a loader gives: one face over transformers, raw tokenizers and SentencePiece."""

    tokenizer: Any
    """What the library itself made."""

    def encode(self, text: str, *, add_special_tokens: bool = False, pair: str | None = None) -> list[int]:
        """Return the ids of a text, or of a pair of texts."""
        raise NotImplementedError

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of many texts, without special tokens."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: list[int], skip: bool) -> str:
        """Return the text of ids, without special tokens when ``skip``."""
        raise NotImplementedError

    def describe(self, tables: Tables) -> dict[str, Any]:
        """Return the static side: class, components, effective added tokens, specials, settings."""
        raise NotImplementedError

    def template(self) -> Any:
        """Return the chat template that this loader uses itself, or ``None``."""
        return None

    @property
    def renders(self) -> bool:
        """Whether the library has code of its own for chat templates."""
        return False

    def render(self, messages: list[Any], generation: bool, tools: list[Any] | None, more: dict[str, Any]) -> str:
        """Render with the library's own code."""
        raise NotImplementedError


class _Transformers(Loaded):
    """A tokenizer that transformers loaded, fast or slow."""

    def __init__(self, folder: Path, loader: str, options: dict[str, Any]) -> None:
        import transformers

        transformers.logging.set_verbosity(50)
        kwargs = dict(options)
        gguf = [] if (folder / "tokenizer.json").is_file() else sorted(folder.glob("*.gguf"))
        if gguf:
            kwargs["gguf_file"] = gguf[0].name
        if loader == "slow":
            kwargs["use_fast"] = False
        # AutoTokenizer would want the model's config, and another package to read it from the file.
        plain = transformers.PreTrainedTokenizerFast if gguf else transformers.AutoTokenizer
        cls = plain if loader in ("auto", "slow") else getattr(transformers, loader, None)
        if cls is None or "Tokenizer" not in cls.__name__:
            raise ValueError(f"{loader!r} is no loader: auto, slow, raw, sentencepiece or a tokenizer class")
        if cls is transformers.AutoTokenizer:
            kwargs.setdefault("trust_remote_code", False)  # said aloud: left out, transformers asks on the terminal
        try:
            self._take(cls.from_pretrained(str(folder), local_files_only=True, **kwargs))
        except ValueError as error:
            named = [name for name in ("tokenizer_config.json", "config.json") if _names_code(folder / name)]
            if not named or kwargs.get("trust_remote_code"):
                raise
            raise ValueError(
                f"{' and '.join(named)} names code of its own, which is not run unless asked: "
                "trust_remote_code=True among the options runs it"
            ) from error

    @classmethod
    def of(cls, tokenizer: Any) -> _Transformers:
        """Wrap a tokenizer that is loaded already."""
        made = cls.__new__(cls)
        made._take(tokenizer)
        return made

    def _take(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if len(self.tokenizer) <= len(self.tokenizer.all_special_tokens):
            # transformers makes a tokenizer of a config alone; it reads every text as nothing.
            raise ValueError("no vocabulary: a tokenizer.json, tokenizer.model or vocabulary file is missing")

    def encode(self, text: str, *, add_special_tokens: bool = False, pair: str | None = None) -> list[int]:
        inputs = (text,) if pair is None else (text, pair)
        return list(self.tokenizer(*inputs, add_special_tokens=add_special_tokens)["input_ids"])

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def decode(self, ids: list[int], skip: bool) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip))

    def describe(self, tables: Tables) -> dict[str, Any]:
        tokenizer = self.tokenizer
        settings = {name: getattr(tokenizer, name) for name in SETTINGS if hasattr(tokenizer, name)}
        if settings.get("model_max_length", 0) and settings["model_max_length"] > 10**18:
            settings["model_max_length"] = None  # transformers' spelling of "no limit"
        settings = {k: v for k, v in settings.items() if v is None or isinstance(v, (bool, int, str))}
        static: dict[str, Any] = {"class": type(tokenizer).__name__, "settings": settings, "specials": self._specials()}
        if getattr(tokenizer, "is_fast", False):
            backend = parse_backend(tokenizer.backend_tokenizer.to_str(), tables)
            static["added_tokens"] = backend.pop("added_tokens", [])
            static["components"] = backend
        else:
            static["added_tokens"] = self._python_added_tokens()
            static["components"] = {"model": {"type": "python", "vocab": tables.put(dict(tokenizer.get_vocab()))}}
        return static

    def _python_added_tokens(self) -> list[dict[str, Any]]:
        tokenizer = self.tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        if added and not any(isinstance(token, str) for token in added.values()):
            return [
                {"id": i, "content": str(t), **{f: bool(getattr(t, f, False)) for f in FLAGS}}
                for i, t in sorted(added.items())
            ]
        # Before transformers 4.34 the flags are not to be had: the tokens stand without them.
        known = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        known.update(tokenizer.get_added_vocab())
        return [{"id": i, "content": t} for t, i in sorted(known.items(), key=lambda item: item[1])]

    def _specials(self) -> dict[str, Any]:
        found = {}
        for name in SPECIAL_NAMES:
            token = getattr(self.tokenizer, name, None)
            if token is not None:
                found[name] = {"content": str(token), "id": getattr(self.tokenizer, f"{name}_id", None)}
        pairs = zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True)
        every = {str(token): token_id for token, token_id in pairs}
        found["all"] = {"contents": sorted(every), "ids": sorted(i for i in every.values() if i is not None)}
        return found

    def template(self) -> Any:
        return getattr(self.tokenizer, "chat_template", None)

    @property
    def renders(self) -> bool:
        return hasattr(self.tokenizer, "apply_chat_template")

    def render(self, messages: list[Any], generation: bool, tools: list[Any] | None, more: dict[str, Any]) -> str:
        extra = {} if tools is None else {"tools": tools}
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation, **extra, **more
            )
        )


def _names_code(path: Path) -> bool:
    try:
        return "auto_map" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


class _Raw(Loaded):
    """``tokenizer.json`` as Rust, JavaScript, ONNX and text-generation servers read it: no other file counts."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    @classmethod
    def of(cls, tokenizer: Any) -> _Raw:
        """Wrap a tokenizer that is loaded already."""
        made = cls.__new__(cls)
        made.tokenizer = tokenizer
        return made

    def encode(self, text: str, *, add_special_tokens: bool = False, pair: str | None = None) -> list[int]:
        return list(self.tokenizer.encode(text, pair, add_special_tokens=add_special_tokens).ids)

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        return [list(e.ids) for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int], skip: bool) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip))

    def describe(self, tables: Tables) -> dict[str, Any]:
        backend = parse_backend(self.tokenizer.to_str(), tables)
        return {
            "class": "Tokenizer",
            "settings": {},
            "specials": {},
            "added_tokens": backend.pop("added_tokens", []),
            "components": backend,
        }


class _SentencePiece(Loaded):
    """A SentencePiece model, with its control pieces read from the text as the Llama tokenizer classes do.

    SentencePiece itself never reads ``<s>`` from a text. With ``legacy`` each segment between control pieces gets the
    dummy prefix, without it only the first.
    """

    _NO_PREFIX = b"\x1a\x02\x18\x00"
    """A second NormalizerSpec with ``add_dummy_prefix = false``: protobuf merges the two, and the last value wins."""

    def __init__(self, folder: Path, legacy: bool = True) -> None:
        models = sentencepiece_files(folder)
        if not models:
            raise FileNotFoundError("there is no .model file")
        self._read(models[0].read_bytes(), legacy)

    @classmethod
    def of_bytes(cls, data: bytes, legacy: bool) -> _SentencePiece:
        """Wrap the bytes of a model."""
        made = cls.__new__(cls)
        made._read(data, legacy)
        return made

    def _read(self, data: bytes, legacy: bool) -> None:
        processor = importlib.import_module("sentencepiece").SentencePieceProcessor
        self.data, self.legacy = data, legacy
        self.tokenizer, self._rest = (
            processor(model_proto=proto) for proto in (data, data if legacy else data + self._NO_PREFIX)
        )
        sp = self.tokenizer
        self.specials = {sp.id_to_piece(i): i for i in range(sp.vocab_size()) if sp.is_control(i) or sp.is_unknown(i)}
        longest = sorted(self.specials, key=len, reverse=True)
        self._splitter = re.compile(f"({'|'.join(map(re.escape, longest))})" if longest else "(?!)")
        first = sp.encode("a", out_type=str)
        self._adds_prefix = bool(first) and first[0].startswith("\u2581")

    def encode(self, text: str, *, add_special_tokens: bool = False, pair: str | None = None) -> list[int]:
        text.encode()  # a lone surrogate is refused, as by the other libraries
        ids = [self.tokenizer.bos_id()] if add_special_tokens and self.tokenizer.bos_id() >= 0 else []
        processor = self.tokenizer
        for segment in filter(None, self._splitter.split(text)):
            ids += [self.specials[segment]] if segment in self.specials else processor.encode(segment)
            processor = self._rest
        return ids + (self.encode(pair) if pair is not None else [])

    def decode(self, ids: list[int], skip: bool) -> str:
        controls = set(self.specials.values())
        if skip:
            return str(self.tokenizer.decode([i for i in ids if i not in controls]))
        parts: list[str] = []
        run: list[int] = []
        for token_id in [*ids, None]:
            if token_id is not None and token_id not in controls:
                run.append(token_id)
                continue
            if run:
                # SentencePiece drops the space of the first piece of every call; only a text's first has none.
                spaced = parts and self._adds_prefix and self.tokenizer.id_to_piece(run[0]).startswith("\u2581")
                parts.append(f"{' ' if spaced else ''}{self.tokenizer.decode(run)}")
                run = []
            if token_id is not None:
                parts.append(self.tokenizer.id_to_piece(token_id))
        return "".join(parts)

    def describe(self, tables: Tables) -> dict[str, Any]:
        document = read_sentencepiece(self.data, tables)
        specials: dict[str, Any] = {}
        for name in ("bos", "eos", "unk", "pad"):
            token_id = getattr(self.tokenizer, f"{name}_id")()
            if token_id >= 0:
                specials[f"{name}_token"] = {"content": self.tokenizer.id_to_piece(token_id), "id": token_id}
        specials["all"] = {"contents": sorted(self.specials), "ids": sorted(self.specials.values())}
        components = {"normalizer": document["normalizer"], "trainer": document["trainer"], "model": document["model"]}
        return {
            "class": "SentencePieceProcessor",
            "settings": {"legacy": self.legacy},
            "specials": specials,
            "added_tokens": [],
            "components": components,
        }


def sentencepiece_files(folder: Path) -> list[Path]:
    """Return the SentencePiece models of a folder; ``tokenizer.model`` stands alone where there is one."""
    if (folder / "tokenizer.model").is_file():
        return [folder / "tokenizer.model"]
    return sorted(path for pattern in ("*.model", "*.model.v*") for path in folder.glob(pattern))


_GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""transformers' class for whatever has no class of its own; it writes no dummy prefix for a SentencePiece model."""


def load(folder: Path, loader: str, options: dict[str, Any]) -> Loaded:
    """Load a folder with ``auto``, ``slow``, ``raw``, ``sentencepiece`` or the name of a transformers class.

    ``auto`` takes AutoTokenizer, but SentencePiece for a model that no ``tokenizer_config.json`` explains.
    """
    if loader == "raw":
        return _Raw(folder)
    legacy = options.get("legacy") is not False
    if loader == "sentencepiece":
        return _SentencePiece(folder, legacy)
    if loader != "auto" or not sentencepiece_files(folder) or (folder / "tokenizer.json").is_file():
        return _Transformers(folder, loader, options)
    explained = (folder / "tokenizer_config.json").is_file()
    if not explained and not (folder / "config.json").is_file():
        return _SentencePiece(folder, legacy)
    loaded = _Transformers(folder, loader, options)
    if type(loaded.tokenizer).__name__ not in _GENERAL:
        return loaded
    return _Transformers(folder, "LlamaTokenizer", options) if explained else _SentencePiece(folder, legacy)


def fitting_loaders(files: dict[str, Path]) -> list[str]:
    """Return the loaders that can read these files, the one that most programs use first."""
    raw = ["raw"] if "tokenizer.json" in files else []
    sentencepiece = (
        ["sentencepiece"] if any(n.endswith(".model") for n in files) and _installed("sentencepiece") else []
    )
    return ["auto", *raw, *sentencepiece]


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


# -- probes --------------------------------------------------------------------------------------------------


def template_places(documents: dict[str, Any]) -> list[dict[str, str]]:
    """Return every chat template of the files: its name, its text, and the file it stands in.

    The first of a name is the one that loaders use. A ``.jinja`` file shadows all that ``tokenizer_config.json`` has,
    and the files of processors (``chat_template.json``) are not read by a tokenizer.
    """
    found = []
    for name, document in documents.items():
        if name == "chat_template.jinja":
            found.append(("default", document, name))
    for name, document in documents.items():
        if name.startswith("additional_chat_templates/") and name.endswith(".jinja"):
            found.append((name[len("additional_chat_templates/") : -len(".jinja")], document, name))
    for name in PROCESSOR_TEMPLATES:
        document = documents.get(name)
        value = document.get("chat_template") if isinstance(document, dict) else None
        found += [(key, text, name) for key, text in named_templates(value).items()]
    for name, document in documents.items():
        if name.endswith(".gguf") and isinstance(document, dict):
            found += [(key, text, name) for key, text in named_templates(document.get("chat_template")).items()]
    return [{"name": name, "text": text, "source": source} for name, text, source in found if isinstance(text, str)]


def named_templates(value: Any) -> dict[str, str]:
    """Return the chat templates of a tokenizer by name; a lone one is called ``default``."""
    if isinstance(value, str):
        value = {"default": value}
    if isinstance(value, (list, tuple)):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
    items = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in items if isinstance(name, str) and isinstance(text, str)}


def file_templates(documents: dict[str, Any]) -> dict[str, str]:
    """Return the chat templates that a loader takes from the files, by name."""
    places = [place for place in template_places(documents) if place["source"] not in PROCESSOR_TEMPLATES[1:]]
    own = [place for place in places if place["source"].endswith(".jinja")]
    return {place["name"]: place["text"] for place in reversed(own or places)}


def special_content(value: Any) -> str | None:
    """Return the text of a special token that a file spells as a string or as an object."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def file_specials(documents: dict[str, Any]) -> dict[str, str]:
    """Return the named special tokens of the files; ``tokenizer_config.json`` has the last word."""
    found = {}
    for name, document in documents.items():
        if name.endswith((".model", ".gguf")) and isinstance(document, dict):
            found.update(document.get("specials", {}))
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        document = documents.get(name)
        if not isinstance(document, dict):
            continue
        for key in SPECIAL_NAMES:
            content = special_content(document.get(key))
            if content:
                found[key] = content
    return found


def file_tokens(documents: dict[str, Any]) -> dict[str, int]:
    """Return every added or control token that some file names, with the id it gives (-1: none)."""
    found: dict[str, int] = {content: -1 for content in file_specials(documents).values()}
    for name, document in documents.items():
        if not isinstance(document, dict):
            continue
        if name == "added_tokens.json":
            found.update({t: i for t, i in document.items() if isinstance(i, int)})
        decoder = document.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            found.update(_named_tokens([(i, t) for i, t in decoder.items()], "content"))
        if name == "tekken.json":
            found.update(_named_tokens(_rows(document.get("special_tokens"), "rank"), "token_str"))
        if name == "tokenizer.json":
            found.update(_named_tokens(_rows(document.get("added_tokens"), "id"), "content"))
        if name.endswith((".model", ".gguf")):
            found.update(
                {piece: -1 for piece, kind in document.get("kinds", {}).items() if kind in ("control", "user_defined")}
            )
    return found


def _rows(value: Any, number: str) -> list[tuple[Any, Any]]:
    return [(t.get(number), t) for t in value if isinstance(t, dict)] if isinstance(value, list) else []


def _named_tokens(rows: list[tuple[Any, Any]], key: str) -> dict[str, int]:
    """Return the tokens of a file by content; a stranger's file may say anything in place of a text or a number."""
    named = [(t[key], i) for i, t in rows if isinstance(t, dict) and isinstance(t.get(key), str)]
    return {content: int(i) if isinstance(i, int) or str(i).isdecimal() else -1 for content, i in named}


def probe_tokens(documents: dict[str, Any]) -> list[str]:
    """Choose the added tokens to probe: those the template writes, then named specials, then the rest by id."""
    tokens = file_tokens(documents)
    template = "".join(file_templates(documents).values())
    named = set(file_specials(documents).values())

    def rank(token: str) -> tuple[bool, bool, bool, int, str]:
        return token not in template, token not in named, bool(RESERVED.search(token)), tokens[token], token

    return sorted((t for t in tokens if t), key=rank)[:TOKEN_LIMIT]


def text_probes(
    corpus: dict[str, Any], documents: dict[str, Any], tokens: list[str], prompts: list[str]
) -> list[dict[str, str]]:
    """Return the text probes: the corpus' own, and its patterns filled with this tokenizer's tokens."""
    specials = file_specials(documents)
    bos, eos = specials.get("bos_token", ""), specials.get("eos_token", "")
    rows = [{"label": f"prompt/{n}", "family": "prompt", "text": text} for n, text in enumerate(prompts)]
    rows += [{"label": p["label"], "family": p["family"], "text": p["text"]} for p in corpus["texts"]]
    for turn in corpus["turns"]:
        text = turn["pattern"].replace("{bos}", bos).replace("{eos}", eos)
        rows.append({"label": f"turns/{turn['label']}", "family": "turns", "text": text})
    for number, token in enumerate(tokens):
        other = tokens[(number + 1) % len(tokens)]
        for context in corpus["contexts"]:
            text = context["pattern"].replace("{token}", token).replace("{other}", other)
            rows.append({"label": f"added/{token}/{context['label']}", "family": "added", "text": text})
    return rows


def _attempt(folder: Path, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what an action gives, or ``{"error": …}``; Rust panics are not ``Exception``."""
    try:
        return action(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        return _told(folder, error)


def _told(folder: Path, error: BaseException) -> dict[str, Any]:
    message = str(error).replace(str(folder), "<source>").strip().split("\n")[0]
    return {"error": f"{type(error).__name__}: {message}"[:300]}


def _outcome(folder: Path, loaded: Loaded, ids: Any) -> dict[str, Any]:
    if isinstance(ids, dict):
        return ids
    keep = _attempt(folder, loaded.decode, ids, False)
    return {"ids": ids, "keep": keep, "skip": _attempt(folder, loaded.decode, ids, True)}


def run_texts(folder: Path, loaded: Loaded, rows: list[dict[str, str]]) -> dict[str, Any]:
    """Return ids and both decoded texts of each probe; one that fails does not take the others with it."""
    results = {}
    texts = list({row["text"]: None for row in rows})
    ids = dict(zip(texts, _encoded(folder, loaded, texts), strict=True))
    for row in rows:
        text = row["text"]
        results[row["label"]] = {"text": text, "family": row["family"], **_outcome(folder, loaded, ids[text])}
    return results


def run_sequences(folder: Path, loaded: Loaded, corpus: dict[str, Any], specials: dict[str, str]) -> dict[str, Any]:
    """Return the ids with special tokens added: what the post-processor writes around a text."""
    bos, eos = specials.get("bos_token", ""), specials.get("eos_token", "")
    results = {}
    for row in corpus["sequences"]:
        text = row["text"].replace("{bos}", bos).replace("{eos}", eos)
        ids = _attempt(folder, loaded.encode, text, add_special_tokens=True, pair=row["pair"])
        results[f"sequence/{row['label']}"] = ids if isinstance(ids, dict) else {"text": text, "ids": ids}
    return results


# -- limits --------------------------------------------------------------------------------------------------


def limited(folder: Path, work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Return ``work`` of each item, done by a child process that may take little time and memory.

    A chat template is a program of strangers.  Jinja's sandbox keeps it from Python's internals, but only a process
    that may not grow, and that can be killed, ends ``'a' * 10**9`` or a loop in a loop.  A fork holds everything that
    is loaded already, so it costs milliseconds and renders under whatever library version this process runs.

    Where ``work`` fails stands ``{"error": …}``; from the first item on that oversteps, ``{"exceeded": …}``.
    """
    if not hasattr(os, "fork"):
        return [{"error": "NotImplementedError: no fork here, so nothing could stop a hostile template"}] * len(items)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child takes no lock of theirs
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _serve(folder, work, items, writer)
        finally:
            os._exit(0)
    os.close(writer)
    status = 0
    try:
        answers, late = _answers(reader, len(items))
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):  # a program that ignores SIGCHLD has no children to wait for
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
    if len(answers) < len(items) and not (answers and isinstance(answers[-1], dict) and "exceeded" in answers[-1]):
        slow = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
        clock = f"{WAIT_SECONDS} s on the clock" if late else "what its process may do"
        why = f"{TEMPLATE_SECONDS} s of processor time" if slow else clock
        answers.append({"exceeded": why})
    return answers + answers[-1:] * (len(items) - len(answers))


def _answers(reader: int, count: int) -> tuple[list[Any], bool]:
    """Read the child's answers, one a line, and whether it was late; a line cut by its death is none."""
    data, deadline, late = bytearray(), time.monotonic() + WAIT_SECONDS, False
    poll = select.poll()
    poll.register(reader)
    while not late and data.count(b"\n") < count:
        late = not poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        part = b"" if late else os.read(reader, 1 << 20)
        if not part:
            break
        data += part
    return [json.loads(line) for line in data.split(b"\n")[:-1]], late


def _serve(folder: Path, work: Callable[[Any], Any], items: list[Any], pipe: int) -> None:
    """The child's life: give up the right to grow, then answer until the end or the first overstepping."""
    gc.freeze()  # what the parent has to clean up is not cleaned up here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    signal.setitimer(signal.ITIMER_PROF, TEMPLATE_SECONDS)
    with contextlib.suppress(OSError):  # only Linux tells its size, and keeps the limit
        _limit_memory()
    for item in items:
        try:
            answer = work(item)
            text = answer.get("text") if isinstance(answer, dict) else answer
            if isinstance(text, str) and len(text) > TEMPLATE_CHARACTERS:
                answer = {"exceeded": f"{TEMPLATE_CHARACTERS} characters"}
        except MemoryError:
            answer = {"exceeded": f"{TEMPLATE_BYTES // 2**20} MB of memory"}
        except RecursionError:
            answer = {"exceeded": "the depth of recursion"}
        except BaseException as error:
            answer = _told(folder, error)
        line = json.dumps(answer).encode() + b"\n"
        while line:
            line = line[os.write(pipe, line) :]
        if isinstance(answer, dict) and "exceeded" in answer:
            return


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = size + TEMPLATE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


# -- chat templates ------------------------------------------------------------------------------------------


def jinja_environment() -> Any:
    """Return the sandboxed Jinja that transformers gives to a chat template; its clock stands still."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """``{% generation %}``: marks what the model wrote, for training; it renders as if it were not there."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Callable[[], str]) -> str:
            return caller()

    class Mapping:
        """``dict`` without the attributes of Python's own."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=raise_exception, strftime_now=CLOCK.strftime, dict=Mapping())
    return environment


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    return jinja_environment().from_string(template)


class Watched:
    """A template whose renders tell which of its branches they went through; the text is that of the plain one.

    A branch is the body of an ``if``, ``elif``, ``else``, ``for`` or macro, or a side of an inline ``if``.
    """

    def __init__(self, template: str) -> None:
        import jinja2

        self.branches: list[tuple[int, str]] = []
        """Line and kind of each branch."""
        self.reached: set[int] = set()
        """Numbers of the branches that some render went through."""
        environment = jinja_environment()
        environment.globals.update(_reached=self._reached, strftime_now=self._now)
        self._clock = CLOCK
        self.asked_clock = False
        tree = environment.parse(template)
        self.random = any(node.name == "random" for node in tree.find_all(jinja2.nodes.Filter)) or any(
            node.name == "lipsum" for node in tree.find_all(jinja2.nodes.Name)
        )
        self._watch(tree, jinja2.nodes)
        tree.set_environment(environment)
        code = environment.compile(tree, "<template>", "<template>")
        self._template = environment.template_class.from_code(environment, code, environment.make_globals(None))

    def render(self, values: dict[str, Any], clock: datetime.datetime = CLOCK, seed: int = 0) -> str:
        """Return what the template writes, were it this time and were chance to fall this way."""
        self._clock, self.asked_clock = clock, False
        random.seed(seed)
        return without_addresses(str(self._template.render(**values)))

    def moving(self, values: dict[str, Any], text: str) -> list[str]:
        """Return what else than its messages the text depends on: ``clock``, ``random``."""
        found = ["address"] if ADDRESS.search(text) else []
        if self.asked_clock and self.render(values, LATER) != text:
            found.append("clock")
        if self.random and any(self.render(values, seed=seed) != text for seed in range(1, 4)):
            found.append("random")
        return found

    def unreached(self, reached: set[int]) -> list[dict[str, Any]]:
        """Return line and kind of the branches that no render went through."""
        return [{"line": line, "branch": kind} for n, (line, kind) in enumerate(self.branches) if n not in reached]

    def _reached(self, number: int, value: Any = "") -> Any:
        self.reached.add(number)
        return value

    def _now(self, form: str) -> str:
        self.asked_clock = True
        return self._clock.strftime(form)

    def _mark(self, node: Any, kind: str, nodes: Any, *value: Any) -> Any:
        self.branches.append((node.lineno, kind))
        name = nodes.Name("_reached", "load")
        return nodes.Call(name, [nodes.Const(len(self.branches) - 1), *value], [], None, None).set_lineno(node.lineno)

    def _watch(self, node: Any, nodes: Any) -> None:
        if isinstance(node, nodes.CondExpr):
            node.expr1 = self._mark(node.expr1, "inline if", nodes, node.expr1)
            node.expr2 = node.expr2 and self._mark(node.expr2, "inline else", nodes, node.expr2)
        kinds = {nodes.If: ("if", "else"), nodes.For: ("for", "for else"), nodes.Macro: ("macro", "")}
        for cls, names in kinds.items():
            if isinstance(node, cls):
                for body, kind in zip((node.body, getattr(node, "else_", [])), names, strict=True):
                    if body:
                        body.insert(0, nodes.Output([self._mark(body[0], kind, nodes)]).set_lineno(body[0].lineno))
        for child in node.iter_child_nodes():
            self._watch(child, nodes)


def chat_items(corpus: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    """Return label, dialogue and generation prompt of each render; those that hold a token of the template come last."""
    items = [
        (f"{dialogue['label']}{'/reply' if generation else ''}", dialogue, generation)
        for dialogue in corpus["dialogues"]
        for generation in dialogue.get("generation", (False, True))
    ]
    return sorted(items, key=lambda item: "{special}" in canonical(item[1]["messages"]))


def injected_token(tokens: Any, texts: list[str]) -> str:
    """Return the token that the texts hold most often: what a user would have to type to forge a turn.

    Chosen from what is rendered, and not from a template's source, where a comment may name any token.
    """
    counts = {token: sum(text.count(token) for text in texts) for token in sorted(tokens) if token}
    best = max(counts, key=lambda token: counts[token], default="")
    return best if best and counts[best] else "</s>"


def _filled(value: Any, special: str) -> Any:
    if isinstance(value, str):
        return value.replace("{special}", special)
    if isinstance(value, dict):
        return {key: _filled(item, special) for key, item in value.items()}
    return [_filled(item, special) for item in value] if isinstance(value, list) else value


def _asked(corpus: dict[str, Any], dialogue: dict[str, Any], special: str) -> tuple[Any, Any, dict[str, Any]]:
    """Return messages, tools and further variables of a render."""
    tools = [corpus["tools"][name] for name in dialogue.get("tools", ())]
    return _filled(dialogue["messages"], special), tools or None, dialogue.get("variables", {})


def given(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as transformers gives it to a template.

    What is null is left out, since templates would write ``None``, and reasoning stands under each of its names.
    """
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next(
        (message[name] for name in ("reasoning_content", "thinking", "reasoning") if name in message), None
    )
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def without_addresses(text: str) -> str:
    """Return a text in which no object's place in memory stands: no two processes would write the same."""
    return ADDRESS.sub(" at 0x0", text)


def _once(kept: dict[str, Any], template: str) -> Watched:
    """Return the compiled template; one that does not compile is not tried again for each render."""
    if "watched" not in kept:
        try:
            kept["watched"] = Watched(template)
        except Exception as error:
            kept["watched"] = error
    if isinstance(kept["watched"], Exception):
        raise kept["watched"]
    found: Watched = kept["watched"]
    return found


class Chats:
    """The renders of one record: each template is rendered once here, for all loaders that have no code of their own."""

    def __init__(self, folder: Path, request: dict[str, Any], documents: dict[str, Any]) -> None:
        self.folder, self.corpus, self.injected = folder, request["corpus"], request.get("injected")
        self.items = chat_items(self.corpus)
        self.specials, self.tokens = file_specials(documents), file_tokens(documents)
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(ImportError):  # then each render says so
            importlib.import_module("jinja2.sandbox")
            importlib.import_module("jinja2.ext")

    def own(self, template: str) -> dict[str, Any]:
        """Return ``rows`` by label, ``injected`` and what the template is: ``unreached`` branches, ``moves``."""
        if template not in self._known:
            self._known[template] = self._watched(template)
        return self._known[template]

    def _watched(self, template: str) -> dict[str, Any]:
        kept: dict[str, Any] = {"texts": [], "special": self.injected}

        def render(item: Any) -> dict[str, Any]:
            watched = _once(kept, template)
            if item is None:
                return {"unreached": watched.unreached(watched.reached), "random": watched.random}
            _, dialogue, generation = item
            if kept["special"] is None and "{special}" in canonical(dialogue["messages"]):
                kept["special"] = injected_token(self.tokens, kept["texts"])
            messages, tools, more = _asked(self.corpus, dialogue, kept["special"] or "")
            messages = [given(message) for message in messages]
            values = {**self.specials, "messages": messages, "tools": tools, "documents": None}
            values.update(more, add_generation_prompt=generation)
            text = watched.render(values)
            kept["texts"].append(text)
            return {"text": text, "moves": watched.moving(values, text), "special": kept["special"]}

        *answers, told = limited(self.folder, render, [*self.items, None])
        special = next((answer["special"] for answer in answers if answer.get("special")), None)
        moves = sorted({move for answer in answers for move in answer.get("moves", ())})
        rows = {label: answer for (label, _, _), answer in zip(self.items, answers, strict=True)}
        found: dict[str, Any] = {"rows": rows, "injected": special or "</s>", "moves": moves}
        if "unreached" in told:
            found["unreached"] = told["unreached"]
            found["moves"] = sorted({*moves, *(["random"] if told["random"] else [])})
        return found

    def library(self, loaded: Loaded, name: str, template: str, special: str) -> dict[str, Any]:
        """Return the rows that the library's own code renders, so that its changes are seen too."""

        def render(item: Any) -> dict[str, Any]:
            _, dialogue, generation = item
            messages, tools, more = _asked(self.corpus, dialogue, special)
            random.seed(0)
            chosen = None if name == "default" else template
            text = loaded.render(messages, generation, tools, {**more, "chat_template": chosen})
            return {"text": without_addresses(text)}

        answers = limited(self.folder, render, self.items)
        return {label: answer for (label, _, _), answer in zip(self.items, answers, strict=True)}


def run_dialogues(
    folder: Path, loaded: Loaded, templates: dict[str, str], chats: Chats
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Render each dialogue with each template within limits, encode the renders and decode them again.

    Returns the renders by label, and by a template's name what it is; renders of ``default`` have no name in theirs.
    """
    facts = {name: chats.own(template) for name, template in templates.items()}
    special = next((facts[name]["injected"] for name in ("default", *sorted(facts)) if name in facts), None)
    chats.injected = chats.injected or special
    rows = {}
    for name in sorted(templates, key=lambda name: (name != "default", name)):
        if loaded.template() is not None and loaded.renders:
            found = chats.library(loaded, name, templates[name], special or "")
        else:
            found = dict(facts[name]["rows"])
            if name == "default" and "tool_use" in templates:  # transformers takes it where tools are given
                offered = [label for label, dialogue, _ in chats.items if dialogue.get("tools")]
                found.update({label: facts["tool_use"]["rows"][label] for label in offered})
        for label, dialogue, _ in chats.items:
            moves = facts[name]["rows"][label].get("moves")
            row = {"roles": dialogue["roles"], **({"moves": moves} if moves else {})}
            if name == "default":
                rows[f"chat/{label}"] = row, found[label]
            else:
                rows[f"chat/@{name}/{label}"] = {**row, "roles": "named", "template": name}, found[label]
    return _encoded_chats(folder, loaded, rows), facts


def _encoded_chats(folder: Path, loaded: Loaded, rows: dict[str, Any]) -> dict[str, Any]:
    texts = sorted({answer["text"] for _, answer in rows.values() if "text" in answer})
    ids = dict(zip(texts, _encoded(folder, loaded, texts), strict=True))
    known: dict[int, str] = {}
    outcomes = {}
    for text in texts:
        outcomes[text] = {"text": text, **_outcome(folder, loaded, ids[text])}
        if not isinstance(ids[text], dict):
            outcomes[text]["joined"] = _attempt(folder, _joined, loaded, ids[text], known)
    results = {}
    for label, (row, answer) in rows.items():
        failed = {"exceeded": answer["exceeded"]} if "exceeded" in answer else {"render_error": answer.get("error")}
        results[label] = {**row, **(outcomes[answer["text"]] if "text" in answer else failed)}
    return results


def _encoded(folder: Path, loaded: Loaded, texts: list[str]) -> list[Any]:
    """Return the ids of each text, or its error; together where the library takes them so."""
    valid = [text for text in texts if not SURROGATE.search(text)]
    batch = _attempt(folder, loaded.encode_many, valid)
    known = dict(zip(valid, batch, strict=True)) if isinstance(batch, list) else {}
    return [known[text] if text in known else _attempt(folder, loaded.encode, text) for text in texts]


def _joined(loaded: Loaded, ids: list[int], known: dict[int, str]) -> str:
    for token_id in ids:
        if token_id not in known:
            known[token_id] = loaded.decode([token_id], False)
    return "".join(known[token_id] for token_id in ids)


def template_rows(loaded: Loaded, documents: dict[str, Any], templates: dict[str, str], facts: Any) -> list[Any]:
    """Return every chat template that the files or the library have, and of those that this loader uses what they are."""
    places = template_places(documents)
    rows = []
    for name, text in templates.items():
        place = next((p for p in places if (p["name"], p["text"]) == (name, text)), None)
        places = [p for p in places if p is not place]
        told = {key: facts[name][key] for key in ("moves", "unreached") if facts[name].get(key)}
        rows.append(
            {"name": name, "text": text, "source": place["source"] if place else "library", "used": True, **told}
        )
    return rows + [{**place, "used": False} for place in places]


# -- the record ----------------------------------------------------------------------------------------------


def view(
    folder: Path, loader: str, request: dict[str, Any], documents: dict[str, Any], tables: Tables, chats: Chats
) -> dict[str, Any]:
    """Return what one loader makes of the files, or ``{"error": …}`` when it cannot load them."""
    opened = request.get("open", {}).get(loader, load)
    loaded: Any = _attempt(folder, opened, folder, loader, request.get("options", {}))
    if isinstance(loaded, dict):
        return loaded
    static: dict[str, Any] = _attempt(folder, loaded.describe, tables)
    if "error" in static:
        return static
    corpus, tokens = request["corpus"], request["tokens"]
    own = loaded.template()
    templates = named_templates(own) if own is not None else file_templates(documents)
    static["probes"] = run_texts(folder, loaded, text_probes(corpus, documents, tokens, request.get("prompts", [])))
    static["sequences"] = run_sequences(folder, loaded, corpus, file_specials(documents))
    static["chats"], facts = run_dialogues(folder, loaded, templates, chats)
    static["templates"] = template_rows(loaded, documents, templates, facts)
    default = next((row for row in static["templates"] if row["used"] and row["name"] == "default"), None)
    static["template"] = {key: default[key] if default else None for key in ("source", "text")}
    exceeded = next((chat["exceeded"] for chat in static["chats"].values() if "exceeded" in chat), None)
    if exceeded is not None:
        static["template"]["exceeded"] = exceeded
    return static


def record(request: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a folder.

    Args:
        request: ``folder``; ``corpus`` (the parsed probe corpus); and, as wanted, ``loaders`` (default: all
            that fit), ``options`` for ``from_pretrained``, ``prompts`` (texts of the user's own), ``also`` (added
            tokens to be probed before those of its own choice), ``injected`` (the token that a user types) and
            ``versions`` (those of the libraries, where they are known). Where a program calls, ``open`` may hold
            functions that load in place of :func:`load`, by loader, and ``documents`` the meaning of files that this
            one cannot parse.

    Raises:
        FileNotFoundError: the folder holds no tokenizer file.
    """
    folder = Path(request["folder"]).absolute()  # a short relative name could be part of any word of an error
    files = tokenizer_files(folder)
    if not files:
        raise FileNotFoundError(f"no tokenizer file in {folder}: expected tokenizer.json, tokenizer.model or the like")
    tables = Tables()
    blobs = {name: b"" if name.endswith(".gguf") else path.read_bytes() for name, path in files.items()}
    documents = {name: read_document(name, data, tables) for name, data in blobs.items()}
    for name, document in request.get("documents", {}).items():
        big = {key: tables.put(document[key]) for key in ("vocab", "scores", "merges") if key in document}
        documents[name] = {**document, **big}
    own = probe_tokens(documents)
    # What the other side has comes first and in one order, or the neighbours of a token would differ between the sides.
    tokens = list(dict.fromkeys([*request.get("also", ()), *own]))
    loaders = list(request.get("loaders") or fitting_loaders(files))
    chats = Chats(folder, request, documents)
    with quiet() if any(name != "raw" for name in loaders) else contextlib.nullcontext():
        asked = {**request, "tokens": tokens}
        views = {loader: view(folder, loader, asked, documents, tables, chats) for loader in loaders}
    return {
        "schema": SCHEMA,
        "files": {
            name: {"sha256": file_sha256(files[name], data), "size": files[name].stat().st_size}
            for name, data in blobs.items()
        },
        "documents": {name: document for name, document in documents.items() if document is not None},
        "tables": dict(tables),
        "tokens": tokens,
        "injected": chats.injected,
        "loaders": loaders,
        "options": request.get("options", {}),
        "corpus": {"version": request["corpus"]["version"], "sha256": sha256(canonical(request["corpus"]))},
        "prompts": list(request.get("prompts", [])),
        "versions": request.get("versions") or library_versions(),
        "views": views,
    }


def file_sha256(path: Path, data: bytes = b"") -> str:
    """Return the sha256 of a file, read in pieces unless its bytes are at hand."""
    if data:
        return sha256(data)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class _Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return CLOCK


_QUIET = threading.RLock()
"""The clock and the log are of the whole process: a second thread would put back what the first one put there."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Stop transformers' log, which the record tells anyway, and its clock, which would make a record age."""
    with _QUIET:
        logger = importlib.import_module("logging").getLogger("transformers")
        level = logger.level
        logger.setLevel("CRITICAL")
        clock: Any = None
        with contextlib.suppress(ImportError):  # absent before transformers 4.4x, where templates know no clock
            clock = importlib.import_module("transformers.utils.chat_template_utils")
        real = getattr(clock, "datetime", None)
        if real is not None:
            clock.datetime = _Frozen
        try:
            yield
        finally:
            logger.setLevel(level)
            if real is not None:
                clock.datetime = real


def main(request_path: str, result_path: str) -> None:
    """Read a request, write its record, under another name first so that no half file is ever seen."""
    with open(request_path, encoding="utf-8") as file:
        result = record(json.load(file))
    with open(f"{result_path}.part", "w", encoding="utf-8") as file:
        file.write(canonical(result))
    os.replace(f"{result_path}.part", result_path)


if __name__ == "__main__":
    if sys.argv[1:] == ["--versions"]:
        print(canonical(library_versions()))
    else:
        main(*sys.argv[1:3])
