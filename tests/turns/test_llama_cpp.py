"""What a border says is cached is what a real llama.cpp reports, turn by turn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from chatlab.embedded import dialogues_path, model_path
from chatlab.prompts.dialogue import Dialogue, read_dialogues
from chatlab.tokenizers.load import load_tokenizer
from chatlab.turns.border import Border
from tests.support.gguf_model import write_gguf

xllamacpp = pytest.importorskip("xllamacpp", reason="the real llama.cpp server is the package xllamacpp")
COUNT = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 8
TOKENIZER = load_tokenizer(model_path(), legacy=True)
TURNS = 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    params = xllamacpp.CommonParams()
    params.model.path = str(write_gguf(model_path(), tmp_path_factory.mktemp("gguf") / "tiny.gguf"))
    params.port, params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 0, 1024, 1, False, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib, params.endpoint_props = 0, True
    server = xllamacpp.Server(params)
    with httpx2.Client(base_url=server.listening_address, trust_env=False, timeout=60) as client:
        yield client
    del server


def asked(client: httpx2.Client, prompt_ids: list[int], n_predict: int) -> tuple[list[int], int]:
    """The ids of the reply, and how many ids of the prompt the server had."""
    body = {"prompt": prompt_ids, "n_predict": n_predict, "temperature": 0, "cache_prompt": True, "return_tokens": True}
    told: dict[str, Any] = client.post("/completion", json=body).json()
    return told["tokens"], told["timings"]["cache_n"]


def talks() -> list[Dialogue]:
    found = [d for d in read_dialogues(dialogues_path()) if len(d.turns) >= TURNS]
    return found[:: max(1, len(found) // COUNT)][:COUNT]


@pytest.mark.parametrize("stored", ["verbatim", "stripped"])
def test_what_is_predicted_to_be_cached_is_what_the_server_found(client: httpx2.Client, stored: str) -> None:
    """The program re-reads text each turn; of the very first turn nobody knows what the server held before."""
    hits = misses = lost = 0
    for number, talk in enumerate(talks()):
        text, calls = "", list[tuple[list[int], list[int], int]]()
        for turn in talk.turns[:TURNS]:
            text += f"[INST] {turn.user} [/INST]"
            prompt_ids = [1, *TOKENIZER.encode(text)][-900:]
            reply_ids, cached = asked(client, prompt_ids, 12 + number % 5)
            calls.append((prompt_ids, reply_ids, cached))
            reply = TOKENIZER.decode(reply_ids)
            text += reply.strip() if stored == "stripped" else reply
        for (prompt_ids, reply_ids, _), (after, _, cached) in pairwise(calls):
            border = Border(prompt_ids=tuple(prompt_ids), reply_ids=tuple(reply_ids), next_ids=tuple(after))
            hits += border.cached_len == cached
            misses += border.cached_len != cached
            lost += border.wasted_len > 0
    assert hits + misses == COUNT * (TURNS - 1)
    assert hits >= 0.99 * (hits + misses), (hits, misses)
    assert lost, "a conversation that loses nothing proves little"
