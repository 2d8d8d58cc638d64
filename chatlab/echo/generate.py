"""Replies that a model really generates, for the drift experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatlab.engines.engine import TokenEvent
from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams


class ModelReplies:
    """Greedy answers of a causal language model, as ids.

    Greedy, because an experiment must give the same table twice.
    """

    def __init__(self, model: str | Path | Any, *, max_new_tokens: int = 64, device: str = "cpu") -> None:
        """Load a model from a folder (safetensors only), or take one that is loaded.

        Raises:
            ModelLoadError: the folder holds no model.
            SourceNotFound: there is no such folder.
        """
        loaded = load_model(model, device=device, progress=False) if isinstance(model, str | Path) else model
        # Two threads that wait for each other on a busy machine were measured 13 times slower than one.
        self._engine = LocalEngine(loaded, torch_threads=1)
        context_len = self._engine.context_len or 1 << 20
        self._params = SamplingParams(temperature=0, max_new_tokens=max_new_tokens, context_len=context_len)

    def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
        """Return the ids of the greedy answer.

        Raises:
            ContextLengthError: the prompt fills the model's context.
            GenerationError: the model failed.
        """
        with self._engine.submit(prompt_ids, self._params) as events:
            return [event.token_id for event in events if isinstance(event, TokenEvent)]
