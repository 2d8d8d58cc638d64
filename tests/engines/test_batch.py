"""BatchEngine: generate's greedy ids in a batch, and none of the faults of continuous batching reaches a neighbour."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from chatlab.engines.batch import BatchEngine
from chatlab.engines.engine import TokenEvent
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ContextLengthError, EngineClosed, EngineError, GenerationError, TokenIdError
from chatlab.streaming.stream import stream
from chatlab.testing import tiny_tokenizer
from tests.support.forked import in_child, needs_fork

GREEDY = SamplingParams(temperature=0, max_new_tokens=12)


def ids_of(run) -> list[int]:
    return [event.token_id for event in run if isinstance(event, TokenEvent)]


@pytest.fixture(scope="module")
def greedy(model) -> Iterator[BatchEngine]:
    with BatchEngine(model, tiny_tokenizer("byte-level"), params=GREEDY, cache_len=4096, eos_ids=()) as engine:
        yield engine
    assert not [t for t in threading.enumerate() if t.name == "chatlab-batch-engine"]


@pytest.fixture(scope="module")
def sampling(model) -> Iterator[BatchEngine]:
    with BatchEngine(model, tiny_tokenizer("byte-level"), cache_len=2048, eos_ids=()) as engine:
        yield engine


def test_greedy_ids_in_a_batch_are_those_of_generate(model, greedy) -> None:
    draw = random.Random(1)
    prompts = [[draw.randrange(3, 400) for _ in range(draw.randint(1, 60))] for _ in range(40)]
    expected = [
        model.generate(torch.tensor([p]), max_new_tokens=12, do_sample=False, pad_token_id=0)[0, len(p) :].tolist()
        for p in prompts
    ]
    for wanted, run in zip(expected, [greedy.submit(prompt, GREEDY) for prompt in prompts], strict=True):
        ids = ids_of(run)
        assert ids[: len(wanted)] == wanted
        assert (run.end.finish_reason, run.end.token_len, len(ids)) == ("length", 12, 12)
    assert greedy.active_len == 0


def test_each_request_has_its_own_temperature(model, sampling) -> None:
    greedy_ids = ids_of(sampling.submit([5, 6], SamplingParams(temperature=0, max_new_tokens=8)))
    runs = [sampling.submit([5, 6], SamplingParams(temperature=t, max_new_tokens=8)) for t in (0, 100.0, 0)]
    cold, hot, again = map(ids_of, runs)
    assert cold == again == greedy_ids
    assert hot != cold


@pytest.mark.parametrize(
    ("params", "lacks"),
    [
        ({"seed": 3}, "seed"),
        ({"logprobs": 1}, "logprobs"),
        ({"min_p": 0.1}, "min_p"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(sampling, params: dict, lacks: str) -> None:
    with pytest.raises(EngineError, match=f"its own {lacks}"):
        sampling.submit([5], SamplingParams(**params))


@pytest.mark.parametrize(
    ("params", "lacks"),
    [
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"repetition_penalty": 5.0, "repetition_penalty_method": "additive", "temperature": 0}, "repetition_penalty"),
        ({"seed": 3, "logprobs": 2}, "seed, logprobs"),
    ],
)
def test_what_no_engine_of_this_kind_can_do_is_refused_when_it_is_built(model, params: dict, lacks: str) -> None:
    with pytest.raises(EngineError, match=f"cannot heed {lacks}: leave it out of params, or use a LocalEngine"):
        BatchEngine(model, params=SamplingParams(**params))


def test_its_advice_can_be_followed(sampling, greedy) -> None:
    """What an engine of one sampling can do is recommended, and nothing else."""
    for engine, params, helps in [
        (sampling, {"min_p": 0.1}, True),
        (sampling, {"repetition_penalty": 1.1}, False),
        (greedy, {"temperature": 0, "repetition_penalty": 1.1}, False),
        (greedy, {"temperature": 0, "top_k": 4}, True),
    ]:
        with pytest.raises(EngineError) as caught:
            engine.submit([5], SamplingParams(**params))
        assert ("build the engine with" in str(caught.value)) is helps


@pytest.mark.parametrize("params", [{"min_p": 1.0}, {"top_k": 1}, {"top_p": 1e-6, "top_k": 0}, {"temperature": 1e-4}])
def test_one_sampling_for_all_is_that_of_a_local_engine(model, params: dict) -> None:
    """Each leaves only the likeliest token, so both engines must say the same."""
    params = SamplingParams(max_new_tokens=12, **params)
    with (
        LocalEngine(model, eos_ids=()) as local,
        BatchEngine(model, params=params, cache_len=1024, eos_ids=()) as batch,
    ):
        assert ids_of(batch.submit([5, 6], params)) == ids_of(local.submit([5, 6], params, seed=1))


def test_a_recurrent_model_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="recurrent model such as MambaForCausalLM: use a LocalEngine"):
        BatchEngine(MambaForCausalLM(MambaConfig(vocab_size=32, hidden_size=8, num_hidden_layers=1)))


def test_an_engine_with_one_sampling_refuses_another(greedy) -> None:
    with pytest.raises(EngineError, match="its own temperature"):
        greedy.submit([5], SamplingParams(temperature=0.5))


@pytest.mark.parametrize("prompt", [[], [-1], [10**9]])
def test_prompts_that_would_end_the_worker_are_refused(greedy, prompt: list[int]) -> None:
    bystander = greedy.submit([5], GREEDY)
    with pytest.raises(TokenIdError):
        greedy.submit(prompt, GREEDY)
    assert len(ids_of(bystander)) == 12


def test_a_request_larger_than_the_cache_is_refused_with_the_numbers(sampling) -> None:
    with pytest.raises(ContextLengthError, match="1500 prompt tokens and 548 new ones do not fit a cache of 1024"):
        BatchEngine(sampling.model, cache_len=1024).submit(
            [5] * 1500, SamplingParams(context_len=2048, max_new_tokens=1000)
        )


def test_more_requests_than_the_cache_holds_wait_for_room(sampling) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=20, context_len=1024)
    runs = [sampling.submit([5 + n] * 600, params) for n in range(8)]
    assert [len(ids_of(run)) for run in runs] == [20] * 8


def test_a_cancelled_request_ends_and_its_neighbours_go_on(greedy) -> None:
    long = greedy.submit([5], SamplingParams(temperature=0, max_new_tokens=1000))
    other = greedy.submit([6], GREEDY)
    next(long)
    long.cancel()
    assert list(long)[-1].finish_reason == "cancelled"
    assert len(ids_of(other)) == 12
    assert greedy.wait_idle(5)


def test_100_cancels_at_random_moments_leave_an_idle_engine(greedy) -> None:
    draw = random.Random(2)
    expected = ids_of(greedy.submit([5], GREEDY))
    for _ in range(100):
        run = greedy.submit([draw.randrange(3, 400)] * draw.randint(1, 50), SamplingParams(temperature=0))
        time.sleep(draw.random() * 0.004)
        run.cancel()
    assert greedy.wait_idle(10)
    assert ids_of(greedy.submit([5], GREEDY)) == expected


def test_stop_ids_end_a_reply(greedy) -> None:
    ids = ids_of(greedy.submit([5], GREEDY))
    later = next(i for i in ids[1:] if i != ids[0])
    run = greedy.submit([5], SamplingParams(temperature=0, max_new_tokens=12, stop_ids=(later,)))
    assert ids_of(run) == ids[: ids.index(later) + 1]
    assert run.end.finish_reason == "stop"


def test_a_worker_that_dies_ends_its_requests_and_is_replaced(model) -> None:
    with BatchEngine(model, params=GREEDY, cache_len=1024, eos_ids=()) as engine:
        expected = ids_of(engine.submit([5], GREEDY))
        fault = RuntimeError("injected")

        def fail(*args):
            raise fault

        handle = model.register_forward_pre_hook(fail)
        runs = [engine.submit([5 + n], GREEDY) for n in range(3)]
        ends = [list(run)[-1] for run in runs]
        handle.remove()
        assert [end.finish_reason for end in ends] == ["error"] * 3
        assert all(isinstance(end.error, GenerationError) for end in ends)
        assert "injected" in str(ends[0].error) + str(ends[0].error.__cause__)
        deadline = time.monotonic() + 5
        while True:  # the replacement stands within moments; until then a request is refused, not lost
            try:
                run = engine.submit([5], GREEDY)
                ids = ids_of(run)
                if run.end.finish_reason == "length":
                    break
            except GenerationError:
                pass
            assert time.monotonic() < deadline
        assert ids == expected


def test_a_worker_that_stalls_is_replaced(model) -> None:
    with BatchEngine(model, params=GREEDY, cache_len=1024, eos_ids=(), stall_s=1.0) as engine:
        ids_of(engine.submit([5], GREEDY))
        hang = threading.Event()
        handle = model.register_forward_pre_hook(lambda *args: hang.wait(20) and None)
        run = engine.submit([5], GREEDY)
        end = list(run)[-1]
        handle.remove()
        hang.set()
        assert end.finish_reason == "error"
        assert "gave nothing for 1.0 s" in str(end.error)
        assert len(ids_of(engine.submit([5], GREEDY))) == 12


def test_streams_of_text_run_on_it(greedy) -> None:
    result = stream([5], greedy, GREEDY).result()
    assert result.seed is None
    assert len(result.token_ids) == 12


def test_close_ends_what_runs_and_refuses_more(model) -> None:
    engine = BatchEngine(model, params=GREEDY, cache_len=1024, eos_ids=())
    run = engine.submit([5], SamplingParams(temperature=0, max_new_tokens=900))
    next(run)
    engine.close()
    engine.close()
    assert list(run)[-1].finish_reason == "cancelled"
    with pytest.raises(EngineClosed):
        engine.submit([5])


@needs_fork
def test_a_forked_child_batches_itself_and_its_parents_reply_goes_on(greedy) -> None:
    expected = ids_of(greedy.submit([6, 7], GREEDY))
    run = greedy.submit([5], SamplingParams(temperature=0, max_new_tokens=150))
    next(run)

    def work() -> None:
        assert "goes on in the parent" in str(list(run)[-1].error)
        assert ids_of(greedy.submit([6, 7], GREEDY)) == expected
        greedy.close()

    in_child(work)
    in_child(greedy.close)
    assert len(ids_of(run)) == 149
    assert ids_of(greedy.submit([6, 7], GREEDY)) == expected
