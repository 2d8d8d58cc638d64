"""Engines for the streaming tests: a scripted one, and a tiny model's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from chatlab.engines.local import LocalEngine
from chatlab.testing import tiny_llama, tiny_tokenizer


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("chatlab"):
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def model():
    """A Llama with random weights that can spell in bytes."""
    torch.set_num_threads(1)
    return tiny_llama(tiny_tokenizer("byte-level").vocab_len)


@pytest.fixture
def engine(model) -> Iterator[LocalEngine]:
    """The model's engine; it has no end token, so replies run until they are stopped."""
    with LocalEngine(model, tiny_tokenizer("byte-level"), eos_ids=()) as engine:
        yield engine
