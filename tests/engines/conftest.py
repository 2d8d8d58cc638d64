"""One tiny model and its engine for the whole room."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from chatlab.engines.local import LocalEngine
from chatlab.testing import tiny_llama, tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model():
    """A Llama with random weights: 2 layers, 463 ids."""
    return tiny_llama(tiny_tokenizer("byte-level").vocab_len)


@pytest.fixture
def engine(model) -> Iterator[LocalEngine]:
    """A LocalEngine that must be idle, without a thread, when the test is over."""
    with LocalEngine(model, tiny_tokenizer("byte-level"), eos_ids=()) as engine:
        yield engine
    assert engine.active_len == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "chatlab-local-engine"]
