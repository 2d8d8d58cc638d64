"""A small Llama with its SentencePiece vocabulary as one GGUF file, so that a real llama.cpp can serve it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor

_U32, _F32, _BOOL, _STR, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5
_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def write_gguf(folder: Path, target: Path) -> Path:
    """Write the model of a folder (config.json, model.safetensors, tokenizer.model) as GGUF, in float32."""
    config = json.loads((folder / "config.json").read_text())
    fields = _fields(config) + _vocabulary(folder)
    tensors = _tensors(config, load_file(folder / "model.safetensors"))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields)
    offset, data = 0, b""
    for name, array in tensors.items():
        head += _text(name) + struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}Q", *array.shape[::-1])
        head += struct.pack("<IQ", 0, offset)
        raw = array.astype("<f4").tobytes()
        data += raw + b"\0" * (-len(raw) % 32)
        offset = len(data)
    target.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return target


def _fields(config: dict[str, Any]) -> list[bytes]:
    heads = config["num_attention_heads"]
    rope = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    whole = {
        "context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"], "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads, "attention.head_count_kv": config.get("num_key_value_heads", heads),
        "rope.dimension_count": config["hidden_size"] // heads, "vocab_size": config["vocab_size"],
    }  # fmt: skip
    real = {"rope.freq_base": rope, "attention.layer_norm_rms_epsilon": config["rms_norm_eps"]}
    return [
        _field("general.architecture", _STR, _text("llama")),
        *(_field(f"llama.{name}", _U32, struct.pack("<I", value)) for name, value in whole.items()),
        *(_field(f"llama.{name}", _F32, struct.pack("<f", value)) for name, value in real.items()),
    ]


def _vocabulary(folder: Path) -> list[bytes]:
    model = SentencePieceProcessor(str(folder / "tokenizer.model"))
    ids = range(model.get_piece_size())
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]
    pieces = b"".join(_text(model.id_to_piece(i)) for i in ids)
    scores = struct.pack(f"<{len(ids)}f", *(model.get_score(i) for i in ids))
    lists = {
        "tokens": (_STR, pieces),
        "scores": (_F32, scores),
        "token_type": (_I32, struct.pack(f"<{len(ids)}i", *kinds)),
    }
    named = {"bos_token_id": model.bos_id(), "eos_token_id": model.eos_id(), "unknown_token_id": model.unk_id()}
    flags = {"add_bos_token": True, "add_eos_token": False, "add_space_prefix": True}
    return [
        _field("tokenizer.ggml.model", _STR, _text("llama")),
        _field("tokenizer.ggml.pre", _STR, _text("default")),
        *(
            _field(f"tokenizer.ggml.{n}", _ARRAY, struct.pack("<IQ", kind, len(ids)) + raw)
            for n, (kind, raw) in lists.items()
        ),
        *(_field(f"tokenizer.ggml.{name}", _U32, struct.pack("<I", value)) for name, value in named.items()),
        *(_field(f"tokenizer.ggml.{name}", _BOOL, struct.pack("<?", value)) for name, value in flags.items()),
    ]


def _tensors(config: dict[str, Any], weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    out = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    if "lm_head.weight" in weights:
        out["output.weight"] = weights["lm_head.weight"]
    for n in range(config["num_hidden_layers"]):
        for ours, theirs in _LAYER.items():
            array = weights[f"model.layers.{n}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):  # transformers turns halves, llama.cpp neighbours
                count = heads if ours == "attn_q" else kv_heads
                array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
            out[f"blk.{n}.{ours}.weight"] = array
    return out


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _field(name: str, kind: int, raw: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + raw
