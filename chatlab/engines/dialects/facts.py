"""What a server says of itself: who it is and how long its context is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# vLLM, SGLang and LMDeploy; llama.cpp; OpenRouter and Together; Mistral; Groq.
_CONTEXT_KEYS = ("max_model_len", "n_ctx", "context_length", "max_context_length", "context_window")


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What is known of a server; it said so itself, so it is used for its own limits and never as a proof."""

    owned_by: str = ""
    """Its maker's name for it: ``vllm``, ``sglang``, ``llamacpp``, …"""
    context_len: int | None = None
    """Tokens of prompt and reply together."""


def facts_of(model: str, models: object = None, props: object = None, info: object = None) -> ServerFacts:
    """Read ``/v1/models``, llama.cpp's ``/props`` and TGI's ``/info``; what is no such answer says nothing."""
    entry = _entry(model, models)
    meta, settings = _dict(entry.get("meta")), _dict(_dict(props).get("default_generation_settings"))
    lengths = [settings.get("n_ctx"), _dict(props).get("n_ctx"), _dict(info).get("max_total_tokens")]
    lengths += [source.get(key) for source in (entry, meta) for key in _CONTEXT_KEYS]
    context_len = next((length for length in lengths if type(length) is int and length > 1), None)
    owner = entry.get("owned_by")
    return ServerFacts(owned_by=owner if isinstance(owner, str) else "", context_len=context_len)


def tokenize_body(model: str, text: str) -> dict[str, Any]:
    """A question that llama.cpp, vLLM and TGI understand alike: which ids do you read in this text?"""
    return {
        **{"model": model, "content": text, "prompt": text, "inputs": text},
        **{"add_special": True, "add_special_tokens": True, "parse_special": True},
    }


def tokenized(answer: object) -> list[int] | None:
    """The ids of its answer; ``None`` where it is none."""
    tokens = answer.get("tokens") if isinstance(answer, dict) else answer
    if not isinstance(tokens, list) or not tokens:
        return None
    ids = [token.get("id") if isinstance(token, dict) else token for token in tokens]
    known = [token_id for token_id in ids if type(token_id) is int]
    return known if len(known) == len(ids) else None


def _entry(model: str, models: object) -> dict[str, Any]:
    """The model's own entry of a list, or the only one there is."""
    data = _dict(models).get("data")
    entries = [_dict(entry) for entry in data] if isinstance(data, list) else []
    return next((e for e in entries if e.get("id") == model), entries[0] if len(entries) == 1 else {})


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
