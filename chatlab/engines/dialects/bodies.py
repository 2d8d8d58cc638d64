"""What is sent: the bodies of requests and of the probes at connect."""

from __future__ import annotations

import json
from typing import Any

from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.sampling import SamplingParams

# vLLM's switches that make a stream say exactly which ids it is made of.
_EXACT = {
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "add_special_tokens": False,
    "stream_options": {"include_usage": True},
}


def completion_body(
    model: str,
    prompt: list[int] | str,
    params: SamplingParams,
    seed: int | None,
    can: Capabilities,
    stops: list[str],
) -> dict[str, Any]:
    """The body of one request, in what the server was seen to understand.

    Law: every parameter the server was seen to heed is sent, off values too, so that no default of the server's or of
    its model's own generation config is in force unasked.
    """
    body: dict[str, Any] = {"model": model, "prompt": prompt, "stream": True, "max_tokens": params.max_new_tokens}
    body |= {"temperature": params.temperature, "top_p": params.top_p}
    if can.ids_out:
        body |= _EXACT | {name: value for name, value in _sampling(params).items() if name in can.sampling}
        body |= {"frequency_penalty": 0.0, "presence_penalty": 0.0}
        if params.stop_ids:
            body["stop_token_ids"] = list(params.stop_ids)
        if params.logprobs is not None:
            body["logprobs"] = params.logprobs
    else:
        if "top_k" in can.sampling:
            body["generation_config"] = json.dumps(_generation_config(params))
        if stops:
            body["stop"] = stops
    return body if seed is None else body | {"seed": seed}


def _sampling(params: SamplingParams) -> dict[str, Any]:
    """What vLLM and SGLang have beside OpenAI's fields, with the values that switch it off."""
    return {
        "top_k": params.top_k or -1,
        "min_p": params.min_p or 0.0,
        "repetition_penalty": 1.0 if params.repetition_penalty is None else params.repetition_penalty,
    }


def full_probe(model: str, prompt_ids: list[int]) -> dict[str, Any]:
    """One token with everything that vLLM can tell."""
    return {"model": model, "prompt": prompt_ids, "stream": True, "max_tokens": 1, "logprobs": 1} | _EXACT


def text_probe(model: str, *, seed: int | None = None) -> dict[str, Any]:
    """A few tokens for a text; with a seed, as hot as can be but with transformers' own top-k of 1."""
    body: dict[str, Any] = {"model": model, "prompt": "Hello", "stream": True, "max_tokens": 6}
    if seed is None:
        return body
    config = {"do_sample": True, "temperature": 100.0, "top_k": 1, "max_new_tokens": 6}
    return body | {"temperature": 100.0, "seed": seed, "generation_config": json.dumps(config)}


def _generation_config(params: SamplingParams) -> dict[str, Any]:
    """The sampling as transformers' own generation config, which carries what completions have no field for."""
    penalty = 1.0 if params.repetition_penalty is None else params.repetition_penalty
    config: dict[str, Any] = {
        "do_sample": not params.greedy,
        "max_new_tokens": params.max_new_tokens,
        "repetition_penalty": penalty,
    }
    if not params.greedy:
        config |= {"temperature": params.temperature, "top_k": params.top_k, "top_p": params.top_p}
        config["min_p"] = params.min_p or 0.0
    return config
