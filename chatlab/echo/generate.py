"""Replies that a model really generates, for the drift experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from chatlab.errors import EngineError


class ModelReplies:
    """Greedy answers of a causal language model, as ids.

    Greedy, because an experiment must give the same table twice. The model runs on one thread here: two threads
    that wait for each other on a busy machine were measured 13 times slower than one.
    """

    def __init__(self, model: str | Path | Any, *, max_new_tokens: int = 64, device: str = "cpu") -> None:
        """Load a model from a folder (safetensors only), or take one that is loaded."""
        if isinstance(model, str | Path):
            try:
                model = AutoModelForCausalLM.from_pretrained(str(model), use_safetensors=True)
            except Exception as error:  # transformers raises OSError, ValueError, KeyError… for a bad folder
                raise EngineError(f"no model loads from {model}: {type(error).__name__}: {error}") from error
        self._model = model.to(device).eval()
        self._max_new_tokens = max_new_tokens

    def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
        """Return the ids of the greedy answer, its end token included."""
        limit = self._model.config.max_position_embeddings
        if len(prompt_ids) + self._max_new_tokens > limit:
            raise EngineError(
                f"a prompt of {len(prompt_ids)} tokens and {self._max_new_tokens} new ones pass the model's {limit}: "
                "shorten the dialogue by whole turns"
            )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                ids = torch.tensor([list(prompt_ids)], device=self._model.device)
                mask = torch.ones_like(ids)
                out = self._model.generate(
                    ids, attention_mask=mask, max_new_tokens=self._max_new_tokens, do_sample=False
                )
        finally:
            torch.set_num_threads(threads)
        reply: list[int] = out[0, ids.shape[1] :].tolist()
        return reply
