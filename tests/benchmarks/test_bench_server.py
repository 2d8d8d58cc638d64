"""ChatStream beside the published chatstream 0.3.0 and ``transformers serve``: one model, one sampling, one run.

Each server is a process of its own with one torch thread and eight places; the clients are bare sockets and take turns
over the servers. Wall time: chatstream waits between tokens. A peer that cannot be installed is skipped, and says so.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from tests.benchmarks.served.clients import CHATSTREAM, DELTA, SERVE, SSE, Answered, Asking, ask, ask_all
from tests.benchmarks.served.models import save_model
from tests.benchmarks.served.servers import ONE_THREAD, PROGRAMS, chatstream_python, free_port, running, serve_command

SLOTS = 8
NEW_TOKENS = {"tiny": 128, "mid": 24}
ROUNDS = {"tiny": 5, "mid": 3}

Served = dict[str, tuple[int, Asking]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, real: Path) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_model(tmp_path_factory.mktemp(name), name, real / "llama-2")
        return made[name]

    return folder


def start(stack: ExitStack, program: str, python: str | Path, *arguments: object) -> int:
    folder, *numbers = arguments
    port = free_port()
    command = [python, PROGRAMS / program, folder, port, *numbers]
    return stack.enter_context(running([str(part) for part in command], port))


@pytest.fixture(scope="module", params=["tiny", "mid"])
def servers(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Iterator[tuple[str, Served]]:
    """All three with one model, warm."""
    name, new_tokens = request.param, NEW_TOKENS[request.param]
    folder = folders(name)
    with ExitStack() as stack:
        port = free_port()
        served: Served = {
            "chatlab": (start(stack, "chatlab_program.py", sys.executable, folder, SLOTS, new_tokens), SSE),
            "chatstream": (
                start(stack, "chatstream_program.py", chatstream_python(), folder, SLOTS, new_tokens),
                CHATSTREAM,
            ),
            "serve": (stack.enter_context(running(serve_command(folder, port), port)), SERVE),
        }
        for server, asking in served.values():
            ask_all(server, asking, ["Hello"], new_tokens)
        yield name, served


def in_turns(name: str, served: Served, clients: int) -> dict[str, tuple[float, float]]:
    """Tokens a second, and the worst time to a first token: of each server the median of its rounds."""
    figures: dict[str, list[tuple[float, float]]] = {who: [] for who in served}
    for round_number in range(ROUNDS[name]):
        texts = [f"Question {round_number} of user {user}: how are you?" for user in range(clients)]
        for who, (port, asking) in served.items():
            answers, seconds = ask_all(port, asking, texts, NEW_TOKENS[name])
            assert min(answer.token_len for answer in answers) > 0.9 * NEW_TOKENS[name]
            rate = clients * NEW_TOKENS[name] / seconds
            figures[who].append((rate, max(answer.first_s for answer in answers)))
    return {
        who: (statistics.median(rate for rate, _ in rounds), statistics.median(first for _, first in rounds))
        for who, rounds in figures.items()
    }


def report(benchmark: Any, capsys: pytest.CaptureFixture[str], words: str, **figures: object) -> None:
    benchmark.extra_info |= figures
    with capsys.disabled():
        print(f"\n{benchmark.name}: {words}")
    benchmark.pedantic(lambda: None, rounds=1)  # the figures are in extra_info; the fixture wants a call


@pytest.mark.parametrize("clients", [1, 2, 8])
def test_tokens_a_second_and_the_worst_first_token(benchmark, capsys, servers, clients: int) -> None:
    """Ahead of both; with eight clients of the 58 M model twice as fast, and nobody waits longer for a first token."""
    name, served = servers
    found = in_turns(name, served, clients)
    words = ", ".join(f"{who} {rate:.0f} tokens/s, {first:.3f} s" for who, (rate, first) in found.items())
    report(benchmark, capsys, words, **found)
    (rate, first), peers = found["chatlab"], {who: found[who] for who in ("chatstream", "serve")}
    factor = 2.0 if (name, clients) == ("mid", 8) else 1.0
    assert all(rate >= factor * other for other, _ in peers.values())
    if clients == 8:
        assert first <= peers["chatstream"][1]
        assert first <= peers["serve"][1] / 5


@pytest.mark.parametrize("wire", ["sse", "delta"])
def test_bytes_on_the_wire_grow_with_the_answer(benchmark, capsys, folders, wire: str) -> None:
    """Eight times the tokens are at most nine times the bytes."""
    lengths, kinds = (64, 512), {"sse": SSE, "delta": DELTA}
    with ExitStack() as stack:
        bytes_of = []
        for new_tokens in lengths:
            port = start(stack, "chatlab_program.py", sys.executable, folders("tiny"), SLOTS, new_tokens)
            answers, _ = ask_all(port, kinds[wire], ["Hello"], new_tokens)
            bytes_of.append(answers[0].byte_len)
    ratio = bytes_of[1] / bytes_of[0]
    report(benchmark, capsys, f"{bytes_of} bytes for {lengths} tokens: {ratio:.2f}×", ratio=ratio)
    assert ratio <= 1.125 * lengths[1] / lengths[0]


QUESTION = "And what about the {} of them, which I would like to know very much, with all that you can say of it today?"
NUMBERS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]


async def converse(port: int) -> list[Answered]:
    answers: list[Answered] = []
    for number in NUMBERS:
        cookie = answers[-1].cookie if answers else ""
        answers.append(await ask(port, SSE, " ".join([QUESTION.format(number)] * 3), NEW_TOKENS["mid"], cookie))
    return answers


def test_turn_10_of_a_session_starts_three_times_sooner(benchmark, capsys, folders) -> None:
    """Than with a server that reads every prompt anew; sessions of their own, in turns."""
    with ExitStack() as stack:
        ports = {
            reuse: start(stack, "chatlab_program.py", sys.executable, folders("mid"), SLOTS, NEW_TOKENS["mid"], reuse)
            for reuse in (0, 1)
        }
        firsts: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(3):
            for reuse, port in ports.items():
                firsts[reuse].append(asyncio.run(converse(port))[-1].first_s)
    anew, kept = (statistics.median(firsts[reuse]) for reuse in (0, 1))
    report(benchmark, capsys, f"{anew / kept:.1f}× (anew {anew:.3f} s, kept {kept:.3f} s)", ratio=anew / kept)
    assert anew >= 3 * kept


def test_turn_10_of_a_conversation_of_ids_starts_five_times_sooner(benchmark, capsys, folders) -> None:
    """What was said is never encoded again, so that a turn reads its bridge alone; the clock is this process's CPU time."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folders("mid")).eval()
    params = SamplingParams(temperature=0, max_new_tokens=NEW_TOKENS["mid"], context_len=4096)
    bridge = list(range(1000, 1060))

    def turn_10(engine: LocalEngine) -> float:
        ids = [1]
        for _ in range(9):
            ids += bridge
            ids += [event.token_id for event in list(engine.submit(ids, params))[:-1]]
        start_s = time.process_time()
        run = engine.submit(ids + bridge, params)
        next(run)
        took = time.process_time() - start_s
        run.cancel()
        engine.forget()
        return took

    with LocalEngine(model, eos_ids=()) as anew, LocalEngine(model, eos_ids=(), reuse_prefix=True) as reusing:
        pairs = [(turn_10(anew), turn_10(reusing)) for _ in range(3)]
    anew_s, kept_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    report(
        benchmark, capsys, f"{anew_s / kept_s:.1f}× (anew {anew_s:.3f} s, kept {kept_s:.3f} s)", ratio=anew_s / kept_s
    )
    assert anew_s >= 5 * kept_s


def test_what_is_kept_is_bounded_in_resident_memory_too(benchmark, capsys) -> None:
    """Under a bound of 64 MB, 450 requests beyond what an engine takes that keeps nothing: twice as much, and no creeping.

    The bytes are exact (see the tests of the engine); an allocator that tears its room into pieces takes a part of it again.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here to read the resident memory from")
    command = [sys.executable, str(PROGRAMS / "kept_program.py"), "64"]
    told = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True)
    empty, *resident = map(float, told.stdout.split())
    grown, crept = (
        statistics.median(resident[-3:]) - empty,
        statistics.median(resident[-3:]) - statistics.median(resident[1:4]),
    )
    words = f"64 MB kept, RSS grew by {grown:.0f} MB, by {crept:.0f} MB in the last 300 requests"
    report(benchmark, capsys, words, grown_mb=grown, crept_mb=crept)
    assert grown <= 2 * 64
    assert crept <= 64 / 4
