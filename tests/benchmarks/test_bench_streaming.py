"""What streaming costs beside ``generate`` with transformers' own streamer: equal sampling, interleaved, one thread.

The tiny model is the embedded one; the middle one is a random Llama of 58 million parameters, with the 32,000 ids of
the embedded tokenizer's family. Numbers are ratios of medians in one run.
"""

from __future__ import annotations

import functools
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, TextIteratorStreamer, TextStreamer

from chatlab.embedded import model_path
from chatlab.engines.batch import BatchEngine
from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.many import stream_many
from chatlab.streaming.stream import stream
from chatlab.testing import tiny_llama
from chatlab.tokenizers.load import as_tokenizer

SAMPLING = {"temperature": 0.8, "top_k": 50, "top_p": 0.9}


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_path())


@functools.cache
def model(name: str) -> Any:
    """A model without an end token, so that both sides say the same number of tokens."""
    made = (
        load_model(model_path())
        if name == "tiny"
        else tiny_llama(len(tokenizer()), hidden_len=640, layers=11, heads=10)
    )
    made.generation_config.eos_token_id = None
    return made


def one_line(made: Any) -> Any:
    """Forbid newlines and ids that end a line early, on both sides alike, by a hook on the logits."""
    pieces = [tokenizer().decode([5, i]) for i in range(made.config.vocab_size)]
    wide = [i for i, piece in enumerate(pieces) if "\n" in piece or not piece.isascii()]
    bias = torch.zeros(made.config.vocab_size)
    bias[[*wide, *tokenizer().all_special_ids]] = -1e9

    def forbid(module: Any, inputs: Any, output: Any) -> Any:
        output.logits.add_(bias)
        return output

    return made.register_forward_hook(forbid)


def peer_rate(made: Any, prompt_ids: Sequence[int], count: int) -> float:
    """Tokens a second of generate in a thread, read through TextIteratorStreamer."""
    streamer = TextIteratorStreamer(tokenizer(), skip_prompt=True, skip_special_tokens=True)
    options = {"max_new_tokens": count, "do_sample": True, "pad_token_id": 0, "streamer": streamer, **SAMPLING}
    thread = threading.Thread(target=made.generate, args=(torch.tensor([prompt_ids]),), kwargs=options)
    start = time.perf_counter()
    thread.start()
    for _ in streamer:
        pass
    thread.join()
    return count / (time.perf_counter() - start)


def our_rate(made: Any, prompt_ids: Sequence[int], count: int) -> float:
    """Tokens a second of stream."""
    with LocalEngine(made, tokenizer(), eos_ids=()) as engine:
        start = time.perf_counter()
        deltas = sum(1 for _ in stream(prompt_ids, engine, max_new_tokens=count, context_len=4096, **SAMPLING))
        took = time.perf_counter() - start
    assert deltas == count + 1
    return count / took


def interleaved(peer: Callable[[], float], ours: Callable[[], float], rounds: int) -> tuple[float, float]:
    pairs = [(peer(), ours()) for _ in range(rounds)]
    return statistics.median(p for p, _ in pairs), statistics.median(o for _, o in pairs)


def report(benchmark: Any, promise: float, ratio: float, **figures: Any) -> None:
    benchmark.extra_info |= {"ratio": ratio, "promise": promise} | figures
    words = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )
    print(f"\n{benchmark.name}: ratio {ratio:.2f} (promised {promise}); {words}")
    benchmark.pedantic(lambda: None, rounds=1)  # the figures are in extra_info; the fixture wants a call


@pytest.mark.parametrize(("name", "count"), [("tiny", 256), ("middle", 48)])
def test_a_single_stream_is_no_slower_than_generate(benchmark, name: str, count: int) -> None:
    made, prompt = model(name), tokenizer()("Hello, how are you?")["input_ids"]
    peer, ours = interleaved(lambda: peer_rate(made, prompt, count), lambda: our_rate(made, prompt, count), 5)
    report(benchmark, 1.0, ours / peer, peer_tokens_s=peer, our_tokens_s=ours, parameters=made.num_parameters())
    assert ours >= peer


