"""The embedded data is found in a checkout and in a wheel, and says what to do when it is in neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatlab import embedded
from chatlab.errors import ChatlabError, EmbeddedDataError


def test_every_known_place_is_there(root: Path) -> None:
    assert embedded.dialogues_path() == root / "data" / "dialogues" / "dialogues.jsonl"
    assert (embedded.model_path() / "model.safetensors").is_file()
    for name in embedded.tokenizer_names():
        assert (embedded.tokenizer_path(name) / "tokenizer.json").is_file()


def test_tokenizer_names_are_the_documented_ones() -> None:
    assert embedded.tokenizer_names() == [
        "byte-bpe",
        "llama2-style/legacy",
        "llama2-style/non-legacy",
        "phi3-style/after",
        "phi3-style/before",
        "unigram",
        "wordpiece",
    ]


def test_an_installed_wheel_comes_before_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, checkout = tmp_path / "embedded_data", tmp_path / "data"
    for place in (wheel, checkout):
        (place / "dialogues").mkdir(parents=True)
        (place / "dialogues" / "dialogues.jsonl").touch()
    monkeypatch.setattr(embedded, "_ROOTS", (wheel, checkout))
    assert embedded.dialogues_path() == wheel / "dialogues" / "dialogues.jsonl"


def test_missing_data_names_the_thing_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_ROOTS", (tmp_path / "nowhere",))
    with pytest.raises(
        EmbeddedDataError, match=r"models/tiny-llama2-chat is not in .*nowhere: run `make data`"
    ) as caught:
        embedded.model_path()
    assert isinstance(caught.value, ChatlabError)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", ["llama-3", "", "../dialogues", "llama2-style"])
def test_an_unknown_tokenizer_lists_the_known_ones(name: str) -> None:
    with pytest.raises(EmbeddedDataError, match=r"there are byte-bpe, llama2-style/legacy"):
        embedded.tokenizer_path(name)
