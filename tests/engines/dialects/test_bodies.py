"""What is sent says everything that SamplingParams says, in each dialect's words."""

from __future__ import annotations

import pytest

from chatlab.engines.dialects.llama_cpp import heeded, llama_cpp_body
from chatlab.engines.sampling import SamplingParams


def test_llama_cpp_is_told_every_sampler_and_has_no_other_one_on() -> None:
    body = llama_cpp_body([1, 2], SamplingParams(), 2**40, ["x"], 512)
    assert body["samplers"] == ["penalties", "temperature", "top_k", "top_p", "min_p"]
    off = {"top_k": 50, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0, "repeat_penalty": 1.0}
    off |= {"frequency_penalty": 0.0, "presence_penalty": 0.0, "repeat_last_n": 512, "stop": ["x"], "n_predict": 256}
    assert body == body | off
    assert 0 <= body["seed"] < 2**32 - 1
    greedy = llama_cpp_body([1], SamplingParams(temperature=0), None, [], 512)
    assert (greedy["temperature"], greedy["samplers"], "seed" in greedy) == (0, ["penalties", "temperature"], False)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"top_k": 7, "min_p": 0.25, "repeat_penalty": 1.10000002384, "seed": 5}, {"top_k", "min_p", "repetition_penalty", "seed"}),
        ({"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.0, "seed": 9}, set()),
        ({"top_k": "7", "min_p": None, "seed": 5}, {"seed"}),
        ({}, set()),
    ],
)  # fmt: skip
def test_a_parameter_is_heeded_where_the_server_tells_that_it_is_in_force(settings: dict, names: set[str]) -> None:
    params = SamplingParams(top_k=7, min_p=0.25, repetition_penalty=1.1)
    assert heeded(llama_cpp_body([1], params, 5, [], 512), settings) == names
