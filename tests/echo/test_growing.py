"""The ids of parts, joined, are the ids of the whole: on every tokenizer at hand, against its own plain call."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from chatlab.echo.growing import GrowingPrompts
from chatlab.embedded import dialogues_path, tokenizer_names, tokenizer_path
from chatlab.prompts.dialogue import prompts_of, read_dialogues
from chatlab.prompts.formats.registry import FORMATS
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.load import load_tokenizer

WORDS = ["<s>", "</s>", "<|end|>", "<|user|>", "[SEP]", "[INST]", "<", "s>", "/", "|", "a", "B", " ", "  ", "\n", "\u2581", "日本", "é", "e\u0301", "🔥"]  # fmt: skip


@cache
def growing(name: str) -> GrowingPrompts:
    return GrowingPrompts(load_tokenizer(tokenizer_path(name)))


@pytest.mark.parametrize("name", tokenizer_names())
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=14).map("".join), max_size=4))
def test_the_ids_of_parts_are_the_ids_of_the_whole(name: str, texts: list[str]) -> None:
    prompts = growing(name)
    assert prompts.encode_batch(texts) == prompts._tokenizer.encode_batch(texts)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_prompts_of_dialogues_have_their_own_ids(format_name: str) -> None:
    dialogues = islice(read_dialogues(dialogues_path()), 0, None, 60)
    texts = [p.create_prompt() for d in dialogues for _, p in prompts_of(d, FORMATS[format_name])]
    for name in tokenizer_names():
        assert growing(name).encode_batch(texts) == growing(name)._tokenizer.encode_batch(texts), name


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "options"),
    [("llama-2", {"legacy": True}), ("llama-2", {"legacy": False}), ("mistral/v1", {}), ("mistral/v3", {}), ("phi-3/before", {}), ("phi-3/after", {})],
)  # fmt: skip
def test_real_tokenizers_give_the_same_ids(real: Path, folder: str, options: dict[str, bool]) -> None:
    tokenizer = load_tokenizer(real / folder, loader="transformers", **options)
    texts = [
        p.create_prompt()
        for name in ("llama2", "mistral-v1", "phi3", "chatml")
        for d in islice(read_dialogues(dialogues_path()), 0, None, 25)
        for _, p in prompts_of(
            d, FORMATS.get(name) or FORMATS["phi3-2024-07" if name == "phi3" else "llama2-chatstream"]
        )
    ]
    assert GrowingPrompts(tokenizer).encode_batch(texts) == tokenizer.encode_batch(texts)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word", "normalized"])
@given(text=st.lists(st.sampled_from(["<s>", "<S>", "x<s", ">", "a", " ", "\n"]), max_size=10).map("".join))
def test_added_tokens_that_look_at_their_neighbours_are_no_place_to_cut(flag: str, text: str) -> None:
    rust = Tokenizer(models.BPE({c: n for n, c in enumerate("<s>xaS \n\u2581")}, []))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Lowercase()])
    rust.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    rust.add_special_tokens([AddedToken("<s>", **{"normalized": False, flag: True})])
    rust.add_tokens([AddedToken("x<s", normalized=False)])
    tokenizer = FastTokenizer(rust)
    assert GrowingPrompts(tokenizer).encode_batch([text]) == tokenizer.encode_batch([text])
