"""Tiny models and tokenizers, made in a moment and always the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

Family = Literal["byte-fallback", "byte-level", "unigram", "wordpiece"]
"""The four ways tokenizers spell text: Llama-2 and Mistral, GPT-2 and Llama-3, T5 and ALBERT, BERT."""

SAMPLE_TEXT = (
    "Hello there, how are you today? I am fine, thank you.",
    "def f(x):\n    if x:\n        return [x, 1]\n    return None\n",
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox doesn't.",
    "こんにちは。今日はいい天気ですね。日本語のテキストです。",
    "Ünïcödé café naïve 👍🏽 🎉 and 一二三",
    "Human: What is it?\nAssistant: It is a test, of course!\n\n",
)


def tiny_llama(
    vocab_len: int = 512,
    *,
    hidden_len: int = 64,
    layers: int = 2,
    heads: int = 4,
    context_len: int = 2048,
    seed: int = 0,
) -> Any:
    """A Llama with random weights, always the same ones for a seed; torch's own generator is left as it was.

    >>> tiny_llama(32, hidden_len=8, layers=1, heads=2).num_parameters()
    1296
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_len,
        hidden_size=hidden_len,
        intermediate_size=hidden_len * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context_len,
        initializer_range=0.15,  # wide, so that the likeliest tokens stand out as in a trained model
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def tiny_tokenizer(
    family: Family = "byte-level", texts: Iterable[str] = SAMPLE_TEXT, *, vocab_len: int = 512
) -> Tokenizer:
    """A small tokenizer of one family, trained here on a few lines, with ``<unk>``, ``<s>`` and ``</s>`` as ids 0, 1, 2.

    >>> tokenizer = tiny_tokenizer("byte-level")
    >>> tokenizer.decode(tokenizer.encode("Hello there"))
    'Hello there'
    """
    from tokenizers import Tokenizer as RustTokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = ["<unk>", "<s>", "</s>"]
    lines = list(texts)
    if family == "byte-level":
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rust.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=vocab_len, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    elif family == "byte-fallback":
        rust = RustTokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        rust.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_len + 256, special_tokens=special + byte_pieces, limit_alphabet=60, show_progress=False
        )
    elif family == "unigram":
        rust = RustTokenizer(models.Unigram())
        rust.pre_tokenizer = pre_tokenizers.Metaspace()
        rust.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab_len, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        rust = RustTokenizer(models.WordPiece(unk_token="<unk>"))
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(vocab_size=vocab_len, special_tokens=special, show_progress=False)
    rust.train_from_iterator(lines, trainer)
    if family == "byte-fallback":
        rust = _without_special_bytes(rust)
    return as_tokenizer(rust)


def _without_special_bytes(rust: Any) -> Any:
    """The byte pieces had to be special for the trainer; in a vocabulary of this family they are ordinary."""
    import json

    state = json.loads(rust.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].startswith("<0x")]
    return type(rust).from_str(json.dumps(state))
