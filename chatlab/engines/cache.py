"""A KV cache that grows in place, so that a token does not copy all tokens before it."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

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

    def begin_with(self, other: GrowingLayer, length: int) -> None:
        """Hold the first ``length`` of another layer's tokens, shared until this one grows, which copies them."""
        self.dtype, self.device, self.is_initialized, self._len = other.dtype, other.device, True, length
        self._keys = self.keys = other.keys[..., :length, :]
        self._values = self.values = other.values[..., :length, :]

    def hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold the same numbers in these tensors."""
        self._keys, self._values = keys, values
        self.keys, self.values = keys, values


def growing_cache(config: Any) -> DynamicCache:
    """The cache that transformers would build for a model, with its plain layers growing in place."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def why_not_cut(model: Any) -> str | None:
    """Why the cache of a model's request is of no use to a prompt that begins alike; ``None`` where it is.

    Keys and values of each token can be cut back to any prefix, those of a window while it is not full. A recurrent
    state cannot, nor can what is quantised. Whether nothing else remembers is measured.
    """
    kinds = {type(layer) for layer in growing_cache(model.config).layers} - {GrowingLayer, DynamicSlidingWindowLayer}
    if kinds:
        return f"its cache holds {', '.join(sorted(kind.__name__ for kind in kinds))}, which cannot be cut back"
    if is_recurrent(model):
        return "it is recurrent, and its state cannot be cut back"
    return (
        None if _goes_on(model, cache_parameter(model)) else "what it says after a prefix depends on what came after it"
    )


def begun_with(cache: DynamicCache, length: int, config: Any) -> DynamicCache:
    """A new cache that has read the first ``length`` tokens of another one, which may never grow again."""
    begun = growing_cache(config)
    for layer, other in zip(begun.layers, cache.layers, strict=True):
        if not other.is_initialized:  # of layers that share the keys of another one
            continue
        if isinstance(layer, GrowingLayer):
            layer.begin_with(other, length)
        else:
            layer.lazy_initialization(other.keys, other.values)
            held = other.keys.shape[-2] if length == other.cumulative_length else length
            layer.keys, layer.values = other.keys[..., :held, :], other.values[..., :held, :]
            layer.cumulative_length = length
    return begun


def is_whole_only(cache: DynamicCache) -> bool:
    """Whether tokens fell out of a window, so that the cache cannot be cut back any more."""
    return any(layer.is_sliding and layer.cumulative_length >= layer.sliding_window for layer in cache.layers)


def compact(cache: DynamicCache) -> int:
    """Give back the room that nothing stands in, where it is much; tell the bytes that the cache holds."""
    held = 0
    for layer in cache.layers:
        if layer.is_initialized:
            keys, values = (_compacted(tensor) for tensor in (layer.keys, layer.values))
            if isinstance(layer, GrowingLayer):
                layer.hold(keys, values)
            else:
                layer.keys, layer.values = keys, values
            held += sum(tensor.untyped_storage().nbytes() for tensor in (keys, values))
    return held


def _compacted(tensor: torch.Tensor) -> torch.Tensor:
    much = 1.25 * tensor.nbytes < tensor.untyped_storage().nbytes()
    return tensor.clone(memory_format=torch.contiguous_format) if much else tensor


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
    read = partial(_logits, model, name)
    whole = read([1, 2, 3, 4, 5], growing_cache(model.config))
    cache = growing_cache(model.config)
    read([1, 2, 3, 4], cache)
    read([3, 1, 2], growing_cache(model.config))
    return _alike(read([5], cache), whole)


@torch.inference_mode()
def _goes_on(model: Any, name: str) -> bool:
    """Whether a prompt may go on from the beginning of what was read for another one."""
    read = partial(_logits, model, name)
    whole = read([1, 2, 3, 4, 5], growing_cache(model.config))
    other = growing_cache(model.config)
    read([1, 2, 3, 5, 5, 5], other)
    return _alike(read([4, 5], begun_with(other, 3, model.config)), whole)


def _logits(model: Any, name: str, token_ids: list[int], cache: DynamicCache) -> torch.Tensor:
    inputs = {"input_ids": torch.tensor([token_ids], device=model.device), name: cache}
    logits: torch.Tensor = model(**inputs, use_cache=True, return_dict=True).logits[0, -1].float()
    return logits


def _alike(logits: torch.Tensor, others: torch.Tensor) -> bool:
    return torch.allclose(logits, others, rtol=1e-2, atol=1e-2 * float(others.abs().max()))
