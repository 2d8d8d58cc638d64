"""What measuring the borders of conversations costs beside encoding every prompt of them once."""

from __future__ import annotations

import time
from itertools import cycle, islice
from typing import Any

import pytest

from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.base import prompt_text
from chatlab.prompts.dialogue import Dialogue, prompts_of, read_dialogues
from chatlab.prompts.formats.registry import prompt_class
from chatlab.tokenizers.load import load_tokenizer
from chatlab.turns.measure import iter_turns
from chatlab.widgets.turns.turns_view import TurnsView
from tests.support.long_talk import TOKENS, long_trace

BORDERS = 100_000


def dialogues(count: int) -> list[Dialogue]:
    """Enough conversations for so many borders."""
    talks = [d for d in read_dialogues(dialogues_path()) if len(d.turns) > 1]
    per_round = sum(len(d.turns) - 1 for d in talks)
    return list(islice(cycle(talks), len(talks) * count // per_round))


@pytest.mark.parametrize(
    ("name", "form", "count", "rounds"), [("phi-3/after", "phi3-2024-05", BORDERS, 1), ("embedded", "llama2", 4_000, 3)]
)
def test_measuring_borders_beside_encoding_every_prompt_once(ratio, name, form, count, rounds, request) -> None:
    """Target: at most twice the time of writing each prompt and encoding it once.

    Both sides begin with the dialogues; what the encoding alone takes is printed beside it: with a fast tokenizer and
    short prompts the writing takes as long.
    """
    folder = tokenizer_path("phi3-style/before") if name == "embedded" else request.getfixturevalue("real") / name
    tokenizer, made = load_tokenizer(folder), prompt_class(form)
    talks = dialogues(count)

    def ours() -> None:
        for _ in iter_turns(talks, form, tokenizer, trace=False):
            pass

    def write() -> list[str]:
        return [prompt_text(prompt) for talk in talks for _, prompt in prompts_of(talk, made)]

    def encode(texts: list[str]) -> None:
        for at in range(0, len(texts), 1024):
            tokenizer.encode_batch(texts[at : at + 1024])

    texts = write()
    borders = len(texts) - len(talks)
    ratio(
        f"measure_turns over writing and encode_batch ({name}, {borders:,} borders)",
        ours,
        lambda: encode(write()),
        limit=2.0,
        rounds=rounds,
    )
    start = time.process_time()
    encode(texts)
    print(f"encode_batch alone: {1000 * (time.process_time() - start):.0f} ms")


def test_a_long_conversation_is_drawn_at_once_and_small(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Target: 128 turns and 70,000 ids in at most 300 ms and 1 MB."""
    trace = long_trace()
    benchmark.pedantic(lambda: TurnsView(trace).page(), rounds=5, warmup_rounds=1)
    took_ms, size = benchmark.stats.stats.median * 1000, len(TurnsView(trace).page().encode())
    benchmark.extra_info |= {"ms": took_ms, "bytes": size}
    with capsys.disabled():
        print(f"\nTurnsView, {len(trace.turns)} turns, {TOKENS:,} ids: {took_ms:.0f} ms, {size / 1000:.0f} kB")
    assert took_ms <= 300
    assert size <= 1_000_000
