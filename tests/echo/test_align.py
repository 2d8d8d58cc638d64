"""Mismatches are complete, minimal, and tied to the id that did it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.echo.align import _looked_up, _streamed, find_mismatches, token_surfaces
from chatlab.embedded import tokenizer_names, tokenizer_path
from chatlab.tokenizers.interface import Encoding, Tokenizer
from chatlab.tokenizers.load import load_tokenizer
from tests.support.echo_injection import build, random_injections, random_prompt

TEXT = st.text(st.sampled_from(list("ab \n.,\u2581\u65e5\u00e9\U0001f525\u200d")), max_size=30)


@pytest.fixture(
    scope="module",
    params=["llama2-style/legacy", "llama2-style/non-legacy", "phi3-style/after", "byte-bpe", "unigram", "wordpiece"],
)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(tokenizer_path(request.param))


def replayed(prompt: str, echo: str, mismatches: list) -> str:
    for m in reversed(mismatches):
        prompt = prompt[: m.prompt_start] + echo[m.echo_start : m.echo_end] + prompt[m.prompt_end :]
    return prompt


@given(data=st.data())
def test_replacing_the_mismatches_turns_the_prompt_into_the_echo(tokenizer: Tokenizer, data: st.DataObject) -> None:
    prompt, skip = data.draw(TEXT), data.draw(st.booleans())
    encoding = tokenizer.encode_spans(prompt)
    echo = tokenizer.decode(encoding.token_ids, skip_special_tokens=skip)
    for spans in (encoding.spans, None):
        found = find_mismatches(tokenizer, prompt, spans, encoding.token_ids, echo, skip=skip)
        assert replayed(prompt, echo, found) == echo
        assert all(m.prompt_start <= m.prompt_end and m.echo_start <= m.echo_end for m in found)
        assert all(prompt[m.prompt_start : m.prompt_end] != echo[m.echo_start : m.echo_end] for m in found)


@given(prompt=TEXT)
def test_looked_up_surfaces_are_those_of_the_stream(tokenizer: Tokenizer, prompt: str) -> None:
    """The fast way beside the slow, obvious one, wherever both join to the echo."""
    token_ids = tokenizer.encode(prompt)
    echo = tokenizer.decoder()(token_ids)
    fast, slow = (way(tokenizer, token_ids, True) for way in (_looked_up, _streamed))
    if all("".join(text for _, _, text in way) == echo for way in (fast, slow)):
        # Looked up, neighbouring unfinished characters may stand together: coarser, never different.
        for first, end, text in fast:
            assert "".join(part for a, b, part in slow if first <= a and b <= end) == text


def test_surfaces_join_to_the_echo_of_injected_tokenizers() -> None:
    rng = random.Random(5)
    for _ in range(200):
        injections = random_injections(rng)
        setup = build(injections)
        tokenizer, prompt = setup.tokenizer(), random_prompt(rng, injections)
        token_ids = tokenizer.encode(prompt)
        echo = tokenizer.decode(token_ids)
        surfaces = token_surfaces(tokenizer, token_ids, echo, skip=True)
        assert surfaces is not None
        assert "".join(text for _, _, text in surfaces) == echo


def test_an_added_space_is_tied_to_its_token_not_to_its_neighbour() -> None:
    """Two spaces in, three out: which one is new is told by the ids, not by a diff."""
    legacy = load_tokenizer(tokenizer_path("llama2-style/legacy"), loader="sentencepiece")
    prompt = "a </s><s>  [INST]"
    encoding = legacy.encode_spans(prompt)
    found = find_mismatches(
        legacy, prompt, encoding.spans, encoding.token_ids, legacy.decode(encoding.token_ids), skip=True
    )
    added = [m for m in found if m.prompt_start == m.prompt_end]
    assert len(added) == 1
    assert legacy.piece(encoding.token_ids[added[0].token_index]).startswith("\u2581")
    assert added[0].prompt_start >= prompt.index("[") - 2


def test_a_text_without_offsets_is_compared_as_a_string() -> None:
    class NoSpans(Tokenizer):
        name, loader, versions = "words", "test", {}
        special_strs, vocab_len = {}, 3

        def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
            return Encoding(token_ids=[ord(c) for c in text], spans=None)

        def decode(self, token_ids, *, skip_special_tokens=True):
            return "".join(map(chr, token_ids)).replace("x", "")

        def piece(self, token_id: int) -> str:
            return chr(token_id)

    tokenizer = NoSpans()
    found = find_mismatches(tokenizer, "axbxc", None, tokenizer.encode("axbxc"), "abc", skip=True)
    assert [(m.prompt_start, m.prompt_end) for m in found] == [(1, 2), (3, 4)]


def test_the_parametrised_families_are_all_there() -> None:
    assert {"byte-bpe", "unigram", "wordpiece"} <= set(tokenizer_names())
