"""Prompts of random ids, and the ids of a run."""

from __future__ import annotations

import random

from chatlab.engines.engine import TokenEvent


def ids_of(run) -> list[int]:
    return [event.token_id for event in run if isinstance(event, TokenEvent)]


def prompts(count: int, vocab_len: int, longest: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, vocab_len) for _ in range(draw.randint(1, longest))] for _ in range(count)]
