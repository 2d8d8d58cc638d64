"""One step for several requests whose results do not depend on each other, not even in the last bit.

Matrix products round differently for different numbers of rows, so a batch that grows and shrinks changes a reply
now and then. Here the number of rows is fixed, idle rows are filled with a dummy, and attention runs row by row over
each request's own KV cache. Whether that is exact on a machine's BLAS is measured when the engine is built.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface, DynamicCache

from chatlab.errors import EngineError, GenerationError

_ATTENTION = "chatlab_rows"
_LOCKS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()


def lock_of(model: Any) -> threading.Lock:
    """One lock a model: a step in rows swaps its attention for a moment, which no other engine must see."""
    return _LOCKS.setdefault(model, threading.Lock())


def _attend_by_row(
    module: Any, query: torch.Tensor, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attention of one new token a row over that row's own keys; the new token may see all of them, so no mask."""
    outputs = [
        torch.nn.functional.scaled_dot_product_attention(
            query[row : row + 1], keys, values, scale=scaling, enable_gqa=keys.shape[1] != query.shape[1]
        )
        for row, (keys, values) in enumerate(key)
    ]
    idle = outputs[0].new_zeros(len(query) - len(outputs), *outputs[0].shape[1:])
    return torch.cat([*outputs, idle]).transpose(1, 2).contiguous(), None


AttentionInterface.register(_ATTENTION, _attend_by_row)


class _RowCaches:
    """The caches of the busy rows behind the face of one: it hands attention a list of (keys, values), one a row."""

    is_compileable = False

    def __init__(self, caches: Sequence[DynamicCache]) -> None:
        self._caches = caches

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], None]:
        own = ((keys[row : row + 1], values[row : row + 1]) for row in range(len(self._caches)))
        return [cache.update(*new, layer) for new, cache in zip(own, self._caches, strict=True)], None

    def get_seq_length(self, layer: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer: int = 0) -> tuple[int, int]:
        return query_length, 0


class RowDecoder:
    """Reads one token for each of up to ``row_len`` requests in one forward pass, of always ``row_len`` rows if ``fixed``."""

    def __init__(self, model: Any, row_len: int, *, fixed: bool = True) -> None:
        """Take a model and measure whether its rows are independent.

        Raises:
            EngineError: the model cannot be run row by row, or gives other logits that way.
        """
        self.row_len = row_len
        self.fixed = fixed
        self._model = model
        self.exact = self._measure()
        """Whether a row's logits are the same bits in every place and beside every neighbour."""

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], positions: Sequence[int], caches: Sequence[DynamicCache]) -> torch.Tensor:
        """Logits (requests, vocabulary), float32, after each request's next token; their caches grow by it."""
        idle = self.row_len - len(token_ids) if self.fixed else 0
        device = self._model.device
        inputs = {
            "input_ids": torch.tensor([*token_ids, *[0] * idle], device=device)[:, None],
            "position_ids": torch.tensor([*positions, *[0] * idle], device=device)[:, None],
            "past_key_values": _RowCaches(caches),
        }
        config = self._model.config.get_text_config()
        with lock_of(self._model):
            before = config._attn_implementation
            config._attn_implementation = _ATTENTION
            try:
                outputs = self._model(**inputs, use_cache=True, return_dict=True)
            finally:
                config._attn_implementation = before
        logits: torch.Tensor = outputs.logits[: len(token_ids), -1].float()
        return logits

    def _measure(self) -> bool:
        """Compare every place of a batch with the others, and with the model alone."""
        try:
            alone = self._alone(5, 6)
            rows = [self._beside(place, 5, 6)[place] for place in range(self.row_len)]
            rows.append(self._beside(0, 5, 6, others=0)[0])
        except (TypeError, AttributeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise EngineError(
                f"{type(self._model).__name__} cannot decode in rows ({type(error).__name__}: {error}): "
                "build the engine without decode_rows"
            ) from error
        if not all(torch.allclose(row, alone, rtol=1e-2, atol=1e-2 * float(alone.abs().max())) for row in rows):
            raise EngineError(
                f"{type(self._model).__name__} gives other logits in rows than alone: build the engine without decode_rows"
            )
        return self.fixed and all(torch.equal(row, rows[0]) for row in rows)

    @torch.inference_mode()
    def _cache(self, token_id: int) -> DynamicCache:
        cache = DynamicCache(config=self._model.config)
        self._model(
            input_ids=torch.tensor([[token_id] * (token_id % 7 + 1)], device=self._model.device),
            past_key_values=cache,
            use_cache=True,
        )
        return cache

    @torch.inference_mode()
    def _alone(self, prompt_id: int, token_id: int) -> torch.Tensor:
        ids = torch.tensor([[token_id]], device=self._model.device)
        outputs = self._model(input_ids=ids, past_key_values=self._cache(prompt_id), use_cache=True, return_dict=True)
        logits: torch.Tensor = outputs.logits[0, -1].float()
        return logits

    def _beside(self, place: int, prompt_id: int, token_id: int, others: int | None = None) -> torch.Tensor:
        """A step with the request in one place and other requests, or none, around it."""
        count = self.row_len if others is None else others + 1
        prompts = [prompt_id if row == place else (7 * row + 3 * place) % 20 for row in range(count)]
        tokens = [token_id if row == place else (5 * row + place) % 20 for row in range(count)]
        return self.step(tokens, [p % 7 + 1 for p in prompts], [self._cache(p) for p in prompts])


def reply_logprob(model: Any, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> float:
    """Return the natural log of the probability that a causal language model gives a reply behind a prompt.

    Args:
        model: of transformers, as ``load_model`` gives it.
        prompt_ids: at least one id.
        reply_ids: what follows; of no ids it is 0.

    Raises:
        GenerationError: there is no prompt, or the model fails on the ids.
    """
    if not prompt_ids:
        raise GenerationError("a reply's likelihood needs a prompt of at least one id before it")
    if not reply_ids:
        return 0.0
    ids = torch.tensor([[*prompt_ids, *reply_ids]], device=getattr(model, "device", "cpu"))
    try:
        with torch.inference_mode():
            logits = model(ids).logits[0, len(prompt_ids) - 1 : -1]
    except (RuntimeError, IndexError, ValueError) as error:
        raise GenerationError(f"the model failed on {ids.shape[1]} ids: {type(error).__name__}: {error}") from error
    found = torch.log_softmax(logits.float(), dim=-1).gather(1, ids[0, len(prompt_ids) :, None])
    return float(found.sum())
