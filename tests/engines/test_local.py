"""LocalEngine: the ids of generate, law L6, cancels within a step, faults that stay with their request."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import transformers

from chatlab.engines import local
from chatlab.engines.batch import BatchEngine
from chatlab.engines.engine import EndEvent
from chatlab.engines.local import LocalEngine, end_ids
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ContextLengthError, EngineClosed, EngineError, GenerationError, TokenIdError
from chatlab.testing import tiny_llama, tiny_tokenizer
from tests.conftest import ROOT
from tests.engines.asked import ids_of, prompts

GREEDY = SamplingParams(temperature=0, max_new_tokens=12)


def check_greedy(model, count: int, longest: int, max_new_tokens: int = 8) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=max_new_tokens)
    with LocalEngine(model) as engine:
        for prompt in prompts(count, engine.vocab_len, longest):
            expected = model.generate(
                torch.tensor([prompt]), max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0
            )
            assert ids_of(engine.submit(prompt, params)) == expected[0, len(prompt) :].tolist()


def test_greedy_ids_are_those_of_generate(model) -> None:
    """200 prompts."""
    check_greedy(model, 200, 60)


@pytest.mark.real
def test_greedy_ids_are_those_of_generate_on_a_trained_model(real) -> None:
    """200 prompts."""
    from transformers import LlamaForCausalLM

    check_greedy(LlamaForCausalLM.from_pretrained(real / "stories260k"), 200, 40, max_new_tokens=6)


@pytest.mark.real
def test_the_trained_model_tells_its_documented_story(real) -> None:
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaForCausalLM

    with LocalEngine(LlamaForCausalLM.from_pretrained(real / "stories260k")) as engine:
        ids = ids_of(engine.submit([1], SamplingParams(temperature=0, max_new_tokens=70)))
    text = SentencePieceProcessor(model_file=str(real / "stories260k/tokenizer.model")).decode(ids)
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
        "One day, she saw a big, red ball."
    )


def test_a_prompt_read_in_chunks_gives_the_same_ids(model, engine) -> None:
    prompt = [3 + n * 7 % 400 for n in range(700)]
    params = SamplingParams(temperature=0, max_new_tokens=30, context_len=2048)
    with LocalEngine(model, eos_ids=(), prefill_chunk_len=10_000) as whole:
        assert ids_of(engine.submit(prompt, params)) == ids_of(whole.submit(prompt, params))


ATTENTION = {"intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
STATE = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8}
CACHES = {
    "past_key_values": ("Llama", ATTENTION),
    "cache_params": ("Mamba", {}),
    "cache_params of Mamba-2": ("Mamba2", {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8}),
    "a window": ("Mistral", ATTENTION | {"sliding_window": 8}),
    "attention and a state": ("Bamba", ATTENTION | {"attn_layer_indices": [1]} | STATE),
}


def tiny(kind: str, options: dict):
    """A model of another architecture with random weights."""
    config = getattr(transformers, f"{kind}Config")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 2}
        causal = getattr(transformers, f"{kind}ForCausalLM", None) or getattr(transformers, f"{kind}LMHeadModel")
        model = causal(config(**size | options)).eval()
    for weights in model.parameters():
        weights.data.mul_(2)  # so that the likeliest tokens stand out
    return model


@pytest.mark.parametrize("cache", CACHES)
def test_greedy_ids_are_those_of_reading_all_again_for_each_token(cache: str) -> None:
    """Two prompts at once, in chunks: each model remembers its own, whatever kind of cache it has."""
    model = tiny(*CACHES[cache])
    asked = [[3 + n * 7 % 120 for n in range(50)], [5 + n * 11 % 110 for n in range(33)]]
    expected = []
    for prompt in asked:
        ids = list(prompt)
        for _ in range(10):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        expected.append(ids[len(prompt) :])
    with LocalEngine(model, eos_ids=(), prefill_chunk_len=20) as engine:
        runs = [engine.submit(prompt, SamplingParams(temperature=0, max_new_tokens=10)) for prompt in asked]
        assert [ids_of(run) for run in runs] == expected
    assert expected[0] != expected[1]


class Wrapped(torch.nn.Module):
    """A model behind a signature that tells nothing, as adapters have it."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.config, self.device = model, model.config, model.device
        self.get_input_embeddings = model.get_input_embeddings

    def forward(self, **inputs):
        return self.model(**inputs)


def test_a_wrapper_is_taken_for_what_it_does(model) -> None:
    with LocalEngine(model, eos_ids=()) as engine, LocalEngine(Wrapped(model), eos_ids=()) as wrapped:
        assert ids_of(wrapped.submit([5, 6, 7], GREEDY)) == ids_of(engine.submit([5, 6, 7], GREEDY))


