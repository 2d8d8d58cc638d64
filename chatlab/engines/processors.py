"""From logits to the next id, by transformers' own processors and the one that it lacks; and to log probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

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

from chatlab.engines.engine import Cancelled, Scores, TokenScore
from chatlab.engines.sampling import SamplingParams


class AdditiveRepetitionPenalty(LogitsProcessor):  # type: ignore[misc]
    """Subtract a constant from the logit of every token that the ids hold already, once however often they do."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Weaken in ``scores`` (batch, vocabulary) what stands in ``input_ids`` (batch, tokens)."""
        return scores.scatter(1, input_ids, scores.gather(1, input_ids) - self.penalty)


class TinyTemperature(LogitsProcessor):  # type: ignore[misc]
    """A temperature so low that a logit divided by it is infinite: all but the likeliest, ties included, become impossible."""

    def __init__(self, temperature: float) -> None:
        self.temperature = max(temperature, 1e-37)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The same distribution as ``scores / temperature``, whose largest is 0."""
        return (scores - scores.max(dim=-1, keepdim=True).values) / self.temperature


def penalty_for(params: SamplingParams) -> LogitsProcessorList:
    """The processors that look at all the vocabulary and at the ids so far."""
    penalty, processors = params.repetition_penalty, LogitsProcessorList()
    if penalty is not None and params.repetition_penalty_method == "additive":
        processors.append(AdditiveRepetitionPenalty(penalty))
    elif penalty is not None and penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
    return processors


def warpers_for(params: SamplingParams) -> LogitsProcessorList:
    """What ``generate`` would build to shape the distribution, in its order."""
    warpers = LogitsProcessorList()
    if params.temperature < 1e-6:
        warpers.append(TinyTemperature(float(params.temperature)))
    elif params.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(min(float(params.temperature), 1e37)))
    if params.top_k:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        warpers.append(TopPLogitsWarper(params.top_p))
    if params.min_p is not None:
        warpers.append(MinPLogitsWarper(params.min_p))
    return warpers


ReadAll = Callable[[list[int]], torch.Tensor]
"""Reads on, and gives the logits after each of the ids: float32, shape (ids, vocabulary)."""


class Sampler:
    """Choose the next id of one request, with its own generator, so that neighbours cannot change the draw."""

    def __init__(self, params: SamplingParams, seed: int, device: torch.device) -> None:
        """Build the processors and seed the generator on ``device``."""
        self.top_len = params.logprobs
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._greedy, self._top_k = params.greedy, params.top_k
        self._penalty = penalty_for(params)
        self._warpers = LogitsProcessorList() if params.greedy else warpers_for(params)

    def choose(self, logits: torch.Tensor, token_ids: torch.Tensor) -> int:
        """The next id.

        Args:
            logits: float32, shape (1, vocabulary).
            token_ids: prompt and reply so far, shape (1, tokens).

        Raises:
            RuntimeError: the model gave NaN, or nothing that could be chosen.
        """
        scores = _processed(self._penalty, token_ids, logits)
        if self._greedy:
            best, token_id = scores.max(dim=-1)
            _refuse_impossible(best)
            return int(token_id)
        scores, candidates = self._candidates(scores)
        scores = _processed(self._warpers, token_ids, scores)
        _refuse_impossible(scores.max(), finite=True)
        drawn = int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=self.generator))
        return drawn if candidates is None else int(candidates[drawn])

    def _candidates(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The scores that top-k keeps, and their ids: what follows then sorts k of them, not the vocabulary.

        A tie at the edge keeps more than k, so it is left to the processor.
        """
        if not 0 < self._top_k < scores.shape[-1] // 2:
            return scores, None
        top, ids = torch.topk(scores[0], self._top_k + 1)
        if top[-1] == top[-2]:
            return scores, None
        return top[None, :-1], ids

    def logprobs(
        self, logits: torch.Tensor, token_id: int
    ) -> tuple[float | None, tuple[tuple[int, float], ...] | None]:
        """The model's own log probability of ``token_id``, and the likeliest ids with theirs."""
        if self.top_len is None:
            return None, None
        logprobs = torch.log_softmax(logits[0], dim=-1)
        top = torch.topk(logprobs, min(self.top_len, logprobs.shape[-1]))
        return float(logprobs[token_id]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))


@torch.inference_mode()
def score_ids(
    read_all: ReadAll, token_ids: list[int], top_len: int, chunk_len: int, cancelled: Cancelled
) -> Scores | None:
    """The score of each id after those before it; ``None`` where it was cancelled between two steps.

    **Law.** They are what the engine tells of the same ids when it says them itself, up to rounding.

    Args:
        read_all: the model, which has read nothing yet.
        token_ids: what is scored.
        top_len: how many likeliest ids to tell with each.
        chunk_len: ids of one step; their logits over the whole vocabulary are held at once.
        cancelled: asked before each step.
    """
    scores = [TokenScore(token_id=token_ids[0])]
    for start in range(0, len(token_ids) - 1, chunk_len):
        if cancelled():
            return None
        chunk = token_ids[start : start + chunk_len]
        scores += _scores(read_all(chunk), token_ids[start + 1 : start + 1 + len(chunk)], top_len)
    return tuple(scores)


def _scores(logits: torch.Tensor, said: Sequence[int], top_len: int) -> Iterator[TokenScore]:
    """What the logits say of the ids that follow; the last chunk's last logits are about none."""
    logprobs = torch.log_softmax(logits[: len(said)], dim=-1)
    own = logprobs.gather(1, torch.tensor(list(said), device=logits.device)[:, None])[:, 0].tolist()
    top = torch.topk(logprobs, min(top_len, logprobs.shape[-1]))
    tops = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    for token_id, logprob, (ids, values) in zip(said, own, tops, strict=True):
        yield TokenScore(token_id=token_id, logprob=logprob, top_logprobs=tuple(zip(ids, values, strict=True)))


def _refuse_impossible(best: torch.Tensor, *, finite: bool = False) -> None:
    """Refuse scores whose largest says that there is nothing to choose from."""
    value = float(best)
    if math.isnan(value):
        raise RuntimeError("the model gave NaN logits: load it in float32 or bfloat16, and check its weights")
    if value == -math.inf:
        raise RuntimeError(
            "every logit is minus infinity, so that no token is possible: check the model's weights or mask"
        )
    if finite and value == math.inf:
        raise RuntimeError(
            "a logit is infinite, so that no draw is possible: load the model in float32, or take temperature=0"
        )


def _processed(processors: LogitsProcessorList, token_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    # The list's own call looks up the signature of each processor, for each token anew.
    for processor in processors:
        scores = processor(token_ids, scores)
    return scores
