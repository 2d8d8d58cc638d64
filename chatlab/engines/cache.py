"""A KV cache that grows in place, so that a token does not copy all tokens before it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from chatlab.errors import EngineError


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer at the front of buffers that double when they are full.

    transformers' own layer concatenates, which copies the whole past for each token: at 2,000 tokens of a small
    model that is a third of the step. The numbers are the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized: bool = False
        self._len = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Append (batch, heads, tokens, size) and return all of both so far, as views."""
        start, self._len = self._len, self._len + key_states.shape[-2]
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.is_initialized = True
            self._keys, self._values = key_states[..., :0, :], value_states[..., :0, :]
        if self._len > self._keys.shape[-2]:
            self._keys = self._grown(self._keys, key_states, start)
            self._values = self._grown(self._values, value_states, start)
        self._keys[..., start : self._len, :] = key_states
        self._values[..., start : self._len, :] = value_states
        self.keys, self.values = self._keys[..., : self._len, :], self._values[..., : self._len, :]
        return self.keys, self.values

    def _grown(self, buffer: torch.Tensor, new: torch.Tensor, used: int) -> torch.Tensor:
        grown = new.new_empty(*new.shape[:-2], max(64, 2 * self._len), new.shape[-1])
        grown[..., :used, :] = buffer[..., :used, :]
        return grown


def growing_cache(config: Any) -> DynamicCache:
    """The cache that transformers would build for a model, with its plain layers growing in place."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def cache_parameter(model: Any) -> str:
    """The parameter of ``model.forward`` that takes the cache.

    Without one a model sees nothing but its last token, and says something all the same. Where the signature does not
    tell (a wrapper), or the model is recurrent and may keep its state in its modules, where requests would share it,
    the model is measured.

    Raises:
        EngineError: the model does not remember a request by the request's own cache.
    """
    parameters = inspect.signature(model.forward).parameters
    name = next((name for name in ("past_key_values", "cache_params") if name in parameters), None)
    if name is None or is_recurrent(model):
        name = name or "past_key_values"
        refusal = (
            f"{type(model).__name__} does not remember a request by a cache of the request's own (past_key_values or "
            "cache_params), so replies would forget their prompts or mix: use a model that does"
        )
        try:
            remembers = _remembers(model, name)
        except Exception as error:
            raise EngineError(f"{refusal} ({type(error).__name__}: {error})") from error
        if not remembers:
            raise EngineError(refusal)
    return name


def is_recurrent(model: Any) -> bool:
    """Whether the model carries a state from token to token, which some rebuild with every chunk of a prompt."""
    return bool(getattr(model, "_is_stateful", False))


@torch.inference_mode()
def _remembers(model: Any, name: str) -> bool:
    """Whether a prompt goes on as if no other had been read between."""

    def read(token_ids: list[int], cache: DynamicCache) -> torch.Tensor:
        inputs = {"input_ids": torch.tensor([token_ids], device=model.device), name: cache}
        logits: torch.Tensor = model(**inputs, use_cache=True, return_dict=True).logits[0, -1].float()
        return logits

    whole = read([1, 2, 3, 4, 5], growing_cache(model.config))
    cache = growing_cache(model.config)
    read([1, 2, 3, 4], cache)
    read([3, 1, 2], growing_cache(model.config))
    after = read([5], cache)
    return torch.allclose(after, whole, rtol=1e-2, atol=1e-2 * float(whole.abs().max()))
