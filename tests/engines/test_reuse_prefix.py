"""LocalEngine(reuse_prefix=True): what was read is not read again, and the replies are the same."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import transformers

from chatlab.engines.cache import growing_cache
from chatlab.engines.engine import PrefixUse
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineError
from chatlab.streaming.stream import stream
from chatlab.testing import tiny_llama
from tests.engines.asked import ids_of, prompts

GREEDY = SamplingParams(temperature=0, max_new_tokens=8)
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


@pytest.fixture
def engine(model) -> Iterator[LocalEngine]:
    with LocalEngine(model, eos_ids=(), reuse_prefix=True) as engine:
        yield engine


@contextmanager
def read_by(model) -> Iterator[list[int]]:
    """How many ids each forward pass reads."""
    read: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[-1]))
    yield read
    hook.remove()


def converse(draw: random.Random, count: int, ask) -> None:
    """Random conversations: most go on, some are asked again otherwise, some are cut anywhere."""
    left = count
    while left:
        prompt = [1, *(draw.randrange(3, 400) for _ in range(draw.randint(1, 60)))]
        asked = []
        for _ in range(min(left, draw.randint(1, 9))):
            left -= 1
            said = [*prompt, *ask(prompt)]
            asked.append(prompt)
            new = [draw.randrange(3, 400) for _ in range(draw.randint(1, 30))]
            prompt = draw.choice(
                [said + new] * 7 + [draw.choice(asked)[:-1] + new] + [said[: draw.randint(1, len(said))]]
            )


@pytest.mark.parametrize(("temperature", "rows"), [(0.0, 1), (1.0, 4)])
def test_replies_are_those_of_reading_all_anew(model, temperature: float, rows: int) -> None:
    """60 requests of random conversations (at night 1,000), greedy and with a seed; none may differ in float32."""
    params = SamplingParams(temperature=temperature, max_new_tokens=6, context_len=2048)
    uses: list[PrefixUse] = []
    unlike = []
    with (
        LocalEngine(model, eos_ids=(), decode_rows=rows) as anew,
        LocalEngine(model, eos_ids=(), decode_rows=rows, reuse_prefix=True) as engine,
    ):

        def ask(prompt: list[int]) -> list[int]:
            run = engine.submit(prompt, params, seed=len(uses))
            ids = ids_of(run)
            if ids != ids_of(anew.submit(prompt, params, seed=len(uses))):
                unlike.append(prompt)
            uses.append(run.prefix)
            return ids

        converse(random.Random(5), 1000 if SOAK else 60, ask)
    assert not unlike
    assert sum(use.kept_len > 10 for use in uses) > len(uses) / 2


def test_a_next_turn_reads_the_bridge_and_the_last_id_said(model, engine) -> None:
    prompt, bridge = [1, *range(10, 60)], [7, 8, 9]
    said = ids_of(engine.submit(prompt, GREEDY))
    with read_by(model) as read:
        run = engine.submit([*prompt, *said, *bridge], GREEDY)
        next(run)
        assert run.prefix == PrefixUse(kept_len=len(prompt) + len(said) - 1, lost_len=0)
        ids_of(run)
    assert read == [1 + len(bridge)] + [1] * 7


def test_the_last_id_is_read_anew_where_all_is_kept(model, engine) -> None:
    prompt = [1, *range(10, 60)]
    said = ids_of(engine.submit(prompt, GREEDY))
    with read_by(model) as read:
        run = engine.submit(prompt, GREEDY)
        assert ids_of(run) == said
    assert read == [1] * 8
    assert run.prefix == PrefixUse(kept_len=len(prompt) - 1, lost_len=len(said) - 1)


def test_what_parts_is_lost_from_there(engine) -> None:
    ids_of(engine.submit([1, 2, 3, 4, 5, 6], GREEDY))
    run = engine.submit([1, 2, 3, 9], GREEDY)
    ids_of(run)
    assert run.prefix == PrefixUse(kept_len=3, lost_len=3 + 7)


def test_without_it_nothing_is_kept_or_told(model) -> None:
    with LocalEngine(model, eos_ids=()) as engine, read_by(model) as read:
        for _ in range(2):
            run = engine.submit([1, 2, 3, 4], GREEDY)
            ids_of(run)
            assert run.prefix is None
        assert engine.kept_bytes == 0
        assert engine.exact
    assert read == ([4] + [1] * 7) * 2


def test_a_reply_tells_what_was_kept(model, engine) -> None:
    from chatlab.testing import tiny_tokenizer

    tokenizer = tiny_tokenizer("byte-level")
    for kept_len in (0, 4):
        with stream([1, 5, 6, 7, 8], engine, tokenizer=tokenizer, temperature=0, max_new_tokens=3) as reply:
            next(iter(reply))
            assert reply.prefix.kept_len == kept_len


def test_a_cancelled_request_is_kept_as_far_as_it_was_read(model) -> None:
    with LocalEngine(model, eos_ids=(), prefill_chunk_len=10, reuse_prefix=True) as engine:
        started = []
        hook = model.register_forward_pre_hook(lambda *_: started.append(run.cancel()) if len(started) < 3 else None)
        prompt = list(range(1, 101))
        run = engine.submit(prompt, GREEDY)
        assert ids_of(run) == []
        hook.remove()
        again = engine.submit(prompt, GREEDY)
        ids_of(again)
        assert again.prefix.kept_len in (10, 20)  # the first pass may have begun before `run` was bound


def test_a_request_that_failed_is_not_kept(model, engine) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    hook = model.lm_head.register_forward_pre_hook(fail)  # its caches have grown by then
    ids_of(engine.submit([1, 2, 3], GREEDY))
    hook.remove()
    assert engine.kept_bytes == 0


@pytest.mark.parametrize("rows", [1, 4])
def test_many_begin_at_once_with_what_one_has_read_and_none_disturbs_another(model, rows: int) -> None:
    shared = [1, *range(10, 90)]
    asked = [shared + prompt for prompt in prompts(8, 400, 12)]
    params = SamplingParams(max_new_tokens=20)
    with LocalEngine(model, eos_ids=(), decode_rows=rows) as anew:
        expected = [ids_of(anew.submit(prompt, params, seed=n)) for n, prompt in enumerate(asked)]
    with LocalEngine(model, eos_ids=(), decode_rows=rows, reuse_prefix=True) as engine:
        ids_of(engine.submit(shared, GREEDY))
        runs = [engine.submit(prompt, params, seed=n) for n, prompt in enumerate(asked)]
        first = [next(run).token_id for run in runs]
        engine.forget()  # what a request began with outlives its place among the kept
        assert [[ids, *ids_of(run)] for ids, run in zip(first, runs, strict=True)] == expected
        assert all(run.prefix.kept_len >= len(shared) for run in runs)


def test_the_bytes_are_those_of_the_tensors_and_bounded(model) -> None:
    """200 requests beside a bound that holds a handful of them."""
    limit = 400_000
    with LocalEngine(model, eos_ids=(), reuse_prefix=limit) as engine:
        for prompt in prompts(200, 400, 120):
            ids_of(engine.submit(prompt, SamplingParams(temperature=0, max_new_tokens=2)))
            kept = list(engine._kept._store._used)
            tensors = [t for k in kept for layer in k.state.layers for t in (layer._keys, layer._values)]
            held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
            assert engine.kept_bytes == sum(held.values()) + sum(len(k.key) for k in kept) <= limit
        assert len(kept) >= 3
        engine.forget()
        assert engine.kept_bytes == 0
        run = engine.submit(prompt, GREEDY)
        ids_of(run)
        assert run.prefix.kept_len == 0
    assert engine.kept_bytes == 0


def other(kind: str, **options):
    """A model of another architecture, random and decided."""
    size = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 2}
    size |= {"intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**size | options)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for weights in model.parameters():
        weights.data.mul_(2)
    return model


def reread(model, prompt: list[int], count: int) -> list[int]:
    """Greedy ids by reading all again for each token, without any cache."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_a_full_window_is_gone_on_from_and_not_cut_back() -> None:
    model = other("Mistral", sliding_window=24)
    with LocalEngine(model, eos_ids=(), reuse_prefix=True) as engine:

        def kept_of(prompt: list[int]) -> int:
            run = engine.submit(prompt, GREEDY)
            assert ids_of(run) == reread(model, prompt, 8)
            return run.prefix.kept_len

        short = list(range(3, 13))
        assert kept_of(short) == 0
        assert kept_of([*short[:6], 99, 98]) == 6  # the window has room: all is there to be cut
        grown = [*short, *reread(model, short, 8), *range(20, 40)]
        assert kept_of(grown) == len(short) + 7
        ahead = [*grown, *reread(model, grown, 8), 50, 51]
        assert kept_of(ahead) == len(grown) + 7  # past the window, as a whole
        assert kept_of([*grown, 60, 61]) == len(short) + 7  # cut back it cannot be; the one that has room can


