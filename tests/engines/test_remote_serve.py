"""RemoteEngine against a real server: ``transformers serve`` on the embedded model, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest
from transformers import AutoTokenizer

from chatlab.embedded import model_path
from chatlab.engines.dialects.server_text import server_text, text_of_prompt
from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.engines.remote import RemoteEngine
from chatlab.errors import RemoteLacks
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.streaming.asked_prompt import ids_of_prompt
from chatlab.streaming.stream import stream
from chatlab.tokenizers.load import load_tokenizer

NEEDS = ["fastapi", "uvicorn", "openai", "accelerate"]
PYTHON = os.environ.get("CHATLAB_SERVE_PYTHON", sys.executable)
PROMPT = "<s>[INST] Hello [/INST]"
TURNS = "<s>[INST] Hello [/INST] Hi there. </s><s>[INST] How are you? [/INST]"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing and sys.executable == PYTHON:
        pytest.skip(f"transformers serve needs {', '.join(missing)}: install them, or set CHATLAB_SERVE_PYTHON")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "transformers.cli.transformers", "serve", str(model_path())]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=env, **quiet)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            assert process.poll() is None, "transformers serve ended at its start"
            assert time.monotonic() < deadline, "transformers serve did not get ready"
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def engine(base_url: str) -> Iterator[RemoteEngine]:
    with RemoteEngine(base_url, str(model_path()), load_tokenizer(model_path())) as engine:
        yield engine


@pytest.mark.slow
def test_its_capabilities_are_what_it_does(engine) -> None:
    can = engine.capabilities
    assert (can.ids_in, can.ids_out, can.logprobs) == (False, False, False)
    assert "top_k" in can.sampling
    with pytest.raises(RemoteLacks):
        stream(PROMPT, engine, logprobs=1)


def dialogue() -> ChatPromptMetaLlamaLlama2Chat:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.set_system_prompt("Be kind.")
    prompt.add_requester_msg("Hello")
    prompt.add_responder_msg("Hi there.")
    prompt.add_requester_msg("How are you?")
    return prompt


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [PROMPT, TURNS, "Once  upon", dialogue()], ids=["one", "two", "plain", "class"])
def test_its_greedy_text_is_that_of_the_model_here(engine, prompt) -> None:
    """To the last character, over several turns; the server decodes a reply apart from its prompt."""
    tokenizer = load_tokenizer(model_path())

    def asked():
        return prompt if isinstance(prompt, str) else prompt.copy()

    with LocalEngine(load_model(model_path()), tokenizer) as local:
        here = stream(asked(), local, temperature=0, max_new_tokens=40).result()
    there = stream(asked(), engine, temperature=0, max_new_tokens=40).result()
    assert there.text == tokenizer.decode(here.token_ids)
    assert there.finish_reason == here.finish_reason
    assert there.token_ids == ()


@pytest.mark.parametrize("prompt", [PROMPT, TURNS, "Once  upon", " a ", dialogue()])
def test_the_servers_tokenizer_makes_our_ids_of_what_is_sent(prompt) -> None:
    """What ``transformers serve`` does with a prompt: it calls the tokenizer."""
    tokenizer = load_tokenizer(model_path())
    text = text_of_prompt(prompt if isinstance(prompt, str) else prompt.copy(), tokenizer)
    server = AutoTokenizer.from_pretrained(model_path())
    token_ids = ids_of_prompt(prompt, tokenizer)
    assert server(server_text(text, token_ids, tokenizer))["input_ids"] == token_ids


@pytest.mark.slow
def test_a_reply_that_is_stopped_frees_the_server(engine) -> None:
    for _ in range(10):
        for _ in stream(PROMPT, engine, max_new_tokens=500):
            break
    start = time.monotonic()
    assert stream(PROMPT, engine, temperature=0, max_new_tokens=5).result().text
    assert time.monotonic() - start < 20
