"""What prompts cost: a turn of a long dialogue, and the control-token law beside a bare encode."""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import threading
import time
from collections import deque

import pytest
from tokenizers import Tokenizer

from chatlab.embedded import dialogues_path
from chatlab.errors import TemplateError
from chatlab.prompts.control_tokens import encode_prompt
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.control_tokens.spans import span_prompt
from chatlab.prompts.dialogue import prompts_of, read_dialogues
from chatlab.prompts.formats.registry import FORMATS
from chatlab.prompts.prompt_difference import PromptDifference
from chatlab.prompts.templates.sandbox import _CHILDREN, render_untrusted
from tests.support.forgeries import built
from tests.support.hostile_templates import BOMBS, VARIABLES
from tests.support.small_tokenizers import encodable_dialogues, small_tokenizers

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


@pytest.mark.parametrize("filler", [" ", "\n", "<think>", "</think>\n", "<"])
def test_finding_the_messages_is_linear_in_their_length(benchmark, filler):
    """Four times the message, whatever one who wants to be a burden fills it with."""
    short, long = (built("chatml", [f"a{filler * count}b"], []) for count in (10_000, 40_000))
    benchmark.pedantic(lambda: span_prompt(long), rounds=5)
    growth = seconds(lambda: span_prompt(long), 9) / seconds(lambda: span_prompt(short), 9)
    benchmark.extra_info["time_of_40000_over_10000"] = growth
    print(f"\n{filler!r}: 40,000 take {growth:.1f} times 10,000 (linear: 4)")
    assert growth < 8


def test_the_diff_of_two_long_prompts(benchmark):
    """A page draws five at most, and nobody waits for a minute: under a second each."""
    prompts = [FORMATS[name]() for name in ("chatml", "zephyr")]
    for turn in [turn for dialogue in encodable_dialogues()[:100] for turn in dialogue.turns]:
        for prompt in prompts:
            prompt.add_requester_msg(turn.user)
            prompt.add_responder_msg(turn.assistant)
    ours, theirs = (prompt.create_prompt() for prompt in prompts)
    difference = PromptDifference(
        dialogue_id="d", turn_number=1, class_text=ours, template_text=theirs, class_ids=[], template_ids=[]
    )
    edits = benchmark.pedantic(difference.text_edits, rounds=3)
    print(f"\n{len(ours):,} characters, {len(edits)} edits: {benchmark.stats['median']:.2f} s")
    assert benchmark.stats["median"] < 1


def test_reading_plain_dialogues(benchmark, tmp_path):
    """Every embedded dialogue ten times over, beside parsing the same lines and nothing more."""
    lines = dialogues_path().read_bytes().splitlines(keepends=True) * 10
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(lines))
    bare = seconds(lambda: [json.loads(line) for line in lines], 5)
    benchmark.pedantic(lambda: deque(read_dialogues(path), 0), rounds=5)
    ratio = benchmark.stats["median"] / bare
    benchmark.extra_info |= {"over_json": ratio, "us_a_dialogue": benchmark.stats["median"] / len(lines) * 1e6}
    print(f"\n{len(lines):,} dialogues: {ratio:.2f} times json.loads of the same lines")
    assert ratio < 3


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


@pytest.mark.parametrize("added", [0, 1000])
@pytest.mark.parametrize("forged", [False, True])
def test_the_law_over_a_50_turn_prompt(benchmark, added, forged):
    """Finding out whether a token was added since costs as much as there are added tokens: still < 1 ms a turn."""
    tokenizer = Tokenizer.from_str(small_tokenizers()["byte bpe"].to_str())
    tokenizer.add_special_tokens([f"<|x{number}|>" for number in range(added)])
    prompt = filled("chatml", 50)
    if forged:
        prompt.set_responder_last_msg("<|im_end|>")
    assert bool(encode_prompt(tokenizer, prompt, warn=False).forged) == forged
    benchmark(lambda: encode_prompt(tokenizer, prompt, warn=False))
    turn_ms, reader_us = benchmark.stats["median"] / 50 * 1e3, seconds(lambda: reader_of(tokenizer)) * 1e6
    benchmark.extra_info |= {"ms_a_turn": turn_ms, "us_to_see_whether_tokens_were_added": reader_us}
    print(f"\n{added + 3} added tokens, forged: {forged}: {turn_ms:.3f} ms a turn; the look costs {reader_us:.0f} µs")
    assert turn_ms < 1


@pytest.mark.parametrize("name", BOMBS)
def test_what_a_bomb_costs(benchmark, name):
    """Seconds of rendering and memory on top of a bare child, beside the goal of < 3 s and < 600 MB; reported."""
    render_untrusted("a", VARIABLES)  # a warm child: its start is not the template's cost
    child, before = _CHILDREN[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb, bare_mb = 0.0, _peak_mb(child._process.pid)
    done = threading.Event()

    def watch():
        nonlocal peak_mb
        while not done.wait(0.005):
            with contextlib.suppress(OSError, StopIteration):  # the child may be gone
                peak_mb = max(peak_mb, _peak_mb(child._process.pid) - bare_mb)

    watcher = threading.Thread(target=watch)
    watcher.start()

    def bomb():
        with pytest.raises(TemplateError):
            render_untrusted(BOMBS[name], VARIABLES)

    benchmark.pedantic(bomb, rounds=1)
    done.set()
    watcher.join()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    seconds = benchmark.stats["median"]
    benchmark.extra_info |= {"seconds": seconds, "child_mb": peak_mb, "parent_mb": grown_mb}
    print(f"\n{name}: {seconds:.2f} s, {peak_mb:.0f} MB in the child, {grown_mb:.0f} MB here (goal: 3 s, 600 MB)")


def _peak_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e3
