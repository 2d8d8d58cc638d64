"""Adapter for tiktoken's files: ``*.tiktoken``, and the ``tokenizer.model`` of Llama 3."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from chatlab.tokenizers.bytewise.byte_tokenizer import ByteTokenizer
from chatlab.tokenizers.loaders import Loader, lacks

_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n?")

_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a file of ranks does not say: how text is cut before merging, and the control tokens."""

    pattern: str
    specials: Callable[[int], Mapping[str, int]]
    """The control tokens by the number of ranks, which end where they begin."""
    bos: str | None = None


def _after(ranks: int, names: list[str]) -> dict[str, int]:
    return {name: ranks + number for number, name in enumerate(names)}


def _fixed(specials: Mapping[str, int], ranks: int) -> Mapping[str, int]:
    return specials


def _llama_3() -> list[str]:
    # llama_models/llama3/tokenizer.py: named ones, then reserved ones up to 256.
    named = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"]
    named += ["<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    named += ["<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    return named + [f"<|reserved_special_token_{2 + n}|>" for n in range(256 - len(named))]


_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205))]
LLAMA_3 = Family(pattern=_CL100K, specials=partial(_after, names=_llama_3()), bos="<|begin_of_text|>")
FAMILIES = {
    "cl100k_base": Family(
        pattern=_CL100K,
        specials=partial(_fixed, {"<|endoftext|>": 100257, **_FIM, "<|endofprompt|>": 100276}),
    ),
    "o200k_base": Family(
        pattern=_O200K, specials=partial(_fixed, {"<|endoftext|>": 199999, "<|endofprompt|>": 200018})
    ),
    **{
        name: Family(pattern=_GPT2, specials=partial(_fixed, {"<|endoftext|>": 50256}))
        for name in ("r50k_base", "p50k_base")
    },
    "qwen": Family(pattern=_CL100K.replace(r"\p{N}{1,3}", r"\p{N}"), specials=partial(_after, names=_QWEN)),
}
"""By the file's name without its ending: the encodings of tiktoken, and Qwen's first one."""
UNKNOWN = Family(pattern=_CL100K, specials=partial(_after, names=[]))
"""A file of another name: GPT-4's way of cutting, which most later vocabularies share, and no control tokens."""


def is_ranks(file: Path) -> bool:
    """Whether a file holds byte-pair ranks as tiktoken writes them: base64 and a number in each line."""
    with file.open("rb") as lines:
        head = list(islice(iter(lambda: lines.readline(1024), b""), 3))
    return bool(head) and all(map(_LINE.fullmatch, head))


def family_of(file: Path) -> Family:
    """Return what is known of a file of ranks by its name."""
    return LLAMA_3 if file.suffix != ".tiktoken" else FAMILIES.get(file.stem, UNKNOWN)


class TiktokenTokenizer(ByteTokenizer):
    """An Encoding of tiktoken."""

    loader = Loader.TIKTOKEN

    def __init__(self, encoding: Any, *, name: str | None = None, bos: str | None = None) -> None:
        """Wrap a ``tiktoken.Encoding``; ids that it leaves out are pieces without a byte."""
        specials = {text: encoding.encode_single_token(text) for text in encoding.special_tokens_set}
        pieces = [b""] * encoding.n_vocab
        for token in encoding.token_byte_values():
            pieces[encoding.encode_single_token(token)] = token
        for text, token_id in specials.items():
            pieces[token_id] = text.encode()
        super().__init__(
            name=name or encoding.name, pieces=pieces, specials=specials, bos_id=specials.get(bos) if bos else None
        )
        self.versions = {"tiktoken": version("tiktoken")}
        self._encoding = encoding

    def encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text, in which no control token is looked for."""
        token_ids: list[int] = self._encoding.encode_ordinary(text)
        return token_ids


def load_tiktoken(file: Path, name: str) -> TiktokenTokenizer:
    """Return the tokenizer of a file of ranks; the way of cutting and the control tokens are those of its name.

    Raises:
        TokenizerLoadError: tiktoken is not installed.
        ValueError: a line is no base64 and number.
    """
    try:
        import tiktoken
    except ImportError as error:
        raise lacks(Loader.TIKTOKEN, error) from error
    family, ranks = family_of(file), _ranks(file)
    first = max(ranks.values(), default=-1) + 1
    encoding = tiktoken.Encoding(
        name, pat_str=family.pattern, mergeable_ranks=ranks, special_tokens=dict(family.specials(first))
    )
    return TiktokenTokenizer(encoding, name=name, bos=family.bos)


def _ranks(file: Path) -> dict[bytes, int]:
    ranks = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"line {number} is no base64 and number: {line[:40]!r}") from error
    absent = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if absent:
        raise ValueError(f"it has no rank for the byte 0x{absent[0]:02X}, and a text may hold any")
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError("its ranks are not 0, 1, 2, …, each once")
    return ranks
