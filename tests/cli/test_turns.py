"""``chatlab turns``: three plain sentences, files, and an exit code that is a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.embedded import tokenizer_path

LLAMA = str(tokenizer_path("llama2-style/legacy"))
TALK = {
    "id": "talk",
    "turns": [{"user": "Hi", "assistant": "Yes, I do.\n"}, {"user": "Who?", "assistant": "Him."}, {"user": "Why?"}],
}


def run(*arguments: str | Path) -> tuple[int, str]:
    made = CliRunner().invoke(app, ["turns", *map(str, arguments)])
    return made.exit_code, made.output


def talk(folder: Path, *records: object) -> Path:
    path = folder / "talk.jsonl"
    path.write_text("\n".join(map(json.dumps, records or (TALK,))))
    return path


def test_lost_is_one_and_kept_is_none(tmp_path: Path) -> None:
    path = talk(tmp_path)
    code, told = run(LLAMA, "--prompt", "chatml", "--conversations", path)
    assert (code, told.count("• ")) == (0, 3)
    code, told = run(LLAMA, "--prompt", "chatml", "--conversations", path, "--stored", "stripped")
    assert code == 1
    assert "reply stripped before it is stored" in told
    assert "One of them, talk" in told


def test_the_files_hold_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told = run(
        LLAMA, "--prompt", "chatml", "--conversations", talk(tmp_path), "--stored", "stripped", "--out", out
    )
    assert code == 1, told
    assert {p.name for p in out.iterdir()} == {
        "turns.parquet", "turns.csv", "turns.png", "causes.png", "traces.json", "report.html",
    }  # fmt: skip
    frame = pd.read_parquet(out / "turns.parquet")
    assert frame["kept"].tolist() == [False, False]
    assert len(json.loads((out / "traces.json").read_text())) == 1
    assert "Lost borders by cause" in (out / "report.html").read_text()


def test_calls_in_ids_are_read_as_such(tmp_path: Path) -> None:
    records = [
        {"id": "t", "prompt_ids": [1, 5], "completion_ids": [7]},
        {"id": "t", "prompt_ids": [1, 5, 7, 9], "completion_ids": [7]},
    ]
    code, told = run(LLAMA, "--conversations", talk(tmp_path, *records))
    assert (code, "all 1 borders are kept" in told) == (0, True), told


def test_errors_are_two(tmp_path: Path) -> None:
    single = {"id": "one", "turns": [{"user": "Hi", "assistant": "Yes."}]}
    assert run(LLAMA, "--prompt", "chatml", "--conversations", talk(tmp_path, single))[0] == 2
    assert run(LLAMA, "--prompt", "no such format", "--conversations", talk(tmp_path))[0] == 2
    code, told = run(LLAMA, "--prompt", "chatml", "--skip-bad", "--conversations", talk(tmp_path, TALK, {"id": "x"}))
    assert (code, "1 dialogues were left out" in told) == (0, True), told
