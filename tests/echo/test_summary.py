"""Batch by batch adds up to the whole, and the verdict says what the tables say."""

from __future__ import annotations

import re
from itertools import islice

import pandas as pd
import pytest

from chatlab.echo.cut import STRATEGIES
from chatlab.echo.experiment import concat_frames, iter_drift, measure_drift
from chatlab.echo.summary import DriftTally, _rounded
from chatlab.echo.trace import trace_echo
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.errors import ChatlabError
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
    assert (strategies.replies + strategies.not_applicable == tally.turn_count).all()
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


def test_every_wrong_cut_is_named_in_its_class_worst_first(legacy: tuple[DriftTally, list]) -> None:
    tally, _ = legacy
    damage, cuts = tally.verdict()[1], tally.by_strategy().set_index("strategy")
    classes = dict(
        re.findall(r"(Cutting by length|Searching for the prompt|Decoding the output ids): (.*?)\.(?: |$)", damage)
    )
    ways = {"Cutting by length": "length", "Searching for the prompt": "search", "Decoding the output ids": "ids"}
    named = {words: re.findall(r"(\w+) spoils", told) for words, told in classes.items()}
    for words, names in named.items():
        assert {STRATEGIES[name].way for name in names} == {ways[words]}
        shares = [cuts.wrong_share[name] for name in names]
        assert shares == sorted(shares, reverse=True)
    assert {name for names in named.values() for name in names} == set(cuts.index[cuts.wrong > 0])
    firsts = [cuts.wrong_share[names[0]] for names in named.values()]
    assert firsts == sorted(firsts, reverse=True)


@pytest.mark.parametrize(("share", "told"), [(0.001, "under 1%"), (0.43, "43%"), (0.9999, "over 99%"), (1.0, "100%")])
def test_a_share_is_never_rounded_to_none_or_all(share: float, told: str) -> None:
    assert _rounded(share) == told


def test_dialogues_of_one_id_are_counted_each() -> None:
    """A headline counts replies: two dialogues with one name are two."""
    dialogue = next(read_dialogues(dialogues_path()))
    tally = DriftTally(measure_drift([dialogue, dialogue], "llama2", tokenizer_path("byte-bpe")))
    assert tally.turn_count == tally.by_turn().prompts.sum() == 2 * len(dialogue.turns)


def test_a_table_stands_alone_and_another_is_refused(legacy: tuple[DriftTally, list]) -> None:
    _, frames = legacy
    assert str(DriftTally(frames[0])) == str(DriftTally([frames[0]]))
    for other in (frames[0][["turn"]], pd.DataFrame()):
        with pytest.raises(ChatlabError, match="a DriftTally adds up what measure_drift .* has no dialogue"):
            DriftTally(other)
    with pytest.raises(ChatlabError, match="this str has no"):
        DriftTally(["path"])  # type: ignore[list-item]


def test_a_table_written_by_an_older_version_has_its_classes(legacy: tuple[DriftTally, list]) -> None:
    tally, frames = legacy
    older = concat_frames(frames).drop(columns=["way", "clean_up"])
    assert DriftTally(older).verdict()[1] == tally.verdict()[1]
