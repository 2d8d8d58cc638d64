"""Sampling parameters are checked, and the draw is the one that transformers' generate would make."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.processors import AdditiveRepetitionPenalty, Sampler
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import SamplingError

DRAWS = 20_000


def test_defaults_are_chatstreams() -> None:
    params = SamplingParams()
    assert (params.max_new_tokens, params.context_len) == (256, 1024)
    assert (params.temperature, params.top_k, params.top_p) == (1.0, 50, 1.0)
    assert (params.repetition_penalty, params.repetition_penalty_method) == (None, "multiplicative")


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens >= 1"),
        ({"max_new_tokens": 1.5}, "whole numbers"),
        ({"max_new_tokens": True}, "whole numbers"),
        ({"context_len": 1}, "context_len >= 2"),
        ({"temperature": -0.1}, "temperature >= 0"),
        ({"temperature": float("nan")}, "temperature >= 0"),
        ({"temperature": "hot"}, "temperature >= 0"),
        ({"repetition_penalty": 1e-45}, "1e-6 to 1e6"),
        ({"repetition_penalty": 1e300}, "1e-6 to 1e6"),
        ({"repetition_penalty": -1e300, "repetition_penalty_method": "additive"}, "-1e6 to 1e6"),
        ({"top_k": -1}, "top_k >= 0"),
        ({"top_p": 0}, "0 < top_p <= 1"),
        ({"top_p": 1.1}, "0 < top_p <= 1"),
        ({"min_p": 2}, "0 <= min_p <= 1"),
        ({"repetition_penalty": 0}, "repetition_penalty > 0"),
        ({"repetition_penalty": float("inf"), "repetition_penalty_method": "additive"}, "finite"),
        ({"repetition_penalty_method": "other"}, "'multiplicative' or 'additive'"),
        ({"stop": "###"}, r"write \['###'\]"),
        ({"stop": [""]}, "non-empty"),
        ({"stop": None}, "stop must be a list, not None: leave it out"),
        ({"stop_ids": [-1]}, "0 or more"),
        ({"seed": -1}, "0 <= seed"),
        ({"seed": 2**63}, "seed <= "),
        ({"logprobs": -1}, "logprobs >= 0"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bounds(fields: dict, bounds: str) -> None:
    with pytest.raises(SamplingError, match=bounds):
        SamplingParams(**fields)


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(SamplingError, match="top_q"):
        SamplingParams.from_dict({"top_q": 1})


@given(
    st.builds(
        SamplingParams,
        temperature=st.floats(0, 5),
        top_k=st.integers(0, 100),
        stop=st.lists(st.text(min_size=1), max_size=3).map(tuple),
        seed=st.none() | st.integers(0, 2**63 - 1),
    )
)
def test_params_come_back_from_plain_data(params: SamplingParams) -> None:
    assert SamplingParams.from_dict(params.to_dict()) == params


EDGES = [
    {"temperature": 1e-38}, {"temperature": 5e-324}, {"temperature": 1e300}, {"temperature": 1e-6}, {"repetition_penalty": 1e-6}, {"repetition_penalty": 1e6},
    {"temperature": 1e-6, "repetition_penalty": 1e6}, {"top_p": 1e-300}, {"min_p": 1.0}, {"min_p": 1e-300},
    {"repetition_penalty": -1e6, "repetition_penalty_method": "additive", "temperature": 1e-6},
]  # fmt: skip


@pytest.mark.parametrize("setting", EDGES, ids=str)
@pytest.mark.parametrize("top_k", [0, 1, 50])
def test_a_draw_is_possible_at_every_edge_of_the_bounds(setting: dict, top_k: int) -> None:
    logits = torch.linspace(-1000, 1000, 200)[None]
    sampler = Sampler(SamplingParams(top_k=top_k, **setting), seed=1, device=torch.device("cpu"))
    assert 0 <= sampler.choose(logits, torch.tensor([[5, 199]])) < 200


@pytest.mark.parametrize("temperature", [1e-6, 1e-7, 1e-38, 5e-324])
def test_a_tiny_temperature_takes_the_likeliest_and_its_ties(temperature: float) -> None:
    logits = torch.linspace(-50, 50, 200)[None]
    logits[0, 7] = 50.0
    sampler = Sampler(SamplingParams(temperature=temperature, top_k=0), seed=1, device=torch.device("cpu"))
    assert {sampler.choose(logits, torch.tensor([[5]])) for _ in range(60)} == {7, 199}


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("top_k", [0, 2, 50])
@pytest.mark.parametrize(("value", "words"), [(float("-inf"), "minus infinity"), (float("nan"), "NaN")])
def test_logits_that_allow_no_token_are_an_error_and_no_token(temperature, top_k, value, words) -> None:
    logits = torch.full((1, 200), value)
    sampler = Sampler(SamplingParams(temperature=temperature, top_k=top_k), seed=1, device=torch.device("cpu"))
    with pytest.raises(RuntimeError, match=words):
        sampler.choose(logits, torch.tensor([[5]]))


def test_a_single_infinite_logit_is_greedy_and_never_drawn() -> None:
    logits = torch.zeros(1, 200)
    logits[0, 7] = float("inf")
    assert Sampler(SamplingParams(temperature=0), 1, torch.device("cpu")).choose(logits, torch.tensor([[5]])) == 7
    with pytest.raises(RuntimeError, match="infinite"):
        Sampler(SamplingParams(top_k=0), 1, torch.device("cpu")).choose(logits, torch.tensor([[5]]))


def chi_square_tail(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    """How likely counts as odd as these are, if they were drawn from these probabilities; rare cells are pooled."""
    order = probabilities.argsort(descending=True)
    expected, seen = probabilities[order].double() * counts.sum(), counts[order].double()
    common = int((expected >= 10).sum())
    expected = torch.cat([expected[:common], expected[common:].sum()[None]])
    seen = torch.cat([seen[:common], seen[common:].sum()[None]])
    if expected[-1] < 1e-6:
        assert seen[-1] == 0, "a token was drawn that must never be"
        expected, seen = expected[:-1], seen[:-1]
    statistic = ((seen - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(expected) - 1) / 2, dtype=torch.double), statistic / 2))


SETTINGS = [
    {"top_k": 0},
    {"temperature": 0.7, "top_k": 50, "top_p": 0.7},
    {"temperature": 1.5, "top_k": 30, "min_p": 0.05, "repetition_penalty": 1.3},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_draws_follow_the_distribution_of_generate(model, setting: dict) -> None:
    """20,000 draws against the scores that ``generate`` itself samples from."""
    prompt = torch.tensor([[1, 5, 9, 40, 41]])
    options = {"temperature": 1.0, "top_k": 50, "top_p": 1.0} | setting
    out = model.generate(
        prompt, max_new_tokens=1, do_sample=True, return_dict_in_generate=True, output_scores=True, output_logits=True,
        pad_token_id=0, **options,
    )  # fmt: skip
    sampler = Sampler(SamplingParams(**options), seed=7, device=torch.device("cpu"))
    draws = torch.tensor([sampler.choose(out.logits[0], prompt) for _ in range(DRAWS)])
    counts = torch.bincount(draws, minlength=out.scores[0].shape[-1])
    assert chi_square_tail(counts, torch.softmax(out.scores[0][0], dim=-1)) > 1e-4


def test_a_tie_at_the_edge_of_top_k_keeps_all_of_it() -> None:
    """As TopKLogitsWarper does; numbers in bfloat16 tie often."""
    logits = torch.zeros(1, 40)
    logits[0, 7] = 1.0
    sampler = Sampler(SamplingParams(top_k=2), seed=1, device=torch.device("cpu"))
    assert len({sampler.choose(logits, torch.tensor([[0]])) for _ in range(2000)}) == 40


@pytest.mark.parametrize("top_k", [1, 3, 19])
def test_top_k_draws_from_the_k_likeliest_only(top_k: int) -> None:
    logits = torch.linspace(0, 0.1, 40)[None, torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    sampler = Sampler(SamplingParams(top_k=top_k), seed=1, device=torch.device("cpu"))
    drawn = {sampler.choose(logits, torch.tensor([[0]])) for _ in range(500)}
    assert drawn == set(logits[0].topk(top_k).indices.tolist())


def test_the_chi_square_test_can_fail() -> None:
    probabilities = torch.full((4,), 0.25)
    assert chi_square_tail(torch.tensor([5000, 5000, 5000, 5000]), probabilities) > 0.9
    assert chi_square_tail(torch.tensor([5300, 4900, 4900, 4900]), probabilities) < 1e-4


def test_draws_of_a_running_engine_follow_the_model(engine, monkeypatch) -> None:
    """20,000 tokens in 40 runs of a model that has the same logits everywhere."""
    logits = torch.linspace(-2, 2, engine.vocab_len)[None]
    monkeypatch.setattr(engine, "forward", lambda token_ids, cache: logits)
    params = SamplingParams(max_new_tokens=500, top_k=0)
    runs = [engine.submit([3], params, seed=seed) for seed in range(40)]
    ids = [event.token_id for run in runs for event in run if hasattr(event, "token_id")]
    assert len(ids) == DRAWS
    counts = torch.bincount(torch.tensor(ids), minlength=engine.vocab_len)
    assert chi_square_tail(counts, torch.softmax(logits[0], dim=-1)) > 1e-4


def test_chatstreams_word_for_the_additive_penalty_is_understood() -> None:
    ported = SamplingParams(repetition_penalty=0.0, repetition_penalty_method="subtractive")
    assert ported == SamplingParams(repetition_penalty=0.0, repetition_penalty_method="additive")
    assert SamplingParams.from_dict(ported.to_dict()) == ported


def test_additive_penalty_subtracts_once_for_each_token_seen() -> None:
    scores = torch.tensor([[1.0, 2.0, -3.0, 0.5]])
    assert AdditiveRepetitionPenalty(0.5)(torch.tensor([[1, 2, 1]]), scores).tolist() == [[1.0, 1.5, -3.5, 0.5]]


def test_penalties_reach_the_reply(engine) -> None:
    greedy = SamplingParams(temperature=0, max_new_tokens=40)
    plain = [e.token_id for e in engine.submit([1, 2, 3], greedy) if hasattr(e, "token_id")]
    for method, penalty in (("multiplicative", 1e6), ("additive", 1e6)):
        params = SamplingParams(
            temperature=0, max_new_tokens=40, repetition_penalty=penalty, repetition_penalty_method=method
        )
        ids = [e.token_id for e in engine.submit([1, 2, 3], params) if hasattr(e, "token_id")]
        assert len(set(ids) | {1, 2, 3}) == len(ids) + 3
        assert ids != plain
