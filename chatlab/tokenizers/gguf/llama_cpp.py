"""Adapter for llama.cpp itself: the ids that the program which runs a GGUF file makes of a text."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chatlab.errors import EncodeError, TokenizerLoadError
from chatlab.tokenizers.bytewise.byte_tokenizer import ByteTokenizer
from chatlab.tokenizers.decoding import BYTE_PIECE, byte_level_bytes
from chatlab.tokenizers.gguf.embed import embed_vocabulary, field
from chatlab.tokenizers.gguf.fields import Fields, token_types, tokenizer_fields
from chatlab.tokenizers.interface import refuse_lone_surrogates
from chatlab.tokenizers.loaders import Loader, lacks


class LlamaCppTokenizer(ByteTokenizer):
    """A GGUF file's vocabulary in a llama.cpp of this process, which is asked for every text.

    It listens on a loopback port of its own, behind a key that nobody else has. Text is what llama.cpp sends to its
    clients: the bytes of the pieces, with the blank of a dummy prefix.
    """

    loader = Loader.LLAMA_CPP

    def __init__(self, file: Path, *, name: str, changed: Mapping[str, bytes] | None = None) -> None:
        """Read the vocabulary; ``changed`` are fields that llama.cpp is given otherwise than the file has them."""
        fields = tokenizer_fields(file)
        tokens, types = fields.get("tokenizer.ggml.tokens"), []
        if not tokens:
            raise TokenizerLoadError(f"{name} has no tokenizer.ggml.tokens: a GGUF file without a vocabulary")
        types = token_types(fields)
        pieces = [_bytes_of(token, kind, fields) for token, kind in zip(tokens, types, strict=True)]
        specials = {t: i for i, (t, kind) in enumerate(zip(tokens, types, strict=True)) if kind in _SPECIAL}
        super().__init__(name=name, pieces=pieces, specials=specials)
        self.versions = {"xllamacpp": version("xllamacpp")}
        self.fields: Fields = fields
        self._file, self._changed = file, dict(changed or {})
        self._server = _Server(name, partial(embed_vocabulary, file, changed=self._changed))
        self.encode("")  # so that a file which llama.cpp refuses is refused now

    @property
    def unk_id(self) -> int | None:
        """The id of the unknown token, where the file names one."""
        unknown: int | None = self.fields.get("tokenizer.ggml.unknown_token_id")
        return unknown

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids that llama.cpp gives, control tokens read from the text as its servers do for prompts."""
        refuse_lone_surrogates(text)
        answer = self._server.ask(
            "/tokenize", {"content": text, "add_special": add_special_tokens, "parse_special": True}
        )
        token_ids: list[int] = answer["tokens"]
        return token_ids

    def encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text, in which no control token is looked for."""
        token_ids: list[int] = self._server.ask("/tokenize", {"content": text, "parse_special": False})["tokens"]
        return token_ids

    def as_read(self, text: str) -> str:
        """Return the text with spaces for the space mark, which vocabularies of SentencePiece cannot tell apart."""
        return text if self.fields["tokenizer.ggml.model"] == "gpt2" else text.replace("\u2581", " ")

    def change(self, name: str, argument: object = None) -> LlamaCppTokenizer | None:
        """Return a copy that adds no dummy prefix, where this one does; or, as its control, one with nothing changed."""
        key = "tokenizer.ggml.add_space_prefix"
        if name == "unchanged":
            return self._copy(name, {})
        prefixed = self.fields["tokenizer.ggml.model"] in ("llama", "t5") and self.fields.get(key, True)
        return self._copy(name, {key: field(key, False)}) if name == "prefix_never" and prefixed else None

    def _copy(self, name: str, changed: dict[str, bytes]) -> LlamaCppTokenizer | None:
        if changed.keys() & self._changed.keys():
            return None
        return LlamaCppTokenizer(self._file, name=f"{self.name} + {name}", changed={**self._changed, **changed})


_SPECIAL = ("control", "unknown")


def _bytes_of(token: str, kind: str, fields: Fields) -> bytes:
    """Return the bytes that llama.cpp writes for an id (``llama_token_to_piece``)."""
    written = token.encode("utf-8", "surrogateescape")
    if kind == "byte":
        found = BYTE_PIECE.fullmatch(token)
        return bytes([int(found[1], 16)]) if found else written
    if kind in (*_SPECIAL, "user_defined"):
        return written
    if fields["tokenizer.ggml.model"] == "gpt2":
        spelled = byte_level_bytes(token)
        return written if spelled is None else spelled
    return token.replace("\u2581", " ").encode("utf-8", "surrogateescape")


class _Server:
    """llama.cpp's server in this process, started at the first question; the child of a fork has none of its threads."""

    def __init__(self, name: str, write_model: Any) -> None:
        self._name = name
        self._write_model, self._lock = write_model, threading.Lock()
        self._key, self._owner = secrets.token_urlsafe(16), -1
        self._running: Any = None
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            EncodeError: the server refuses it.
        """
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection = self._connected()
        with self._lock:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read()
        if response.status != 200:
            raise EncodeError(f"llama.cpp answered {response.status}: {data[:200].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._owner not in (-1, os.getpid()):
            raise EncodeError(
                f"{self._name}: llama.cpp does not live on in a forked process; use spawn, and load it there"
            )
        if self._connection is None:
            self._running = self._start()
            address = self._running.listening_address.removeprefix("http://")
            self._connection, self._owner = http.client.HTTPConnection(address, timeout=60), os.getpid()
            weakref.finalize(self, self._connection.close)
        return self._connection

    def _start(self) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.port, parameters.n_ctx, parameters.n_parallel = 0, 64, 1
        parameters.warmup, parameters.verbosity, parameters.cache_ram_mib = False, 0, 0
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.api_keys = [self._key]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "vocabulary.gguf"
            self._write_model(file)
            parameters.model.path = str(file)
            try:
                return xllamacpp.Server(parameters)  # the file stays mapped when its name is gone
            except RuntimeError as error:  # it tells its reason to its log alone
                raise TokenizerLoadError(f"{self._name}: llama.cpp refuses this vocabulary ({error})") from error


def load_llama_cpp(file: Path, name: str) -> LlamaCppTokenizer:
    """Return llama.cpp's own reading of a GGUF file.

    Raises:
        TokenizerLoadError: xllamacpp is not installed, or the file holds no vocabulary.
    """
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        raise lacks(Loader.LLAMA_CPP, error) from error
    return LlamaCppTokenizer(file, name=name)
