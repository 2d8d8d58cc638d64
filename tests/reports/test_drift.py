"""The drift report: rows in two formats alike, and one page that needs and loads nothing else."""

from __future__ import annotations

import base64
import csv
import json
import re
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from chatlab.echo.experiment import concat_frames, iter_drift
from chatlab.echo.summary import DriftTally
from chatlab.echo.trace import EchoTrace, trace_echo
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.errors import OutputError
from chatlab.prompts.dialogue import read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.render import csv_value
from chatlab.reports.drift import DriftRows, write_drift_report
from chatlab.tokenizers.load import load_tokenizer
from tests.support.page import OURS, seen

EVIL = "<img src=https://evil.example/x onerror=alert(1)></pre><script>alert(1)</script>\u202e\x1b[2J"


@pytest.fixture(scope="module")
def frames() -> list[pd.DataFrame]:
    """Three batches, by dialogues of every kind."""
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    labels = ["kind", "language"]
    return [
        frame
        for start in (0, 1, 2)
        for frame in iter_drift(
            islice(read_dialogues(dialogues_path()), start, None, 40),
            ChatPromptMetaLlamaLlama2Chat,
            tokenizer,
            labels=labels,
        )
    ]


@pytest.fixture(scope="module")
def traces() -> list[EchoTrace]:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    return [trace_echo(tokenizer, f"<s>[INST] {text} [/INST] Hello! </s><s>[INST] two ") for text in ("hi", EVIL)]


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Values without the storage types that only memory has."""
    text = frame.astype({name: str for name in frame.select_dtypes("category").columns})
    return text.astype(object).where(text.notna(), None).reset_index(drop=True)


def test_parquet_and_csv_hold_the_rows_of_the_frames(frames: list[pd.DataFrame], tmp_path: Path) -> None:
    assert len(frames) > 1
    with DriftRows(tmp_path) as rows:
        for frame in frames:
            rows.add(frame)
        assert not (tmp_path / "drift.parquet").exists(), "a reader meets whole files only"
    expected = plain(concat_frames([frame.copy() for frame in frames]))
    parquet = pd.read_parquet(tmp_path / "drift.parquet")
    table = pd.read_csv(tmp_path / "drift.csv", keep_default_na=False, dtype=str).map(csv_value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drift.csv", "drift.parquet"]
    pd.testing.assert_frame_equal(plain(parquet), expected, check_dtype=False)
    as_text = plain(parquet).map(lambda value: "" if value is None else str(value))
    pd.testing.assert_frame_equal(table.sort_index(axis=1), as_text.sort_index(axis=1), check_dtype=False)


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "=cmd|'/c calc'!A1",
    "\uff1d1",
    '=HYPERLINK("http://x","y")',
    "'=1",
]


def test_no_text_of_a_csv_is_a_formula_and_each_is_read_back(tmp_path: Path) -> None:
    """Ids, labels and pieces alike, and a label's name, which is a column's; numbers stay numbers."""
    frame = pd.DataFrame({"dialogue": FORMULAS, "=label": FORMULAS[::-1], "drift": range(-5, 5), "share": [-0.5] * 10})
    write(tmp_path, frame)
    with open(tmp_path / "drift.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["dialogue", "'=label", "drift", "share"]
    assert all(cell.startswith("'") for row in rows[1:] for cell in row[:2])
    assert [row[2:] for row in rows[1:]] == [[str(n), "-0.5"] for n in range(-5, 5)]
    assert [csv_value(row[0]) for row in rows[1:]] == FORMULAS


def test_text_that_csv_quotes_comes_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"first_piece": ['a,b"c', "\n", "\u2581\u65e5", " ", "\r\n", "'", "x=1"], "turn": range(7)})
    write(tmp_path, frame)
    with open(tmp_path / "drift.csv", encoding="utf-8", newline="") as file:
        back = pd.read_csv(file, keep_default_na=False)
    assert list(back["first_piece"].map(csv_value)) == list(frame["first_piece"])
    assert list(pd.read_parquet(tmp_path / "drift.parquet")["first_piece"]) == list(frame["first_piece"])


def write(folder: Path, *frames: pd.DataFrame, error: type[BaseException] | None = None) -> None:
    with DriftRows(folder) as rows:
        for frame in frames:
            rows.add(frame)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_cut_short_keeps_the_rows_it_wrote(
    frames: list[pd.DataFrame], tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        write(tmp_path, frames[0], error=error)
    assert len(pd.read_parquet(tmp_path / "drift.parquet")) == len(frames[0])
    assert len(pd.read_csv(tmp_path / "drift.csv")) == len(frames[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_batch_that_lacks_a_label_has_it_empty(tmp_path: Path) -> None:
    write(tmp_path, pd.DataFrame({"turn": [1], "label_kind": ["plain"]}), pd.DataFrame({"turn": [2]}))
    assert list(pd.read_parquet(tmp_path / "drift.parquet")["label_kind"]) == ["plain", ""]


def test_a_batch_of_other_types_is_refused_and_the_rows_before_it_are_kept(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="(?i)convert|int"):
        write(tmp_path, pd.DataFrame({"turn": [1]}), pd.DataFrame({"turn": ["two"]}))
    assert list(pd.read_parquet(tmp_path / "drift.parquet")["turn"]) == [1]


def test_a_run_cut_short_before_its_first_row_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path, pd.DataFrame({"turn": [1], "strategy": ["exact"]}).iloc[:0])
    assert list(pd.read_csv(tmp_path / "drift.csv").columns) == ["turn", "strategy"]
    assert list(pd.read_parquet(tmp_path / "drift.parquet").columns) == ["turn", "strategy"]


def test_nothing_measured_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_before_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write into"):
        DriftRows(tmp_path / "file" / "out")


# -- the page ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tally(frames: list[pd.DataFrame], traces: list[EchoTrace]) -> DriftTally:
    tally = DriftTally(frames)
    tally.add_traces(traces)
    return tally


@pytest.fixture(scope="module")
def folder(tally: DriftTally, traces: list[EchoTrace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_drift_report(folder, tally, traces, f"Echo drift of {EVIL}")
    return folder


def test_every_file_that_is_named_is_there(tally: DriftTally, traces: list[EchoTrace], tmp_path: Path) -> None:
    paths = write_drift_report(tmp_path, tally, traces, "t")
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert all(path.stat().st_size > 100 for path in paths)


def test_the_page_loads_nothing_from_anywhere(folder: Path) -> None:
    page = seen((folder / "report.html").read_text(encoding="utf-8"))
    loads = [v for _, name, v in page.attributes if name in {"src", "href", "srcset", "poster", "action", "xlink:href"}]
    assert len(loads) == 3
    assert all(value.startswith("data:image/png;base64,") for value in loads)
    styles = re.findall(r"<style>(.*?)</style>", (folder / "report.html").read_text(encoding="utf-8"), re.S)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    (policy,) = [v for _, name, v in page.attributes if name == "content" and "default-src" in v]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_text_of_a_prompt_or_a_title_is_shown_and_does_nothing(folder: Path) -> None:
    page = seen((folder / "report.html").read_text(encoding="utf-8"))
    assert set(page.elements) <= {*OURS, "h1"}
    assert {(tag, name) for tag, name, _ in page.attributes} <= {(tag, name) for tag in OURS for name in OURS[tag]}
    assert "script" not in page.elements
    text = "".join(page.texts)
    assert "<script>alert(1)</script>" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_the_page_says_what_was_measured(folder: Path, tally: DriftTally) -> None:
    text = "".join(seen((folder / "report.html").read_text(encoding="utf-8")).texts)
    for sentence in tally.verdict():
        assert sentence in text
    for strategy, replies in tally.by_strategy()[["strategy", "replies"]].itertuples(index=False, name=None):
        assert strategy in text
        assert str(replies) in text
    assert "Causes in 2 traced prompts" in text


def test_the_pictures_in_the_page_are_the_picture_files(folder: Path) -> None:
    page = seen((folder / "report.html").read_text(encoding="utf-8"))
    inside = {base64.b64decode(value.partition(",")[2]) for _, name, value in page.attributes if name == "src"}
    assert inside == {path.read_bytes() for path in folder.glob("*.png")}
    assert all(alt for tag, name, alt in page.attributes if name == "alt")


def test_the_traces_come_back(folder: Path, traces: list[EchoTrace]) -> None:
    values = json.loads((folder / "traces.json").read_text(encoding="utf-8"))
    assert [EchoTrace.from_dict(value) for value in values] == traces


def test_the_same_result_is_the_same_bytes(
    folder: Path, tally: DriftTally, traces: list[EchoTrace], tmp_path: Path
) -> None:
    write_drift_report(tmp_path, tally, traces, f"Echo drift of {EVIL}")
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_report_of_nothing_is_a_page_all_the_same(tmp_path: Path) -> None:
    write_drift_report(tmp_path, DriftTally(), [], "empty")
    text = "".join(seen((tmp_path / "report.html").read_text(encoding="utf-8")).texts)
    assert "No traced prompt has an edit" in text
    assert json.loads((tmp_path / "traces.json").read_text()) == []


def test_a_report_that_cannot_be_written_is_a_typed_error(tally: DriftTally, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        write_drift_report(tmp_path / "file", tally, [], "t")