REFUSED = {
    "a state": ("Mamba", {"intermediate_size": 64}, "LinearAttentionLayer"),
    "attention and a state": (
        "Bamba",
        {"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8},
        "LinearAttentionLayer",
    ),
}


@pytest.mark.parametrize("memory", REFUSED)
def test_a_model_whose_memory_cannot_be_cut_back_is_refused_by_name(memory: str) -> None:
    kind, options, layer = REFUSED[memory]
    with pytest.raises(EngineError, match=f"{kind}ForCausalLM cannot reuse prefixes.*{layer}.*leave out reuse_prefix"):
        LocalEngine(other(kind, **options), reuse_prefix=True)


def test_what_is_left_to_the_engine_is_done_where_the_model_can(model) -> None:
    kind, options, _ = REFUSED["a state"]
    for made, kept_len in (other(kind, **options), None), (model, 3):
        with LocalEngine(made, eos_ids=(), reuse_prefix="auto", decode_rows="auto") as engine:
            said = ids_of(engine.submit([1, 2, 3], GREEDY))
            run = engine.submit([1, 2, 3, 4], GREEDY)
            assert ids_of(run) == reread(made, [1, 2, 3, 4], 8)
            assert said == reread(made, [1, 2, 3], 8)
            assert (run.prefix and run.prefix.kept_len) == kept_len


def test_a_model_that_remembers_elsewhere_is_refused() -> None:
    """One whose logits depend on the longest text it ever read, as scaled positions do."""
    model, longest = tiny_llama(64), 0

    def roll(_, __, logits):
        nonlocal longest
        longest = max(longest, logits.shape[1])
        return logits.roll(longest, -1)

    model.lm_head.register_forward_hook(roll)
    with pytest.raises(EngineError, match="depends on what came after it"):
        LocalEngine(model, reuse_prefix=True)


def test_positions_that_are_scaled_by_length_are_kept_below_it() -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 1e4}
    model = other(
        "Phi3",
        rope_parameters=rope | {"original_max_position_embeddings": 40},
        max_position_embeddings=160,
        original_max_position_embeddings=40,
    )
    with LocalEngine(model, eos_ids=(), reuse_prefix=True) as engine, LocalEngine(model, eos_ids=()) as anew:
        short, long = list(range(3, 33)), [*range(3, 33), *range(40, 60)]
        ids_of(engine.submit(short, GREEDY))
        for prompt, kept_len in ([*short[:20], 9], 20), (long, 0), ([*long, 9], 0), ([*short, 9], 30):
            run = engine.submit(prompt, GREEDY)
            assert ids_of(run) == ids_of(anew.submit(prompt, GREEDY))
            assert run.prefix.kept_len == kept_len


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "1 GiB", None])
def test_what_is_no_number_of_bytes_is_refused(model, wrong) -> None:
    with pytest.raises(EngineError, match=r"reuse_prefix must be True, False, 'auto' or a number of bytes"):
        LocalEngine(model, reuse_prefix=wrong)


def test_a_state_is_never_written_to_by_those_that_begin_with_it(model, engine) -> None:
    ids_of(engine.submit([1, *range(10, 90)], GREEDY))
    (kept,) = engine._kept._store._used
    before = [layer.keys.clone() for layer in kept.state.layers]
    for prompt in prompts(5, 400, 50):
        ids_of(engine.submit([1, *range(10, 60), *prompt], GREEDY))
    assert all(torch.equal(layer.keys, keys) for layer, keys in zip(kept.state.layers, before, strict=True))
    assert growing_cache(model.config).get_seq_length() == 0