def test_2000_tokens_of_one_line_are_faster_by_half(benchmark) -> None:
    made, prompt = model("tiny"), tokenizer()("Hello, how are you?")["input_ids"]
    hook = one_line(made)
    try:
        peer, ours = interleaved(lambda: peer_rate(made, prompt, 2000), lambda: our_rate(made, prompt, 2000), 3)
    finally:
        hook.remove()
    report(benchmark, 1.5, ours / peer, peer_tokens_s=peer, our_tokens_s=ours)
    assert ours >= 1.5 * peer


def flood(kind: str) -> list[int]:
    """More than 8,200 ids of one line."""
    encode = functools.partial(tokenizer().encode, add_special_tokens=False)
    texts = {
        "English": "the quick brown fox jumps over the lazy dog and on ",
        "Japanese": "今日はいい天気ですね日本語の文です",
    }
    if kind in texts:
        ids = encode(texts[kind])
        return ids * (8_300 // len(ids) + 1)
    return [tokenizer().convert_tokens_to_ids("<0xFF>" if kind == "0xFF" else "</s>")] * 8_300


def put_seconds(ids: Sequence[int]) -> list[float]:
    reader = as_tokenizer(tokenizer())
    detokenizer = StreamingDetokenizer(reader.decoder(), ids[:5], reader.special_ids)
    times = []
    for token_id in ids[5:]:
        start = time.perf_counter()
        detokenizer.put([token_id])
        times.append(time.perf_counter() - start)
    return times


@pytest.mark.parametrize("kind", ["English", "Japanese", "0xFF", "special"])
def test_a_token_costs_the_same_at_8000_as_at_100(benchmark, kind: str) -> None:
    ratios, figures = [], []
    for _ in range(5):
        times = put_seconds(flood(kind))
        early, late = statistics.median(times[50:250]), statistics.median(times[7_900:8_100])
        ratios.append(late / early)
        figures.append(late)
    ratio = statistics.median(ratios)
    report(benchmark, 1.5, ratio, us_a_token=statistics.median(figures) * 1e6)
    assert ratio <= 1.5


class Silent(TextStreamer):
    """TextStreamer without the printing."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


def test_detokenizing_4000_tokens_of_one_line_is_100_times_cheaper(benchmark) -> None:
    ids = flood("English")[:4_005]

    def theirs() -> float:
        streamer = Silent(tokenizer())
        start = time.perf_counter()
        for token_id in ids[5:]:
            streamer.put(torch.tensor([token_id]))
        streamer.end()
        return time.perf_counter() - start

    peer, ours = interleaved(theirs, lambda: sum(put_seconds(ids)), 3)
    report(benchmark, 100, peer / ours, peer_s=peer, our_s=ours)
    assert peer >= 100 * ours


def sequential_rate(made: Any, prompts: list[list[int]], count: int) -> float:
    start = time.perf_counter()
    for prompt in prompts:
        streamer = TextIteratorStreamer(tokenizer(), skip_prompt=True)
        options = {"max_new_tokens": count, "do_sample": True, "pad_token_id": 0, "streamer": streamer, **SAMPLING}
        made.generate(torch.tensor([prompt]), **options)
    return len(prompts) * count / (time.perf_counter() - start)


def together_rate(engine: Any, prompts: list[list[int]], count: int) -> float:
    start = time.perf_counter()
    rows = stream_many(prompts, engine, max_new_tokens=count, **SAMPLING)
    assert sum(1 for _ in rows) == len(prompts) * (count + 1)
    return len(prompts) * count / (time.perf_counter() - start)


ENGINES: dict[str, Callable[[Any], Any]] = {
    "BatchEngine": lambda made: BatchEngine(
        made, tokenizer(), params=SamplingParams(**SAMPLING), eos_ids=(), cache_len=4096
    ),
    "BatchEngine, own sampling each": lambda made: BatchEngine(made, tokenizer(), eos_ids=(), cache_len=4096),
    "LocalEngine, decode_rows=8": lambda made: LocalEngine(made, tokenizer(), eos_ids=(), decode_rows=8),
}


@pytest.mark.parametrize("kind", ENGINES)
def test_8_requests_together_beat_8_in_a_row(benchmark, kind: str) -> None:
    """The promise is BatchEngine's; the others are measured beside it."""
    made = model("middle")
    prompts = [tokenizer()(f"Question {n}: how are you?")["input_ids"] for n in range(8)]
    with ENGINES[kind](made) as engine:
        together_rate(engine, prompts, 4)  # its worker and cache stand
        peer, ours = interleaved(
            lambda: sequential_rate(made, prompts, 24), lambda: together_rate(engine, prompts, 24), 3
        )
    report(benchmark, 2.5, ours / peer, peer_tokens_s=peer, our_tokens_s=ours)
    if kind == "BatchEngine":
        assert ours >= 2.5 * peer


def test_a_short_request_does_not_wait_for_a_3000_token_prefill(benchmark) -> None:
    made = tiny_llama(len(tokenizer()), hidden_len=320, layers=6, heads=10, context_len=4096)
    with LocalEngine(made, tokenizer(), eos_ids=()) as engine:
        params = SamplingParams(context_len=4096, max_new_tokens=2)
        start = time.perf_counter()
        long = engine.submit([5 + n % 100 for n in range(3000)], params)
        time.sleep(0.01)
        asked = time.perf_counter()
        engine.submit([7, 8, 9], params).get(60)
        short_s = time.perf_counter() - asked
        long.get(120)
        long_s = time.perf_counter() - start
    report(benchmark, 1.0, long_s / short_s, short_first_token_s=short_s, long_first_token_s=long_s)
    assert short_s < long_s


def replies(
    engine: Any, prompts: list[list[int]], params: SamplingParams, at_once: int, seeded: bool
) -> list[list[int]]:
    """The ids of each prompt's reply, so many requests at a time."""
    found: list[list[int]] = []
    for at in range(0, len(prompts), at_once):
        group = list(enumerate(prompts))[at : at + at_once]
        runs = [engine.submit(prompt, params, seed=number if seeded else None) for number, prompt in group]
        found += [[event.token_id for event in run if hasattr(event, "token_id")] for run in runs]
    return found


@pytest.mark.parametrize("mode", ["greedy", "sampled"])
def test_how_often_a_batch_flips_an_id(benchmark, mode: str) -> None:
    """1,000 prompts of 16 tokens in float32, 16 at a time: replies that differ from those made alone."""
    made = model("tiny")
    params = SamplingParams(temperature=0.0 if mode == "greedy" else 1.0, max_new_tokens=16)
    draw = random.Random(0)
    prompts = [[draw.randrange(3, 2_900) for _ in range(draw.randint(1, 40))] for _ in range(1_000)]
    with LocalEngine(made, eos_ids=()) as engine:
        alone = replies(engine, prompts, params, 1, seeded=True)
    with LocalEngine(made, eos_ids=(), decode_rows=8) as engine:
        exact = engine.exact
        rows_alone = replies(engine, prompts, params, 1, seeded=True)
        rows_among = replies(engine, prompts, params, 16, seeded=True)
    figures = {
        "rows_flipped_by_neighbours": differing(rows_alone, rows_among),
        "rows_unlike_alone": differing(alone, rows_among),
    }
    if mode == "greedy":
        with BatchEngine(made, params=params, eos_ids=(), cache_len=4096) as engine:
            figures["continuous_batching_unlike_alone"] = differing(
                alone, replies(engine, prompts, params, 16, seeded=False)
            )
    report(benchmark, 0, float(figures["rows_flipped_by_neighbours"]), exact=exact, **figures)
    assert not exact or figures["rows_flipped_by_neighbours"] == 0


def differing(some: list[list[int]], others: list[list[int]]) -> int:
    return sum(a != b for a, b in zip(some, others, strict=True))
