"""What measuring and tracing cost beside bare encoding and decoding of the same texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import pytest

from chatlab.echo.experiment import _Experiment, iter_drift, measure_drift
from chatlab.echo.growing import GrowingPrompts
from chatlab.echo.trace import trace_echoes
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import Dialogue, prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.load import load_tokenizer


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return list(islice(read_dialogues(dialogues_path()), 0, None, 3))


@pytest.mark.parametrize("name", ["llama2-style/legacy", "llama-2"])
def test_measuring_beside_bare_encode_and_decode(ratio, dialogues, name, request) -> None:
    """Target: at least 0.8 of the bare throughput, so a ratio of times of at most 1.25."""
    if name == "llama-2":
        tokenizer = load_tokenizer(request.getfixturevalue("real") / name, loader="transformers", legacy=True)
    else:
        tokenizer = load_tokenizer(tokenizer_path(name))
    experiment = _Experiment(tokenizer, ChatPromptMetaLlamaLlama2Chat, "dataset", "word", None)
    turns = experiment.turns(dialogues)
    prompts = [turn.case.prompt_text for turn in turns]
    replies = ["\n" + turn.reply for turn in turns]
    rust = tokenizer._rust

    def bare() -> None:
        prompt_ids = [e.ids for e in rust.encode_batch_fast(prompts, add_special_tokens=False)]
        reply_ids = [e.ids for e in rust.encode_batch_fast(replies, add_special_tokens=False)]
        rust.decode_batch(prompt_ids, skip_special_tokens=True)
        rust.decode_batch([p + r for p, r in zip(prompt_ids, reply_ids, strict=True)], skip_special_tokens=True)
        rust.decode_batch(reply_ids, skip_special_tokens=True)
        rust.decode_batch(reply_ids, skip_special_tokens=True)

    value = ratio(
        f"measure_drift over bare encode_batch + decode_batch ({name}, {len(prompts)} prompts)",
        lambda: measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, tokenizer),
        bare,
        limit=1.25,
    )
    print(f"throughput: {1 / value:.2f} of bare")


@pytest.mark.parametrize("name", ["llama2-style/legacy", "byte-bpe"])
def test_long_dialogues_are_encoded_part_by_part(ratio, name) -> None:
    """Prompts of one dialogue share their beginning: at six turns and more, their encoding takes at most 0.7 of the plain."""
    tokenizer = load_tokenizer(tokenizer_path(name))
    long = [d for d in read_dialogues(dialogues_path()) if len(d.turns) >= 6]
    texts = [p.create_prompt() for d in long for _, p in prompts_of(d, ChatPromptMetaLlamaLlama2Chat)]
    growing = GrowingPrompts(tokenizer)
    ratio(
        f"encoding the prompts of long dialogues part by part, over the plain way ({name}, {len(texts)} prompts)",
        lambda: growing.encode_batch(texts),
        lambda: tokenizer.encode_batch(texts),
        limit=0.7,
    )


@pytest.mark.parametrize("name", ["llama2-style/legacy", "llama-2"])
def test_tracing_beside_bare_encode_and_decode(ratio, dialogues, name, request) -> None:
    """Target: at most 10 times the bare encode and decode of the same prompts."""
    if name == "llama-2":
        tokenizer = load_tokenizer(request.getfixturevalue("real") / name, loader="transformers", legacy=True)
    else:
        tokenizer = load_tokenizer(tokenizer_path(name))
    prompts = [p.create_prompt() for d in dialogues for _, p in prompts_of(d, ChatPromptMetaLlamaLlama2Chat)]
    ratio(
        f"trace_echo over bare encode_batch + decode_batch ({name}, {len(prompts)} prompts)",
        lambda: sum(1 for _ in trace_echoes(tokenizer, prompts)),
        lambda: tokenizer.decode_batch(tokenizer.encode_batch(prompts)),
        limit=10,
        rounds=3,
    )


STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """The peak of this process since its program began; ``getrusage`` also counts what its parent held before that."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[0]) / 1024


def peak_growth(count: int) -> tuple[int, float]:
    """Measure so many dialogues: the rows, and by how many MB the peak grew over that of a thousand.

    It wants a process of its own: the peak of one that has done other work hides what this work takes.
    """
    few = list(islice(read_dialogues(dialogues_path()), 0, None, 30))
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))

    def many(count: int) -> Iterator[Dialogue]:
        for number in range(count):
            yield few[number % len(few)]

    def run(count: int) -> int:
        return sum(len(frame) for frame in iter_drift(many(count), ChatPromptMetaLlamaLlama2Chat, tokenizer))

    run(1_000)
    before = peak_mb()
    rows = run(count)
    return rows, peak_mb() - before


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of one process alone is read from Linux's /proc")
def test_a_hundred_thousand_dialogues_stream(benchmark, capsys) -> None:
    """Target: less than 200 MB growth of peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows, growth = benchmark.pedantic(lambda: pool.submit(peak_growth, 100_000).result(), rounds=1)
    benchmark.extra_info["growth_mb"] = growth
    with capsys.disabled():
        print(f"\n100,000 dialogues, {rows:,} rows: peak memory grew by {growth:.0f} MB")
    assert growth < 200
