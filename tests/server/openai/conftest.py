"""One server of a tiny model, and one that says what it is told to, for the whole room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from chatlab.engines.local import LocalEngine
from chatlab.server.admission import Admission
from chatlab.server.limits import Limits
from chatlab.server.serving import Serving
from chatlab.testing import ScriptedEngine, tiny_llama
from tests.server.openai.live import chat_tokenizer, served, wait_for


@dataclass
class Live:
    """A server that runs, and what runs in it."""

    url: str
    loop: asyncio.AbstractEventLoop
    serving: Serving

    def close(self, grace_s: float) -> bool:
        """Shut the serving down, as a program's lifespan does."""
        return asyncio.run_coroutine_threadsafe(self.serving.close(grace_s), self.loop).result(30)

    def idle(self) -> float:
        """Wait until nothing is held; seconds that it took."""
        load = self.serving.admission.load
        return wait_for(lambda: (load().running, load().waiting, self.serving.engine.active_len) == (0, 0, 0))


@pytest.fixture(scope="session")
def local() -> Iterator[Live]:
    """A Llama with random weights."""
    torch.set_num_threads(1)
    tokenizer = chat_tokenizer()
    with LocalEngine(tiny_llama(tokenizer.vocab_len), tokenizer, eos_ids=()) as engine:
        serving = Serving(engine, admission=Admission(2, 5))
        with served(serving) as (url, loop):
            yield Live(url, loop, serving)


@pytest.fixture
def scripted() -> Iterator[type]:
    """Start servers that say what they are told to; at the end nothing is held in them."""
    with ScriptedServers() as servers:
        yield servers


class ScriptedServers:
    """Each call starts one."""

    def __init__(self) -> None:
        self._open: list = []

    def __enter__(self):
        return self

    def __call__(self, script, *, running: int = 2, waiting: int = 5, limits: Limits | None = None, **engine) -> Live:
        engine = ScriptedEngine(script, chat_tokenizer(), **engine)
        serving = Serving(engine, admission=Admission(running, waiting), limits=limits)
        context = served(serving)
        live = Live(*context.__enter__(), serving)
        self._open.append((context, live))
        return live

    def __exit__(self, *exc: object) -> None:
        for context, live in self._open:
            live.idle()
            context.__exit__(None, None, None)
            live.serving.engine.close()
