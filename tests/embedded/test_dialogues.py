"""The dialogues are many, labelled, varied, and the same bytes whenever they are made."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatlab.embedded import dialogues_path
from chatlab.prompts.dialogue import Dialogue

# What must stand in a message of each kind, in at least one message of every dialogue of that kind.
FEATURES: dict[str, Callable[[str], bool]] = {
    "code": lambda text: any(mark in text for mark in ("\n", "`", "{", "$", "(", "\\")),
    "combining": lambda text: any(unicodedata.combining(character) for character in text),
    "crlf": lambda text: "\r\n" in text,
    "emoji": lambda text: "\u200d" in text,
    "empty": lambda text: not text.strip(),
    "long": lambda text: len(text) >= 2000,
    "odd-spaces": lambda text: any(
        character in text for character in "\u00a0\u3000\u2009\u200b\ufeff\u202f\u2028\u0085\u00ad\u2060"
    ),
    "special-tokens": lambda text: any(
        token in text
        for token in ("</s>", "<s>", "[INST]", "[/INST]", "<|", "<<", "<unk>", "<pad>", "<0x", "[PAD]", "[MASK]")
    ),
    "tab": lambda text: "\t" in text,
    "u2581": lambda text: "▁" in text,
    "whitespace": lambda text: "  " in text or text != text.strip(),
    "cleanup": lambda text: any(mark in text for mark in (" .", " ,", " !", " ?", " '", "n't")),
    "rare": lambda text: any(ord(character) > 0x7F for character in text),
    "scripts": lambda text: not text.isascii(),
    "list": lambda text: any(
        mark in text for mark in ("* ", "1. ", "- [", "| ", "(a)", "[1]", "・", "①", "(1)", ";", "、")
    ),
    "plain": bool,
    "taught": bool,
}


def messages(dialogue: Dialogue) -> Iterator[str]:
    for turn in dialogue.turns:
        yield turn.user
        assert turn.assistant is not None, f"{dialogue.id} has a turn without a reply"
        yield turn.assistant


def test_there_are_enough_of_them_and_no_two_are_alike(dialogues: list[Dialogue]) -> None:
    assert len(dialogues) >= 1200
    assert len({dialogue.id for dialogue in dialogues}) == len(dialogues)
    assert len({dialogue.turns for dialogue in dialogues}) == len(dialogues)


def test_they_have_one_to_six_turns(dialogues: list[Dialogue]) -> None:
    counts = Counter(len(dialogue.turns) for dialogue in dialogues)
    assert set(counts) == {1, 2, 3, 4, 5, 6}
    assert min(counts.values()) >= 100


def test_each_is_labelled_by_language_and_kind(dialogues: list[Dialogue]) -> None:
    assert all(set(dialogue.labels) == {"language", "kind"} for dialogue in dialogues)
    assert {dialogue.labels["language"] for dialogue in dialogues} == {"en", "ja", "mixed", "other"}
    kinds = Counter(dialogue.labels["kind"] for dialogue in dialogues)
    assert set(kinds) == set(FEATURES)
    assert min(kinds.values()) >= 20


@pytest.mark.parametrize("kind", FEATURES)
def test_every_dialogue_of_a_kind_has_its_feature(dialogues: list[Dialogue], kind: str) -> None:
    for dialogue in dialogues:
        if dialogue.labels["kind"] == kind:
            assert any(FEATURES[kind](message) for message in messages(dialogue)), dialogue.id


def test_japanese_dialogues_hold_japanese(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        if dialogue.labels["language"] == "ja":
            assert any("\u3040" <= character <= "\u9fff" for message in messages(dialogue) for character in message), (
                dialogue.id
            )


def test_replies_begin_in_many_ways(dialogues: list[Dialogue]) -> None:
    firsts = Counter(reply[:1] for dialogue in dialogues for reply in (turn.assistant or "" for turn in dialogue.turns))

    def count(wanted: Callable[[str], bool]) -> int:
        return sum(number for first, number in firsts.items() if first and wanted(first))

    assert count(lambda first: first.isascii() and first.isalpha()) >= 500
    assert count(lambda first: "\u3040" <= first <= "\u9fff") >= 300
    assert count(lambda first: first >= "\U0001f000") >= 200
    assert count(str.isdigit) >= 200
    assert min(firsts["["], firsts["\n"], firsts[" "], firsts["「"], firsts["`"]) >= 50


def test_every_taught_pair_is_met_at_turns_one_to_three(dialogues: list[Dialogue], data_scripts: None) -> None:
    from taught import TAUGHT

    met = {
        (turn.user, turn.assistant, number)
        for dialogue in dialogues
        if dialogue.labels["kind"] == "taught" and dialogue.system is None
        for number, turn in enumerate(dialogue.turns, 1)
    }
    assert {(pair.question, pair.answer, number) for pair in TAUGHT for number in (1, 2, 3)} <= met


def test_the_file_is_small_and_one_line_is_one_dialogue_for_any_reader(dialogues: list[Dialogue]) -> None:
    text = dialogues_path().read_bytes()
    assert len(text) < 2_000_000
    # str.splitlines also cuts at U+0085 and U+2028, which therefore must stand escaped.
    assert len(text.decode().splitlines()) == len(dialogues)


def test_the_script_makes_the_same_bytes_again(tmp_path: Path, run_script: Callable[..., None]) -> None:
    run_script("make_dialogues.py", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == dialogues_path().read_bytes()
