"""llama.cpp's own ``/completion``: ids in, and the settings in force told back; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlab.engines.sampling import SamplingParams

# The order of transformers' generate; what is not named here is off, whatever the server's defaults.
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
_TOLD = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
"""Our names of parameters, and those under which the server tells what is in force."""


def llama_cpp_body(
    prompt: list[int] | str, params: SamplingParams, seed: int | None, stops: list[str], context_len: int
) -> dict[str, Any]:
    """The body of one request; every sampler is set, and none is on that :class:`SamplingParams` does not have.

    The seed has 32 bits there; a longer one is folded, so that the same seed still gives the same reply.
    """
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "n_predict": params.max_new_tokens,
        "samplers": ["penalties", "temperature"] if params.greedy else _SAMPLERS,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p or 0.0,
        "repeat_penalty": 1.0 if params.repetition_penalty is None else params.repetition_penalty,
        "repeat_last_n": context_len,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "cache_prompt": True,
        "stop": stops,
    }
    return body if seed is None else body | {"seed": seed % (2**32 - 1)}


def heeded(sent: Mapping[str, Any], settings: Mapping[str, Any]) -> frozenset[str]:
    """The parameters that the server says are in force as they were sent."""
    return frozenset(ours for ours, theirs in _TOLD.items() if _same(sent.get(theirs), settings.get(theirs)))


def _same(sent: object, told: object) -> bool:
    """Equal up to the server's single precision."""
    if not isinstance(sent, int | float) or not isinstance(told, int | float):
        return False
    return abs(sent - told) <= 1e-5 * max(1.0, abs(sent))
