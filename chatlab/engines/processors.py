"""From sampling parameters to transformers' own logits processors, and the one that transformers lacks."""

from __future__ import annotations

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatlab.engines.sampling import SamplingParams


class AdditiveRepetitionPenalty(LogitsProcessor):  # type: ignore[misc]
    """Subtract a constant from the logit of every token that the ids hold already, once however often they do."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Weaken in ``scores`` (batch, vocabulary) what stands in ``input_ids`` (batch, tokens)."""
        return scores.scatter(1, input_ids, scores.gather(1, input_ids) - self.penalty)


def processors_for(params: SamplingParams) -> LogitsProcessorList:
    """The processors that ``generate`` would build for these parameters, in its order."""
    processors = LogitsProcessorList()
    if params.repetition_penalty is not None:
        if params.repetition_penalty_method == "additive":
            processors.append(AdditiveRepetitionPenalty(params.repetition_penalty))
        elif params.repetition_penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(float(params.repetition_penalty)))
    if params.greedy:
        return processors
    if params.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(float(params.temperature)))
    if params.top_k:
        processors.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        processors.append(TopPLogitsWarper(params.top_p))
    if params.min_p is not None:
        processors.append(MinPLogitsWarper(params.min_p))
    return processors


class Sampler:
    """Choose the next id of one request, with its own generator, so that neighbours cannot change the draw."""

    def __init__(self, params: SamplingParams, seed: int, device: torch.device) -> None:
        """Build the processors and seed the generator on ``device``."""
        self.processors = processors_for(params)
        self.greedy = params.greedy
        self.top_len = params.logprobs
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def choose(self, logits: torch.Tensor, token_ids: torch.Tensor) -> int:
        """The next id.

        Args:
            logits: float32, shape (1, vocabulary).
            token_ids: prompt and reply so far, shape (1, tokens).

        Raises:
            RuntimeError: the model gave NaN.
        """
        scores = self.processors(token_ids, logits) if self.processors else logits
        if self.greedy:
            best, token_id = scores.max(dim=-1)
            if best.isnan():
                raise RuntimeError("the model gave NaN logits: load it in float32 or bfloat16, and check its weights")
            return int(token_id)
        return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=self.generator))

    def logprobs(
        self, logits: torch.Tensor, token_id: int
    ) -> tuple[float | None, tuple[tuple[int, float], ...] | None]:
        """The model's own log probability of ``token_id``, and the likeliest ids with theirs."""
        if self.top_len is None:
            return None, None
        logprobs = torch.log_softmax(logits[0], dim=-1)
        top = torch.topk(logprobs, min(self.top_len, logprobs.shape[-1]))
        return float(logprobs[token_id]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
