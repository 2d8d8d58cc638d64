"""Batch by batch adds up to the whole, and the verdict says what the tables say."""

from __future__ import annotations

from itertools import islice

import pytest

from chatlab.echo.cut import STRATEGIES
from chatlab.echo.experiment import concat_frames, iter_drift
from chatlab.echo.summary import DriftTally
from chatlab.echo.trace import trace_echo
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.load import load_tokenizer


def tally_of(name: str) -> tuple[DriftTally, list]:
    dialogues = islice(read_dialogues(dialogues_path()), 0, None, 12)
    frames = list(iter_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, load_tokenizer(tokenizer_path(name))))
    return DriftTally(frames), frames


@pytest.fixture(scope="module")
def legacy() -> tuple[DriftTally, list]:
    return tally_of("llama2-style/legacy")


def test_tables_add_up_to_the_frame(legacy: tuple[DriftTally, list]) -> None:
    tally, frames = legacy
    whole = concat_frames(frames)
    strategies = tally.by_strategy().set_index("strategy")
    assert list(strategies.index) == list(STRATEGIES)
    assert strategies.wrong.to_dict() == whole.groupby("strategy", observed=True).wrong.sum().to_dict()
    assert tally.by_first_piece().wrong.sum() == whole.wrong.sum()
    assert tally.by_turn().prompts.sum() == tally.turn_count == len(whole) / len(STRATEGIES)


def test_the_verdict_is_three_sentences_with_the_numbers(legacy: tuple[DriftTally, list]) -> None:
    tally, _ = legacy
    tally.add_traces([trace_echo(tokenizer_path("llama2-style/legacy"), "a </s><s>[INST]")])
    drift, damage, cure = tally.verdict()
    assert f"{tally.drifted_count:,} of {tally.turn_count:,}" in drift
    assert "one character a turn after the first" in drift
    assert "dummy prefix" in drift
    assert "prompt_class_rule spoils" in damage
    assert "exact, wrong on 0" in cure
    assert not tally.is_exact


def test_an_exact_tokenizer_is_called_exact() -> None:
    tally, frames = tally_of("byte-bpe")
    assert tally.is_exact == (concat_frames(frames).first_echo_offset < 0).all()


def test_nothing_measured_is_no_drift() -> None:
    tally = DriftTally()
    assert tally.is_exact
    assert tally.by_strategy().empty
    assert len(tally.verdict()) == 3
