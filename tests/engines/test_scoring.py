"""Ids that are given are scored as ids that are said."""

from __future__ import annotations

import random

import pytest
import torch

from chatlab.engines.engine import TokenEvent
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ContextLengthError, EngineError, TokenIdError
from chatlab.testing import ScriptedEngine, tiny_llama


def test_given_ids_score_as_said_ones(engine) -> None:
    """A reply, given back with its prompt, has the log probabilities that it was said with."""
    draw = random.Random(0)
    for seed in range(12):
        prompt = [draw.randrange(3, 400) for _ in range(draw.randint(1, 30))]
        said = [
            event
            for event in engine.submit(prompt, SamplingParams(max_new_tokens=20, logprobs=3, seed=seed))
            if isinstance(event, TokenEvent)
        ]
        scores = engine.score([*prompt, *(event.token_id for event in said)], top_len=3)
        assert scores[0].logprob is None
        for event, score in zip(said, scores[len(prompt) :], strict=True):
            assert score.token_id == event.token_id
            assert score.logprob == pytest.approx(event.logprob, abs=1e-4)
            assert [i for i, _ in score.top_logprobs] == [i for i, _ in event.top_logprobs]


def test_scores_are_the_model_s_own(model) -> None:
    """The reference: one forward pass over everything. Chunks change nothing but the last bits."""
    ids = [5, 9, 17, 3, 200, 301, 44, 8, 8, 8, 20]
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)
    wanted = [float(logprobs[at, token_id]) for at, token_id in enumerate(ids[1:])]
    for chunk_len in (1, 2, 3, 256):
        with LocalEngine(model, prefill_chunk_len=chunk_len) as engine:
            found = [score.logprob for score in engine.score(ids)]
        assert found[0] is None
        assert found[1:] == pytest.approx(wanted, abs=1e-4)


def test_scoring_stops_between_two_steps(model) -> None:
    asked = []
    with LocalEngine(model, prefill_chunk_len=2) as engine:
        assert engine.score([5] * 20, cancelled=lambda: len(asked) == 3 or asked.append(1)) is None
    assert len(asked) == 3


def test_what_cannot_be_scored_is_refused(model) -> None:
    with LocalEngine(tiny_llama(64, hidden_len=8, layers=1, heads=2, context_len=8)) as engine:
        assert len(engine.score([1] * 8)) == 8
        assert len(engine.score([1])) == 1
        with pytest.raises(ContextLengthError):
            engine.score([1] * 9)
        with pytest.raises(TokenIdError):
            engine.score([64])
    with ScriptedEngine("a") as engine, pytest.raises(EngineError, match="does not score"):
        engine.score([1, 2])
    assert (LocalEngine.can_score, ScriptedEngine.can_score) == (True, False)
