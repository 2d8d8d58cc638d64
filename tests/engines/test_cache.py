"""The growing cache holds what transformers' own holds, and a model cannot tell them apart."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, MistralConfig
from transformers.cache_utils import DynamicLayer

from chatlab.engines.cache import GrowingLayer, growing_cache


@settings(max_examples=100)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_it_holds_what_concatenation_holds(lengths: list[int]) -> None:
    ours, theirs = GrowingLayer(), DynamicLayer()
    for length in lengths:
        keys, values = torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 5)
        for mine, other in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()
    assert ours.get_seq_length() == sum(lengths)


def test_what_was_returned_earlier_stays_as_it_was() -> None:
    layer = GrowingLayer()
    keys, _ = layer.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2))
    before = keys.clone()
    layer.update(torch.zeros(1, 1, 200, 2), torch.zeros(1, 1, 200, 2))
    assert torch.equal(keys, before)


def test_a_model_gives_the_same_logits_with_it(model) -> None:
    ours, theirs = growing_cache(model.config), DynamicCache(config=model.config)
    with torch.inference_mode():
        for ids in ([5, 6, 7], [8], [9] * 70, [10]):
            logits = [
                model(torch.tensor([ids]), past_key_values=cache, use_cache=True).logits for cache in (ours, theirs)
            ]
            assert torch.equal(*logits)


def test_layers_of_another_kind_stay_as_they_are() -> None:
    cache = growing_cache(MistralConfig(num_hidden_layers=2, sliding_window=16))
    assert not any(isinstance(layer, GrowingLayer) for layer in cache.layers)
