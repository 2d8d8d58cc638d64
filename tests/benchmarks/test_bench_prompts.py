"""What prompts cost: a turn of a long dialogue, and the control-token law beside a bare encode."""

from __future__ import annotations

import statistics
import time

import pytest

from chatlab.prompts.control_tokens import encode_prompt
from chatlab.prompts.dialogue import prompts_of
from chatlab.prompts.registry import FORMATS
from tests.prompts.small_tokenizers import encodable_dialogues, small_tokenizers

WORDS = "Who is the director of the film that we saw together last week in the old cinema by the river? "


def filled(name, turns):
    prompt = FORMATS[name]()
    for number in range(turns):
        prompt.add_requester_msg(f"{number} {WORDS}")
        prompt.add_responder_msg(WORDS * 3)
    prompt.remove_last_message()
    prompt.add_responder_msg(None)
    return prompt


def seconds(call, rounds=30):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@pytest.mark.parametrize("name", ["llama2-chatstream", "mistral-v3", "llama3", "chatml"])
def test_a_turn_of_a_50_turn_prompt(benchmark, name):
    """Add a question, open the reply, build the prompt, fill the reply: fifty times in one dialogue."""

    def dialogue():
        prompt = FORMATS[name]()
        for _ in range(50):
            prompt.add_requester_msg(WORDS)
            prompt.add_responder_msg(None)
            prompt.create_prompt()
            prompt.set_responder_last_msg(WORDS)

    benchmark(dialogue)
    turn_ms = benchmark.stats["median"] / 50 * 1e3
    growth = seconds(filled(name, 200).create_prompt) / seconds(filled(name, 50).create_prompt)
    benchmark.extra_info |= {"ms_a_turn": turn_ms, "time_of_200_turns_over_50": growth}
    print(f"\n{name}: {turn_ms:.3f} ms a turn, 200 turns take {growth:.1f} times 50 (linear: 4)")
    assert turn_ms < 1
    assert growth < 6


def test_the_law_beside_a_bare_encode(benchmark):
    """``encode_prompt`` over building and encoding the same prompts, on clean embedded dialogues."""
    tokenizer = small_tokenizers()["byte bpe"]
    prompts = [p for d in encodable_dialogues()[:200] for _, p in prompts_of(d, FORMATS["chatml"])]
    prompts = [prompt for prompt in prompts if not encode_prompt(tokenizer, prompt).forged]
    texts = [prompt.create_prompt() for prompt in prompts]
    bare = seconds(lambda: [tokenizer.encode(text, add_special_tokens=False).ids for text in texts], rounds=5)
    benchmark(lambda: [encode_prompt(tokenizer, prompt) for prompt in prompts])
    ratio = benchmark.stats["median"] / bare
    benchmark.extra_info["over_bare_encode"] = ratio
    print(
        f"\nencode_prompt: {ratio:.2f} times the bare encode, {benchmark.stats['median'] / len(prompts) * 1e6:.0f} µs a prompt"
    )
