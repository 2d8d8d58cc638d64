"""The reading of ``load_tokenizer`` as a recorder's loader: files that transformers alone reads otherwise, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chatlab.errors import RevisionCompareError
from chatlab.snapshots import recorder
from chatlab.snapshots.gguf_document import gguf_documents
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer
from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer
from chatlab.tokenizers.source import Source

Open = Callable[[Path, str, dict[str, Any]], recorder.Loaded]

HERE = Path(__file__).parent.parent / "tokenizers"


def opened_place(source: Source, options: Mapping[str, Any]) -> Path | None:
    """Return what ``load_tokenizer`` is to open, or ``None`` where the recorder's own way is the same.

    A folder with a ``tokenizer.json`` goes to AutoTokenizer either way; options beyond ``legacy`` only AutoTokenizer has.

    Raises:
        RevisionCompareError: there are such options, and a GGUF file.
    """
    alone = source.kind in ("file", "gguf") and source.place is not None
    if source.kind == "gguf" and options.keys() - {"legacy"}:
        raise RevisionCompareError(
            f"{source.name}: a GGUF file says itself how it is read: leave {', '.join(options)} out"
        )
    if not alone and (source.folder / "tokenizer.json").is_file() or options.keys() - {"legacy"}:
        return None
    return source.place if alone and source.place is not None else source.folder


def record_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a record; a child's whole work.

    ``asked`` is the recorder's ``request``, ``place`` (what ``load_tokenizer`` opens, or null) and the ``limits`` of
    renders, by the recorder's names for them.
    """
    vars(recorder).update(asked["limits"])  # as the asker has them, and this process answers nobody else
    opened = {"auto": _opened(asked["place"])} if asked["place"] else {}
    documents = gguf_documents(Path(asked["request"]["folder"]))
    return recorder.record({**asked["request"], "open": opened, "documents": documents})


def _opened(place: str) -> Open:
    def opened(folder: Path, loader: str, options: dict[str, Any]) -> recorder.Loaded:
        return adapted(load_tokenizer(place, legacy=options.get("legacy")))

    return opened


def reader_sha256() -> str:
    """Return a hash of the code that reads: a part of what decides a record that it made."""
    return recorder.sha256("".join(path.read_text(encoding="utf-8") for path in sorted(HERE.rglob("*.py"))))


def adapted(tokenizer: Tokenizer) -> recorder.Loaded:
    """Return a tokenizer behind the recorder's face; by the library's own object where it has one."""
    wrapped = getattr(tokenizer, "wrapped", None)
    if wrapped is not None:
        return recorder._Transformers.of(wrapped)
    if isinstance(tokenizer, FastTokenizer):
        return recorder._Raw.of(tokenizer.rust)
    if isinstance(tokenizer, SentencePieceTokenizer):
        return recorder._SentencePiece.of_bytes(tokenizer.serialized_model(), tokenizer.legacy)
    return Opened(tokenizer)


class Opened(recorder.Loaded):
    """Any tokenizer of this house: tekken, tiktoken, llama.cpp."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._ours: Tokenizer = tokenizer
        self.tokenizer = tokenizer

    def encode(self, text: str, *, add_special_tokens: bool = False, pair: str | None = None) -> list[int]:
        """Return the ids of a text; a second one follows without special tokens."""
        ids = self._ours.encode(text, add_special_tokens=add_special_tokens)
        return [*ids, *(self._ours.encode(pair) if pair is not None else [])]

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of many texts."""
        return self._ours.encode_batch(texts)

    def decode(self, ids: list[int], skip: bool) -> str:
        """Return the text of ids."""
        return self._ours.decode(ids, skip_special_tokens=skip)

    def describe(self, tables: recorder.Tables) -> dict[str, Any]:
        """Return its special tokens and its vocabulary; two ids of one piece keep apart by their number."""
        vocabulary: dict[str, int] = {}
        for token_id in range(self._ours.vocab_len):
            piece = self._ours.piece(token_id)
            vocabulary[piece if piece not in vocabulary else f"{piece}#{token_id}"] = token_id
        special = dict(self._ours.special_strs)
        tokens = [
            {"id": i, "content": t, "special": True} for t, i in sorted(special.items(), key=lambda item: item[1])
        ]
        return {
            "class": type(self._ours).__name__,
            "settings": {},
            "specials": {"all": {"contents": sorted(special), "ids": sorted(special.values())}},
            "added_tokens": tokens,
            "components": {"model": {"type": self._ours.loader, "vocab": tables.put(vocabulary)}},
        }
