"""Decoding in rows: several requests a step, and law L6 to the last bit."""

from __future__ import annotations

import random

import pytest
import torch

from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineError, GenerationError
from chatlab.testing import tiny_llama
from tests.engines.asked import ids_of, prompts


@pytest.fixture(scope="module")
def model():
    """Sizes that are multiples of 16, as those of real models."""
    return tiny_llama(512, hidden_len=96, layers=2)


@pytest.fixture
def engine(model):
    with LocalEngine(model, eos_ids=(), decode_rows=8) as engine:
        yield engine


def test_it_says_that_it_is_exact(engine) -> None:
    assert engine.exact


def test_a_sampled_request_is_the_same_alone_and_among_others(engine) -> None:
    """Law L6: 200 requests of several lengths alone, then all at once in random order."""
    params = SamplingParams(max_new_tokens=8)
    cases = list(enumerate(prompts(200, engine.vocab_len, 40)))
    alone = {seed: ids_of(engine.submit(prompt, params, seed=seed)) for seed, prompt in cases}
    random.Random(1).shuffle(cases)
    runs = {seed: engine.submit(prompt, params, seed=seed) for seed, prompt in cases}
    assert {seed: ids_of(run) for seed, run in runs.items()} == alone


def test_greedy_ids_are_those_of_each_alone(model, engine) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=16)
    runs = [engine.submit(prompt, params) for prompt in prompts(20, engine.vocab_len, 40)]
    with LocalEngine(model, eos_ids=()) as single:
        expected = [ids_of(single.submit(prompt, params)) for prompt in prompts(20, engine.vocab_len, 40)]
    assert [ids_of(run) for run in runs] == expected


def test_requests_come_and_go_in_mid_batch(engine) -> None:
    params = SamplingParams(max_new_tokens=30)
    expected = ids_of(engine.submit([5], params, seed=1))
    first = engine.submit([5], params, seed=1)
    next(first)
    others = [engine.submit([6 + n] * (n + 1), params, seed=n) for n in range(12)]
    others[3].cancel()
    next(first)
    del others[5]
    assert ids_of(first) == expected[2:]
    assert [len(ids_of(run)) for run in others].count(30) >= 9
    assert engine.wait_idle(5)


def test_a_fault_in_a_step_ends_the_requests_of_that_step(model, engine) -> None:
    calls = 0

    def fail(*args):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("injected")

    handle = model.register_forward_pre_hook(fail)
    runs = [engine.submit([5], SamplingParams(max_new_tokens=20)) for _ in range(3)]
    ends = [list(run)[-1] for run in runs]
    handle.remove()
    assert "error" in [end.finish_reason for end in ends]
    assert all(isinstance(end.error, GenerationError) for end in ends if end.finish_reason == "error")
    assert len(ids_of(engine.submit([5], SamplingParams(max_new_tokens=20)))) == 20


def test_the_model_keeps_its_own_attention(model, engine) -> None:
    before = model.config._attn_implementation
    ids_of(engine.submit([5], SamplingParams(max_new_tokens=5)))
    assert model.config._attn_implementation == before


def test_a_model_that_answers_otherwise_in_rows_is_refused(model, monkeypatch) -> None:
    from transformers.models.llama import modeling_llama

    rotate = modeling_llama.apply_rotary_pos_emb
    monkeypatch.setattr(
        modeling_llama, "apply_rotary_pos_emb", lambda q, k, *a, **kw: rotate(q, k * (1 + q.shape[0]), *a, **kw)
    )
    with pytest.raises(EngineError, match="without decode_rows"):
        LocalEngine(model, decode_rows=4)


def test_rows_that_are_not_exact_are_said_to_be(monkeypatch) -> None:
    """Odd sizes leave remainders that are rounded by other code; the engine must see it, whatever this machine does."""
    from chatlab.engines import rows

    step = rows.RowDecoder.step

    def uneven(self, token_ids, positions, caches):
        logits = step(self, token_ids, positions, caches)
        return logits * torch.linspace(1, 1 + 1e-6, len(logits))[:, None]

    monkeypatch.setattr(rows.RowDecoder, "step", uneven)
    assert not LocalEngine(tiny_llama(64), decode_rows=4).exact


def test_as_many_rows_as_requests_say_what_each_says_alone(model) -> None:
    """One that is alone takes no row: the passes are as wide as requests that run."""
    asked, params = prompts(12, 512, 40), SamplingParams(max_new_tokens=10)
    widths = []
    hook = model.lm_head.register_forward_pre_hook(lambda _, inputs: widths.append(len(inputs[0])))
    with LocalEngine(model, eos_ids=()) as single, LocalEngine(model, eos_ids=(), decode_rows="auto") as engine:
        assert not engine.exact
        expected = [ids_of(single.submit(prompt, params, seed=seed)) for seed, prompt in enumerate(asked)]
        widths.clear()
        assert ids_of(engine.submit(asked[0], params, seed=0)) == expected[0]
        assert set(widths) == {1}
        runs = [engine.submit(prompt, params, seed=seed) for seed, prompt in enumerate(asked)]
        assert [ids_of(run) for run in runs] == expected
        assert max(widths) == 8
    hook.remove()
