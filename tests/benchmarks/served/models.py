"""Folders that every server can load: a random Llama with the published Llama-2 tokenizer, that says whole words."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaTokenizer

from chatlab.testing import tiny_llama

SIZES: dict[str, dict[str, int]] = {"tiny": {}, "mid": {"hidden_len": 512, "layers": 8, "heads": 8}}
"""64×2 layers, 4.2 M parameters; 512×8 layers, 58 M."""
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)


def save_model(folder: Path, name: str, tokenizer_folder: Path) -> Path:
    """Save one; it never ends a reply by itself, so that all servers say as many tokens.

    What it says is whole words, which encode as they were said, as most of what a trained model says does: ids that
    come back otherwise would end every prefix at the first reply.
    """
    tokenizer = LlamaTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = TEMPLATE
    model = tiny_llama(32_000, context_len=4096, **SIZES[name])
    words = [i for i, piece in enumerate(tokenizer.convert_ids_to_tokens(range(32_000))) if is_word(piece)]
    mute = torch.ones(32_000, dtype=torch.bool)
    mute[words] = False
    with torch.no_grad():
        model.lm_head.weight[mute] = 0  # among thousands of other words, 0 is never of the likeliest 50
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def is_word(piece: str) -> bool:
    return len(piece) > 4 and piece[0] == "\N{LOWER ONE EIGHTH BLOCK}" and piece[1:].isascii() and piece[1:].isalpha()
