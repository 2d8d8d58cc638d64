"""The examples users have, run as they stand: only the import line changes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

SEED = Path(__file__).parent / "seed"

GROWING = [
    "He", "Hello", "Hello ", "Hello t", "Hello th", "Hello there", "Hello there!<", "Hello there!<N",
    "Hello there!<NL>m", "Hello there!<NL>my ", "Hello there!<NL>my nam", "Hello there!<NL>my name",
    "Hello there!<NL>my name ", "Hello there!<NL>my name is", "Hello there!<NL>my name is tokfl",
    "Hello there!<NL>my name is tokflow.",
]  # fmt: skip


def run(name: str, home: str, monkeypatch: pytest.MonkeyPatch, **given: object) -> dict[str, object]:
    """Execute one example with the import changed, and without its pauses."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    source = (SEED / f"{name}.py.txt").read_text(encoding="utf-8").replace("from tokflow import", f"from {home} import")
    names: dict[str, object] = {"print": print, **given}
    exec(compile(source, name, "exec"), names)
    return names


@pytest.mark.parametrize("home", ["chatlab.buffering", "chatlab"])
def test_a_tag_becomes_a_line_break(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("replace_a_tag", home, monkeypatch)
    assert capsys.readouterr().out == "Hello there!\nmy name is tokflow.\nNice to meet you."


def test_full_texts_grow_and_never_show_the_tag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example raises if an output shrinks or shows the tag."""
    from chatlab import TokFlow

    names = run("replace_full_texts", "chatlab", monkeypatch, TokFlow=TokFlow, get_example_texts=lambda: GROWING)
    printed = capsys.readouterr().out.removeprefix("output_sentence:").removesuffix("\n").split("\noutput_sentence:")
    shown = [text.replace("<NL>", "\n") for text in GROWING]
    shown[6] = shown[7] = "Hello there!"
    assert printed == shown
    assert names["output_sentence"] == "Hello there!\nmy name is tokflow."


@pytest.mark.parametrize("home", ["chatlab.buffering", "chatlab"])
def test_a_sentence_stops_at_the_tag(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run("stop_at_a_tag", home, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "text:'は' possible:False stop_str_found:False stop_str:None"
    held = "text:'はい、こちらをお勧めします。' possible:True stop_str_found:False stop_str:None"
    found = "text:'はい、こちらをお勧めします。' possible:False stop_str_found:True stop_str:<NL>"
    assert lines[-4:] == [held, held, held, found]
    assert len(lines) == 13
    assert names["stop_str_found"] is True


@pytest.mark.parametrize("home", ["chatlab.buffering", "chatlab"])
def test_the_tag_of_the_first_text_is_skipped(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("skip_the_first_tag", home, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "text:'はい、<NL>こちらを' possible:False stop_str_found:False stop_str:None"
    assert lines[-1] == "text:'はい、<NL>こちらをお勧めします。' possible:False stop_str_found:True stop_str:<NL>"
    assert len(lines) == 12
