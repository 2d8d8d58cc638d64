"""Files whose numbers nobody means: sizes, counts, ids and depths that a reader may take by their word."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.bytewise import ranks, write_tekken
from tests.support.injections import copy_of

Maker = Callable[[Path], Path]
BIG = 2**63 - 1


def _folder(folder: Path) -> Path:
    return copy_of("byte-bpe", folder)


def _bytes(name: str, *parts: bytes, times: int = 1, size: int | None = None) -> Maker:
    """A file of a head, a middle that is repeated, and a tail; with ``size``, a hole up to there."""

    def make(folder: Path) -> Path:
        with (_folder(folder) / name).open("wb") as file:
            head, middle, tail = [*parts, b"", b""][:3]
            file.write(head + middle * times + tail)
            if size is not None:
                file.truncate(size)
        return folder

    return make


def _state(change: Callable[[dict[str, Any]], Any]) -> Maker:
    def make(folder: Path) -> Path:
        path = _folder(folder) / "tokenizer.json"
        state = json.loads(path.read_text())
        change(state)
        path.write_text(json.dumps(state))
        return folder

    return make


def _vocabulary(token_id: int) -> Maker:
    return _state(lambda state: state["model"]["vocab"].update({"absurd": token_id}))


def _added(token_id: int) -> Maker:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    token = {"id": token_id, "content": "<absurd>", "special": True, **flags}
    return _state(lambda state: state["added_tokens"].append(token))


def _merges(state: dict[str, Any]) -> None:
    vocab = [piece for piece in state["model"]["vocab"] if len(piece) == 1][:2]
    state["model"]["merges"] = [vocab] * 5_000_000


def _pieces(state: dict[str, Any]) -> None:
    state["model"]["vocab"].update({f"p{n}": len(state["model"]["vocab"]) + n for n in range(2_000_000)})


def _model(**fields: Any) -> Maker:
    return _state(lambda state: state.update(model=fields))


def _alone(name: str, data: bytes | Callable[[], bytes], size: int | None = None) -> Maker:
    def make(folder: Path) -> Path:
        folder.mkdir()
        path = folder / name
        with path.open("wb") as file:
            file.write(data() if callable(data) else data)
            if size is not None:
                file.truncate(size)
        return path

    return make


def _varint(number: int) -> bytes:
    return (number & 0x7F | 0x80).to_bytes(1, "little") + _varint(number >> 7) if number > 127 else bytes([number])


def _sized(field: int, data: bytes, size: int | None = None) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data) if size is None else size) + data


_PIECE = _sized(1, _sized(1, b"a") + b"\x15\0\0\0\0")
_UNKNOWN = _sized(1, _sized(1, b"<unk>") + b"\x15\0\0\0\0\x18\x02")


def _text(data: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(data) if size is None else size) + data


def _gguf(*fields: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    held = len(fields) + 2 * (_TOKENS in fields)  # three in one
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, held if count is None else count) + b"".join(fields)


def _array(kind: int, size: int, data: bytes = b"", key: bytes = b"tokenizer.ggml.tokens") -> bytes:
    return _text(key) + struct.pack("<IIQ", 9, kind, size) + data


_PIECES = _array(8, 3, _text(b"<unk>") + _text(b"a") + _text(b"b"))
_TOKENS = (
    _PIECES
    + _array(6, 3, b"\0" * 12, key=b"tokenizer.ggml.scores")
    + _array(5, 3, struct.pack("<3i", 2, 1, 1), key=b"tokenizer.ggml.token_type")
)
_LLAMA = _text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + _text(b"llama")


def _number(key: bytes, number: int) -> bytes:
    return _text(key) + struct.pack("<II", 4, number)


def _tekken(change: Callable[[dict[str, Any]], Any]) -> Maker:
    def make(folder: Path) -> Path:
        folder.mkdir()
        path = write_tekken(folder / "tekken.json")
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return path

    return make


def _ranked(line: bytes) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks().items()) + line


MEGABYTE = 2**20
ABSURD: dict[str, Maker] = {
    **{f"200 MB of JSON in {name}": _bytes(name, b'{"a": "', b'"}', times=1, size=200 * MEGABYTE)
       for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "chat_template.jinja")},
    "200 MB of a vocabulary": _bytes("vocab.json", b"{", b" ", b"}", times=200 * MEGABYTE),
    "lists that grow as they are read": _bytes("tokenizer_config.json", b'{"a": [', b"[],", b"[]]}", times=5 * MEGABYTE),
    "100 MB of lists in tokenizer.json": _bytes("tokenizer.json", b'{"a": [', b"[],", b"[]]}", times=33 * MEGABYTE),
    **{f"nesting in {name}": _bytes(name, b'{"a": ', b"[", times=1_000_000)
       for name in ("tokenizer.json", "tokenizer_config.json", "config.json")},
    "a closed nesting": _bytes("tokenizer_config.json", b'{"a": ' + b"[" * 500_000, b"]" * 500_000, b"}"),
    **{f"an id of {token_id}": _vocabulary(token_id) for token_id in (2**31, 2**32 - 1, 2**32, BIG, -1)},
    **{f"an added id of {token_id}": _added(token_id) for token_id in (2**31, 2**32 - 1, 2**63)},
    "5 million merges": _state(_merges),
    "2 million pieces": _state(_pieces),
    "an unknown id beyond": _model(type="Unigram", vocab=[["a", 0.0]], unk_id=2**40),
    "a score that is none": _model(type="Unigram", vocab=[["a", 1e308], ["b", -1e308]], unk_id=0),
    "a cache of everything": _model(type="WordPiece", vocab={"[UNK]": 0}, unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=2**62),
    "a truncation of everything": _state(lambda s: s.update(truncation={"direction": "Right", "max_length": 2**62, "strategy": "LongestFirst", "stride": 0})),
    "a padding to everything": _state(lambda s: s.update(padding={"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"})),
    "nested steps": _state(lambda s: s.update(normalizer=_nested(250))),
    "a repetition of everything": _state(lambda s: s.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(?:a{1000}){1000}{1000}"}, "behavior": "Isolated", "invert": False})),
    "continuation bytes": _alone("tokenizer.model", lambda: b"\x0a" + b"\x80" * 2_000_000),
    "a piece of 2**63 bytes": _alone("tokenizer.model", _UNKNOWN + _sized(1, b"a", BIG)),
    "a piece of 2 GB": _alone("tokenizer.model", _UNKNOWN + _sized(1, b"a", 2**31 - 1)),
    "4 million pieces": _alone("tokenizer.model", lambda: _UNKNOWN + _PIECE * 4_000_000),
    "a vocabulary of 2**31": _alone("tokenizer.model", _UNKNOWN + _PIECE + _sized(2, b"\x20" + _varint(2**31 - 1) + b"\xc0\x02" + _varint(2**31 - 1))),
    "a map of 1 GB": _alone("tokenizer.model", _UNKNOWN + _PIECE + _sized(3, _sized(2, struct.pack("<I", 2**30) + b"\xff" * 1000))),
    "groups in groups": _alone("tokenizer.model", lambda: _UNKNOWN + _PIECE + b"\x5b" * 1_000_000),
    "a rank of 2**63": _alone("a.tiktoken", _ranked(b"YWJj 9223372036854775807\n")),
    "a rank of many digits": _alone("a.tiktoken", lambda: _ranked(b"YWJj " + b"9" * 100_000 + b"\n")),
    "one line of 100 MB": _alone("a.tiktoken", lambda: _ranked(b"Y" * 100 * MEGABYTE + b" 300\n")),
    "3 million ranks": _alone("a.tiktoken", lambda: _ranked(b"".join(b"%s %d\n" % (base64.b64encode(b"x%d" % n), 300 + n) for n in range(3_000_000)))),
    **{f"{name} of 2**40 in tekken.json": _tekken(lambda d, name=name: d["config"].update({name: 2**40}))
       for name in ("default_vocab_size", "num_vocab_tokens", "default_num_special_tokens")},
    "a vocabulary and specials of 2**40 in tekken.json": _tekken(lambda d: d["config"].update(default_vocab_size=2**40, default_num_special_tokens=2**40)),
    "a rank of 2**40 in tekken.json": _tekken(lambda d: d["vocab"][-1].update(rank=2**40)),
    "a special rank of 2**40 in tekken.json": _tekken(lambda d: d["special_tokens"][-1].update(rank=2**40)),
    **{f"{number} fields": _alone("m.gguf", _gguf(_LLAMA, _TOKENS, count=number)) for number in (BIG, 2**64 - 1)},
    **{f"{number} tensors": _alone("m.gguf", _gguf(_LLAMA, _TOKENS, tensors=number)) for number in (BIG, 2**64 - 1)},
    **{f"an array of {number} values of kind {kind}": _alone("m.gguf", _gguf(_LLAMA, _array(kind, number)))
       for number in (2**31, BIG, 2**64 - 1) for kind in (0, 7, 8, 9, 12)},
    **{f"a string of {number}": _alone("m.gguf", _gguf(_LLAMA, _text(b"x") + struct.pack("<I", 8) + _text(b"", number))) for number in (BIG, 2**64 - 1)},
    "a key of 2**63": _alone("m.gguf", _gguf(_text(b"a", BIG))),
    "a hole of numbers": _alone("m.gguf", _gguf(_LLAMA, _TOKENS, _array(0, 200 * MEGABYTE, key=b"tokenizer.x")), 1000 * MEGABYTE),
    "a hole of strings": _alone("m.gguf", _gguf(_LLAMA, _array(8, 15 * MEGABYTE)), 1000 * MEGABYTE),
    "a hole of fields": _alone("m.gguf", _gguf(_LLAMA, _TOKENS, count=10**9), 1000 * MEGABYTE),
    "a terabyte": _alone("m.gguf", _gguf(_LLAMA, _TOKENS), 2**40),
    "ids beyond the vocabulary": _alone("m.gguf", _gguf(_LLAMA, _TOKENS, *(_number(b"tokenizer.ggml.%s_token_id" % name, 2**32 - 1) for name in (b"bos", b"eos", b"unknown", b"padding")))),
    "scores for fewer pieces": _alone("m.gguf", _gguf(_LLAMA, _PIECES, _array(6, 1, b"\0" * 4, key=b"tokenizer.ggml.scores"), _array(5, 1, b"\0" * 4, key=b"tokenizer.ggml.token_type"))),
}  # fmt: skip


def _nested(depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step
