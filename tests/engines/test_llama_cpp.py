"""RemoteEngine against a real llama.cpp in this process, on the embedded model put into a GGUF."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from chatlab.embedded import model_path
from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.engines.remote import RemoteEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ContextLengthError, RemoteLacks
from chatlab.streaming.stream import stream
from chatlab.tokenizers.load import load_tokenizer
from tests.support.gguf_model import write_gguf

xllamacpp = pytest.importorskip("xllamacpp", reason="the real llama.cpp server is the package xllamacpp")
TOKENIZER = load_tokenizer(model_path(), legacy=True)
PROMPTS = ["Hello", "[INST] How are you? [/INST]", "Bonjour", "a  b", "[INST] Tell me a story [/INST] Once"]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    params = xllamacpp.CommonParams()
    params.model.path = str(write_gguf(model_path(), tmp_path_factory.mktemp("gguf") / "tiny.gguf"))
    params.port, params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 0, 512, 1, False, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib, params.endpoint_props = 0, True
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.fixture(scope="module")
def engine(url: str) -> Iterator[RemoteEngine]:
    with RemoteEngine(f"{url}/v1", "tiny", TOKENIZER) as engine:
        yield engine


def test_it_is_seen_for_what_it_heeds(engine) -> None:
    can = engine.capabilities
    assert (can.ids_in, can.ids_out, can.logprobs) == (True, False, False)
    assert can.sampling == {"seed", "top_k", "min_p", "repetition_penalty"}
    assert engine.context_len == 512
    assert engine.facts.owned_by == "llamacpp"
    with pytest.raises(RemoteLacks, match="log probabilities"):
        stream("Hello", engine, logprobs=1)


def test_the_greedy_reply_is_the_local_one(engine) -> None:
    with LocalEngine(load_model(model_path()), TOKENIZER) as local:
        for prompt in PROMPTS:
            here = stream(prompt, local, temperature=0, max_new_tokens=24).result()
            there = stream(prompt, engine, temperature=0, max_new_tokens=24).result()
            assert there.raw_text.strip() == TOKENIZER.decode(here.token_ids).strip(), prompt
            assert (there.finish_reason, there.token_ids) == (here.finish_reason, ())


def test_a_seed_repeats_a_reply_and_the_sampling_in_force_is_the_one_asked_for(engine, url: str) -> None:
    asked = {"seed": 2**40, "temperature": 1.3, "max_new_tokens": 20}
    first, second = [stream("Hello", engine, **asked).result() for _ in range(2)]
    assert first.text == second.text
    assert first.seed == 2**40
    assert len({stream("Hello", engine, **asked | {"seed": n}).result().text for n in range(6)}) > 1
    assert len({stream("Hello", engine, **asked | {"seed": n, "top_k": 1}).result().text for n in range(4)}) == 1


def test_a_prompt_that_is_too_long_and_a_cancel_are_told(engine) -> None:
    with pytest.raises(ContextLengthError):
        engine.submit([1] * 512, SamplingParams(context_len=4096))
    run = engine.submit([1, 5], SamplingParams(temperature=2.0))
    next(run)
    run.cancel()
    assert [event for event in run][-1].finish_reason == "cancelled"


def test_without_a_tokenizer_the_text_goes(url: str) -> None:
    with RemoteEngine(url, "tiny") as engine:
        assert engine.reads_text
        assert stream("Hello", engine, temperature=0, max_new_tokens=5).result().text
        assert httpx2.get(f"{url}/health", trust_env=False).status_code == 200