REFUSED = {
    "no cache": ("OpenAIGPT", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "another cache": ("Rwkv", {}),
    "its own modules": ("RecurrentGemma", {"num_hidden_layers": 3, "num_attention_heads": 4, "lru_width": 32}),
}


@pytest.mark.parametrize("memory", REFUSED)
def test_a_model_whose_memory_no_request_can_own_is_refused(memory: str) -> None:
    with pytest.raises(EngineError, match="does not remember a request by a cache"):
        LocalEngine(tiny(*REFUSED[memory]))


def test_a_request_draws_the_same_ids_alone_and_among_others(engine) -> None:
    """Law L6: 16 sampled requests alone, then all at once."""
    params = SamplingParams(max_new_tokens=20)
    cases = list(enumerate(prompts(16, engine.vocab_len, 40)))
    alone = [ids_of(engine.submit(prompt, params, seed=seed)) for seed, prompt in cases]
    together = [engine.submit(prompt, params, seed=seed) for seed, prompt in cases]
    assert [ids_of(run) for run in together] == alone
    assert len({tuple(ids) for ids in alone}) == 16


def test_a_seed_that_was_drawn_repeats_the_reply(engine) -> None:
    params = SamplingParams(max_new_tokens=20)
    run, other = engine.submit([5], params), engine.submit([5], params)
    assert run.seed != other.seed
    ids = ids_of(run)
    assert ids != ids_of(other)
    assert ids_of(engine.submit([5], params, seed=run.seed)) == ids


def test_torchs_own_generator_is_left_alone(engine) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ids_of(engine.submit([5], SamplingParams(max_new_tokens=5)))
    assert torch.equal(before, torch.get_rng_state())


def test_events_are_numbered_and_end_once(engine) -> None:
    events = list(engine.submit([5], GREEDY))
    assert [event.index for event in events[:-1]] == list(range(12))
    assert [event.t for event in events] == sorted(event.t for event in events)
    assert isinstance(events[-1], EndEvent)
    assert (events[-1].finish_reason, events[-1].token_len) == ("length", 12)
    assert engine.active_len == 0


def test_end_ids_and_stop_ids_end_a_reply(model) -> None:
    with LocalEngine(model, eos_ids=()) as engine:
        ids = ids_of(engine.submit([5], GREEDY))
        later = next(i for i in ids[1:] if i != ids[0])
        cut = ids[: ids.index(later) + 1]
        run = engine.submit([5], SamplingParams(temperature=0, max_new_tokens=12, stop_ids=(later,)))
        assert ids_of(run) == cut
        assert run.end.finish_reason == "stop"
    with LocalEngine(model, eos_ids=[later]) as engine:
        run = engine.submit([5], GREEDY)
        assert ids_of(run) == cut
        assert run.end.finish_reason == "eos"
        assert ids_of(run) == []


def test_the_model_says_what_its_end_ids_are(model) -> None:
    assert end_ids(model) == {2}


def test_logprobs_are_the_models_own(model, engine) -> None:
    params = SamplingParams(max_new_tokens=3, logprobs=4, temperature=0.3, top_k=5)
    events = list(engine.submit([7, 8], params, seed=1))[:-1]
    ids = [7, 8]
    for event in events:
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], dim=-1)
        assert event.logprob == pytest.approx(float(logprobs[event.token_id]), abs=1e-4)
        assert [i for i, _ in event.top_logprobs] == logprobs.topk(4).indices.tolist()
        ids.append(event.token_id)


def test_a_prompt_without_room_is_an_error_with_the_numbers(engine) -> None:
    with pytest.raises(ContextLengthError, match="1024 tokens and the context 1024"):
        engine.submit([5] * 1024)
    with pytest.raises(ContextLengthError, match="3000 tokens and the context 2048"):
        engine.submit([5] * 3000, SamplingParams(context_len=100_000))


def test_a_reply_ends_where_the_context_does(engine) -> None:
    run = engine.submit([5] * 20, SamplingParams(context_len=25))
    assert len(ids_of(run)) == 5
    assert run.end.finish_reason == "length"


@pytest.mark.parametrize("prompt", [[], [-1], [463], [2**40]])
def test_ids_outside_the_vocabulary_are_refused(engine, prompt: list[int]) -> None:
    with pytest.raises(TokenIdError):
        engine.submit(prompt)
    assert engine.active_len == 0


