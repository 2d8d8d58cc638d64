"""A full disk in mid-write: a typed error, what was there stays, and nothing half-made is left, for every output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from chatlab.buffering.tokflow import TokFlow
from chatlab.cli.revisions import check
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.errors import OutputError
from chatlab.locks.lock import lock
from chatlab.prompts.dialogue import read_dialogues
from chatlab.prompts.messages import write_dialogues
from chatlab.reports.drift import DriftRows
from chatlab.snapshots.snapshot import snapshot
from tests.support.commands import exit_code
from tests.support.commands import screen as screen
from tests.support.disk import full_after

ROWS = pd.DataFrame({"text": [f"{n} {n * n} {n**3}" for n in range(20_000)]})


def rows(folder: Path) -> None:
    with DriftRows(folder) as out:
        out.add(ROWS)


def page(folder: Path) -> None:
    TokFlow([("a", "b")]).trace(["a" * 20_000]).save_html(folder / "page.html")


def dialogues(folder: Path) -> None:
    write_dialogues(folder / "dialogues.jsonl", read_dialogues(dialogues_path()))


def taken(folder: Path) -> None:
    snapshot(tokenizer_path("byte-bpe")).save(folder / "snapshot.json")


def locked(folder: Path) -> None:
    lock("t", str(tokenizer_path("byte-bpe")), path=folder / "chatlab.lock", vendor=True)


@pytest.mark.parametrize("write", [rows, page, dialogues, taken, locked], ids=lambda write: write.__name__)
def test_nothing_half_written_is_left(write: Callable[[Path], None], tmp_path: Path) -> None:
    with full_after(4096), pytest.raises(OutputError, match="cannot write"):
        write(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("write", [rows, page, dialogues, taken, locked], ids=lambda write: write.__name__)
def test_with_room_the_same_is_written(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    assert any(p.is_file() for p in tmp_path.rglob("*"))


def test_a_report_on_a_full_disk_is_no_verdict(screen, tmp_path: Path) -> None:
    locked(tmp_path)
    with full_after(100):
        code = exit_code(check, file=tmp_path / "chatlab.lock", format="json", out=tmp_path / "report.json")
    assert code == 3
    assert not (tmp_path / "report.json").exists()
