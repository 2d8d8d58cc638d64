"""What a conversation saves that is kept in ids: the time to the first token of its tenth turn, and the memory for it."""

from __future__ import annotations

import functools
import statistics
import time
import tracemalloc
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from chatlab.embedded import model_path
from chatlab.engines.local import LocalEngine
from chatlab.engines.scripted import ScriptedEngine
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.stream import stream
from chatlab.testing import tiny_llama
from tests.benchmarks.conftest import times_text

QUESTION = (
    "What do you think of number {0}, and of the {0} that come after it, one by one, in the order of their names?"
)
CONTEXT_LEN = 4096


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
def model() -> Any:
    made = tiny_llama(len(tokenizer()), hidden_len=640, layers=11, heads=10, context_len=CONTEXT_LEN)
    made.generation_config.eos_token_id = None
    return made


def first_token_s(way: str, turns: int = 10) -> tuple[float, int]:
    """Seconds of the processor to the first token of the last turn, and ids of its prompt."""
    with LocalEngine(model(), tokenizer(), eos_ids=(), reuse_prefix=way != "anew") as engine:
        prompt = ChatTemplatePrompt(tokenizer())
        source: Any = Conversation(prompt, engine) if way == "kept" else prompt
        for number in range(turns):
            prompt.add_requester_msg((QUESTION * 2).format(number))
            start = time.process_time()  # of one thread: others use this machine, too
            with stream(
                source, engine, max_new_tokens=12, context_len=CONTEXT_LEN, temperature=1, seed=number
            ) as reply:
                next(reply)
                took = time.process_time() - start
                reply.result()
        assert engine.kept_bytes <= 2**30
        return took, reply.events.prompt_len


def test_the_tenth_turn_begins_five_times_sooner(benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of 58 million parameters; the second peer keeps the prefix, too, but renders and encodes the history anew."""
    times: dict[str, list[float]] = {"kept": [], "anew": [], "cached, encoded anew": []}
    lens: dict[str, int] = {}
    for _ in range(3):
        for way, found in times.items():
            took, lens[way] = first_token_s(way)
            found.append(took)
    medians = {way: statistics.median(found) for way, found in times.items()}
    gain = medians["anew"] / medians["kept"]
    benchmark.extra_info |= {"ratio": gain, "limit": 5, **medians, "prompt_lens": lens}
    benchmark.pedantic(lambda: None, rounds=1)
    with capsys.disabled():
        told = ", ".join(f"{way} {times_text(found)} (prompt of {lens[way]} ids)" for way, found in times.items())
        print(f"\nfirst token of turn 10: {gain:.1f}× sooner, limit 5× ({told})")
    assert gain >= 5


def kept_bytes(turns: int) -> int:
    """What a conversation of so many turns takes, and what it leaves behind when it is over."""
    engine = ScriptedEngine([tokenizer().encode("an answer of some words, as they are")], tokenizer())
    conversation = Conversation(ChatTemplatePrompt(tokenizer()), engine)
    tracemalloc.start()
    for number in range(turns):
        conversation.ask(f"question {number}")
        stream(conversation, engine, context_len=10**6).result()
        engine.prompts.clear()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken


def test_memory_grows_with_what_was_said_and_no_faster(benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    """Four times the turns, no more than five times the bytes: no call keeps its whole prompt."""
    few, many = kept_bytes(15), kept_bytes(60)
    benchmark.extra_info |= {"bytes_15": few, "bytes_60": many}
    benchmark.pedantic(lambda: None, rounds=1)
    with capsys.disabled():
        print(f"\nmemory of 15 turns {few:,} bytes, of 60 turns {many:,}")
    assert many < 5 * few
