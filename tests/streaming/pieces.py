"""Tokenizers spelled out piece by piece, so that a case can be written as the ids it is about."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.fast import FastTokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


class Llama:
    """A Llama-2 style tokenizer with the pieces a case needs: dummy prefix, byte fallback, strip of one space."""

    def __init__(self, *pieces: str, special: Sequence[str] = ("<unk>", "<s>", "</s>")) -> None:
        vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*special, *BYTES, *pieces]))}
        rust = RustTokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
        rust.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        rust.add_special_tokens(list(special))
        self.vocab = vocab
        self.tokenizer = FastTokenizer(rust)

    def ids(self, *pieces: str) -> list[int]:
        return [self.vocab[piece] for piece in pieces]

    def hex_ids(self, text: str) -> list[int]:
        return [self.vocab[f"<0x{byte:02X}>"] for byte in text.encode()]

    def deltas(self, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> list[str]:
        """One put an id, and the flush."""
        detokenizer = StreamingDetokenizer(self.tokenizer.decoder(), prompt_ids, self.tokenizer.special_ids)
        return [detokenizer.put([i]) for i in output_ids] + [detokenizer.flush()]

    def text(self, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
        return "".join(self.deltas(prompt_ids, output_ids))