@pytest.mark.parametrize("prompt", [[0.5], [5.0], ["5"], "55", b"55", [None], [[5]], None, 5])
def test_what_is_no_list_of_integers_is_refused(engine, prompt) -> None:
    with pytest.raises(TokenIdError, match="token ids"):
        engine.submit(prompt)
    assert engine.active_len == 0


def test_integers_of_torch_and_numpy_are_ids(engine) -> None:
    ids = ids_of(engine.submit([5, 6], GREEDY))
    assert ids_of(engine.submit(torch.tensor([5, 6]), GREEDY)) == ids
    assert ids_of(engine.submit(torch.tensor([5, 6]).numpy(), GREEDY)) == ids


@pytest.mark.parametrize("where", ["forward", "sampler"])
def test_a_fault_at_any_token_ends_its_request_alone(model, monkeypatch, where: str) -> None:
    """At every token index 0..63; the request beside it and the next one are whole."""
    params = SamplingParams(temperature=0, max_new_tokens=64)
    whole = None
    step = 0
    fail_at = -1
    fault = RuntimeError("injected")

    def fail(*args, **kwargs):
        nonlocal step
        step += 1
        if step - 1 == fail_at:
            raise fault

    if where == "forward":
        handle = model.register_forward_pre_hook(fail)
    else:
        choose = local.Sampler.choose
        monkeypatch.setattr(local.Sampler, "choose", lambda *args: (fail(), choose(*args))[1])
    with LocalEngine(model, eos_ids=()) as engine:
        whole = ids_of(engine.submit([5], params))
        for index in range(64):
            step, fail_at = 0, index
            run = engine.submit([5], params)
            assert ids_of(run) == whole[:index]
            assert run.end.finish_reason == "error"
            assert isinstance(run.end.error, GenerationError)
            assert run.end.error.__cause__ is fault
        step, fail_at = 0, 9  # steps alternate, so one of two requests fails and the other does not
        runs = [engine.submit([5], params), engine.submit([5], params)]
        replies = [ids_of(run) for run in runs]
        assert sorted(run.end.finish_reason for run in runs) == ["error", "length"]
        assert whole in replies
        fail_at = -1
        assert ids_of(engine.submit([5], params)) == whole
    if where == "forward":
        handle.remove()


@pytest.mark.parametrize("name", ["torch_threads", "decode_rows", "prefill_chunk_len"])
@pytest.mark.parametrize("number", [0, -3, 1.5, "2", True])
def test_a_number_below_one_is_refused_by_name(model, name: str, number) -> None:
    with pytest.raises(EngineError, match=f"{name} must be a whole number of 1 or more, not "):
        LocalEngine(model, **{name: number})


@pytest.mark.parametrize("where", ["set_num_threads", "get_num_threads"])
def test_a_fault_of_the_worker_itself_ends_all_requests_and_the_next_begins_anew(model, monkeypatch, where) -> None:
    fault = RuntimeError("injected")

    def fail(*args):
        raise fault

    with LocalEngine(model, eos_ids=(), torch_threads=1) as engine:
        whole = ids_of(engine.submit([5], GREEDY))
        assert engine.wait_idle(5)
        with monkeypatch.context() as patch:
            patch.setattr(local.torch, where, fail)
            run = engine.submit([5], GREEDY)
            end = run.get(5)
            assert engine.wait_idle(5)
        assert (end.finish_reason, end.error.__cause__) == ("error", fault)
        assert engine.active_len == 0
        assert ids_of(engine.submit([5], GREEDY)) == whole


def test_a_worker_that_cannot_start_leaves_nothing_waiting(model, monkeypatch) -> None:
    def fail(thread):
        raise RuntimeError("can't start new thread")

    with LocalEngine(model, eos_ids=()) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(local.threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="new thread"):
                engine.submit([5], GREEDY)
        assert engine.active_len == 0
        assert len(ids_of(engine.submit([5], GREEDY))) == 12


def test_nan_logits_are_an_error_and_not_a_token(model) -> None:
    broken = tiny_llama(64)
    with torch.no_grad():
        broken.lm_head.weight[3] = float("nan")
    with LocalEngine(broken) as engine:
        for params in (GREEDY, SamplingParams()):
            run = engine.submit([5], params)
            assert ids_of(run) == []
            assert run.end.finish_reason == "error"
        assert "NaN" in str(engine.submit([5], GREEDY).get(5).error)


def test_cancel_takes_effect_within_one_step(model, engine) -> None:
    steps = 0

    def count(*args, **kwargs):
        nonlocal steps
        steps += 1

    handle = model.register_forward_pre_hook(count)
    run = engine.submit([5], SamplingParams(max_new_tokens=1000))
    for _ in range(5):
        next(run)
    run.cancel()
    seen = steps
    assert engine.wait_idle(5)
    handle.remove()
    assert steps <= seen + 1
    rest = list(run)
    assert rest[-1].finish_reason == "cancelled"


