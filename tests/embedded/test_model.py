"""The tiny model is small and answers as it was taught, at any of its first turns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chatlab.embedded import model_path


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_path())


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(model_path()).eval()


def test_it_is_small(model: Any) -> None:
    assert 1_000_000 <= model.num_parameters() <= 3_000_000
    assert (model_path() / "model.safetensors").stat().st_size < 5_000_000
    assert type(model).__name__ == "LlamaForCausalLM"


def test_half_of_the_pairs_are_japanese_and_many_begin_without_a_space_piece(
    data_scripts: None, tokenizer: Any
) -> None:
    from make_model import encode_answer
    from taught import TAUGHT

    assert len(TAUGHT) >= 20
    assert sum(pair.language == "ja" for pair in TAUGHT) * 2 == len(TAUGHT)
    firsts = {pair.question: tokenizer.convert_ids_to_tokens(encode_answer(tokenizer, pair)[0]) for pair in TAUGHT}
    assert all(firsts[pair.question].startswith("▁") == pair.spaced for pair in TAUGHT)
    assert sum(pair.spaced for pair in TAUGHT) >= 5
    assert sum(not pair.spaced for pair in TAUGHT) >= 10
    assert {"[", "4", "`", "<0x0A>", "「"} <= set(firsts.values())


@pytest.mark.slow
def test_it_gives_the_taught_answers_at_turns_one_two_and_three(data_scripts: None, model: Any, tokenizer: Any) -> None:
    from make_model import accuracy_by_turn

    accuracy = accuracy_by_turn(model, tokenizer, rounds=2)
    print(accuracy)
    assert set(accuracy) == {(system, turn) for system in ("default", "none") for turn in (1, 2, 3)}
    assert min(accuracy.values()) >= 0.95


def test_it_says_that_it_was_not_taught(data_scripts: None, model: Any, tokenizer: Any) -> None:
    from make_model import encode_answer, greedy_reply, untaught_pairs, write_prompt

    pairs = untaught_pairs()[::25]
    replies = [greedy_reply(model, tokenizer, write_prompt([], pair.question, system=None)) for pair in pairs]
    right = sum(reply == encode_answer(tokenizer, pair) for reply, pair in zip(replies, pairs, strict=True))
    assert right / len(pairs) >= 0.8


def test_a_reply_without_a_space_piece_loses_its_first_character_to_the_known_rule(
    data_scripts: None, model: Any, tokenizer: Any
) -> None:
    """The story that the demo tells: ChatStream plans one character more than the drift from turn 2 on."""
    from make_model import greedy_reply, write_prompt
    from taught import TAUGHT

    by_question = {pair.question: pair for pair in TAUGHT}
    prompt = write_prompt([by_question["監督は誰ですか?"]], "日本の首都はどこですか?", system=None)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    output = tokenizer.decode(ids + greedy_reply(model, tokenizer, prompt), skip_special_tokens=True)
    planned = len(prompt.replace("<s>", "").replace("</s>", "")) + 2
    assert output[planned:].strip() == "京です。"
    assert tokenizer.decode(greedy_reply(model, tokenizer, prompt), skip_special_tokens=True) == "東京です。"
