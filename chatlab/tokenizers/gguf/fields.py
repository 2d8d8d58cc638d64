"""Read the metadata of a GGUF file, and nothing of its weights.

The standard library alone, so that any environment can run it. Format: github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Fields = dict[str, Any]

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The ``struct`` letter of each value type that has a fixed size."""
STRING, ARRAY = 8, 9
METADATA_LIMIT = 128 * 2**20
"""Bytes at a file's beginning in which its metadata have to end; those of the biggest vocabularies have 20 million."""
VALUES_LIMIT = 2**22
"""Values that all metadata hold together at most, a string counted twice and a field 64 times, as they take time.

A vocabulary of 900,000 pieces with scores and types has 3.6 million.
"""
TOKEN_TYPES = {1: "normal", 2: "unknown", 3: "control", 4: "user_defined", 5: "unused", 6: "byte"}


def read_fields(path: Path) -> Fields:
    """Return every metadata field of a GGUF file, in the file's order; strings are text, arrays are lists.

    Raises:
        ValueError: it is no GGUF file, or one that ends within its metadata.
    """
    return {key: value for key, value, _ in entries(path)}


def entries(path: Path) -> Iterator[tuple[str, Any, bytes]]:
    """Yield each metadata field with its value and the bytes that say both."""
    with path.open("rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = mmap.mmap(file.fileno(), min(size, METADATA_LIMIT), access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ValueError("no GGUF file: it is empty") from error
    with data:
        yield from _Reader(data).entries()


def tokenizer_fields(path: Path) -> Fields:
    """Return what a GGUF file says of its tokenizer: ``tokenizer.*``, its architecture and its model's name.

    llama.cpp decides by all of them: the architecture and the name choose exceptions for single models.
    """
    return {key: value for key, value in read_fields(path).items() if tells_of_tokenizer(key)}


def tells_of_tokenizer(key: str) -> bool:
    """Whether a metadata field can change how text is read."""
    return key.startswith("tokenizer.") or key in ("general.architecture", "general.name")


def token_types(fields: Mapping[str, Any]) -> list[str]:
    """Return the kind of each piece; a file without types has normal pieces only."""
    numbers = fields.get("tokenizer.ggml.token_type") or [1] * len(fields["tokenizer.ggml.tokens"])
    return [TOKEN_TYPES.get(number, "normal") for number in numbers]


class _Reader:
    """A place in the bytes of a file; nothing is taken that the file does not hold."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.left = data, 0, VALUES_LIMIT

    def entries(self) -> Iterator[tuple[str, Any, bytes]]:
        if self._bytes(4) != b"GGUF":
            raise ValueError("no GGUF file: it does not begin with GGUF")
        version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}: 2 and 3 are read")
        _, count = self._number("Q"), self._number("Q")
        for _ in range(count):
            self._count(64)
            start, key = self.at, self._text()
            value = self._value(self._number("I"))
            yield key, value, self.data[start : self.at]

    def _value(self, kind: int) -> Any:
        return self._text() if kind == STRING else self._list() if kind == ARRAY else self._number(_letter(kind))

    def _list(self) -> list[Any]:
        kind, size = self._number("I"), self._number("Q")
        self._count(2 * size if kind == STRING else size)
        if kind == STRING:
            self._require(size * 8)  # each has at least its length
            return [self._text() for _ in range(size)]
        letter = _letter(kind)
        return list(struct.unpack(f"<{size}{letter}", self._bytes(size * struct.calcsize(f"<{letter}"))))

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError(f"a GGUF file whose metadata hold more than {VALUES_LIMIT} values")

    def _text(self) -> str:
        return self._bytes(self._number("Q")).decode("utf-8", "surrogateescape")

    def _number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self._bytes(struct.calcsize(f"<{letter}")))[0]

    def _bytes(self, size: int) -> bytes:
        self._require(size)
        self.at += size
        return self.data[self.at - size : self.at]

    def _require(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise ValueError(
                f"a GGUF file that ends within its metadata, or has more than {METADATA_LIMIT} bytes of them"
            )


def _letter(kind: int) -> str:
    if kind not in NUMBERS:
        raise ValueError(f"GGUF value type {kind}: arrays in arrays are not read, nor types of later versions")
    return NUMBERS[kind]