def test_200_cancels_at_random_moments_leave_nothing_running(engine) -> None:
    draw = random.Random(3)
    params = SamplingParams(max_new_tokens=1000)
    expected = ids_of(engine.submit([5], GREEDY))
    runs = []
    for _ in range(200):
        runs.append(engine.submit([draw.randrange(3, 400)] * draw.randint(1, 400), params))
        time.sleep(draw.random() * 0.004)
        if draw.random() < 0.9:
            runs.pop(draw.randrange(len(runs))).cancel()
    for run in runs:
        run.cancel()
    assert engine.wait_idle(10)
    assert engine.active_len == 0
    assert ids_of(engine.submit([5], GREEDY)) == expected


def test_a_run_that_nobody_holds_stops(engine) -> None:
    run = engine.submit([5], SamplingParams(max_new_tokens=1000))
    next(run)
    del run
    gc.collect()
    assert engine.wait_idle(5)


def test_a_short_request_overtakes_a_long_prefill(model) -> None:
    """It gets its first token while the 2,000 prompt tokens of the other are still being read."""
    with LocalEngine(model, eos_ids=(), prefill_chunk_len=64) as engine:
        params = SamplingParams(context_len=2048, max_new_tokens=4)
        long = engine.submit([5] * 2000, params)
        short = engine.submit([6], params)
        start = time.perf_counter()
        short.get(10)
        first_of_short = time.perf_counter() - start
        long.get(60)
        assert first_of_short < time.perf_counter() - start
        assert long.end is None


def test_close_ends_what_runs_and_refuses_more(model) -> None:
    engine = LocalEngine(model, eos_ids=())
    run = engine.submit([5], SamplingParams(max_new_tokens=1000))
    engine.close()
    engine.close()
    assert list(run)[-1].finish_reason == "cancelled"
    with pytest.raises(EngineClosed):
        engine.submit([5])


def test_a_callback_that_raises_ends_its_own_request_only(engine) -> None:
    def callback(event):
        raise RuntimeError("consumer gone")

    run = engine.submit([5], SamplingParams(max_new_tokens=1000))
    run.subscribe(callback)
    assert len(ids_of(engine.submit([5], GREEDY))) == 12
    assert engine.wait_idle(5)


def test_two_readers_of_one_reply_share_it_and_both_end(model) -> None:
    with LocalEngine(model, eos_ids=()) as engine:
        handle = model.register_forward_pre_hook(lambda *args: time.sleep(0.02))
        run, read = engine.submit([5], GREEDY), []
        readers = [threading.Thread(target=lambda: read.extend(ids_of(run)), daemon=True) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(20)
        handle.remove()
        assert not any(reader.is_alive() for reader in readers)
        assert sorted(read) == sorted(ids_of(engine.submit([5], GREEDY)))


def test_waiting_for_an_event_can_time_out(model) -> None:
    with LocalEngine(model, eos_ids=()) as engine:
        handle = model.register_forward_pre_hook(lambda *args: time.sleep(0.2))
        run = engine.submit([5], GREEDY)
        with pytest.raises(TimeoutError):
            run.get(0.01)
        assert run.get(5).index == 0
        handle.remove()


def test_a_program_that_ends_in_the_middle_of_a_reply_ends_well() -> None:
    """A thread inside torch that the interpreter kills would take the whole process down with it."""
    code = (
        "from chatlab import LocalEngine, load_model, SamplingParams\n"
        "from chatlab.embedded import model_path\n"
        "engine = LocalEngine(load_model(model_path()))\n"
        "next(iter(engine.submit([1, 5, 7], SamplingParams(max_new_tokens=600))))\n"
        "print('leaving')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (run.returncode, run.stdout, run.stderr) == (0, "leaving\n", "")


@pytest.mark.parametrize("kind", [LocalEngine, BatchEngine])
def test_a_model_that_is_none_names_the_way(kind, model) -> None:
    tokenizer = tiny_tokenizer("byte-level")
    for wrong, way in (
        ((tokenizer, model), "the model stands first"),
        (("path/to/model",), r"load_model\('path/to/model'\)"),
        ((Path("x"), tokenizer), r"load_model\('x'\)"),
        ((None,), "load one with chatlab.load_model"),
        ((type(model),), "not type"),
    ):
        with pytest.raises(EngineError, match=way):
            kind(*wrong)
