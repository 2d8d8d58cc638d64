"""A sweep in this process: its rows, its keys, what is computed anew, what a fault does, what a spec may say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab import measure_drift, snapshot
from chatlab.embedded import tokenizer_path
from chatlab.errors import OutputError, SweepError
from chatlab.files import whole_file
from chatlab.snapshots.snapshot import Snapshot
from chatlab.sweeps import store as stores
from chatlab.sweeps.keys import Planner, Shard
from chatlab.sweeps.merge import merge_sweeps
from chatlab.sweeps.run import sweep
from chatlab.sweeps.spec import read_spec
from chatlab.sweeps.store import Entry, read_shard, write_shard
from chatlab.sweeps.task import Task
from tests.sweeps.conftest import Known, bytes_of, write_spec


def test_the_rows_are_those_of_the_single_calls(known: Known) -> None:
    frame = known.result.to_frame("drift", ds.field("tokenizer") == "llama2-style/legacy")
    few = frame.groupby("task").filter(lambda part: part["dialogue"].nunique() == 20).drop(columns="task")
    single = measure_drift(known.spec.parent / "few.jsonl", "llama2", tokenizer_path("llama2-style/legacy"))
    assert len(single) > 100
    pd.testing.assert_frame_equal(few.reset_index(drop=True), single, check_dtype=False, check_categorical=False)
    held = known.result.to_frame("snapshot").set_index("name").loc["phi3-style/after", "snapshot"]
    assert Snapshot.from_dict(json.loads(held)).sha256 == snapshot(tokenizer_path("phi3-style/after")).sha256


def test_what_became_of_each_task_is_told(known: Known) -> None:
    tasks = known.result.tasks()
    assert known.result.counts == {"done": 11, "failed": 1}
    assert known.result.exit_code == 1
    assert [sha256(text.encode()).hexdigest() for text in tasks["identity"]] == list(tasks["task"])
    (failed,) = tasks[tasks["state"] == "failed"].to_dict("records")
    assert failed["error"] == "DialogueError"
    assert failed["task"][:12] in str(known.result)
    assert failed["task"][:12] in known.result.body() or failed["task"] in known.result.body()
    rows = sum(len(known.result.to_frame(kind)) for kind in ("drift", "turns", "snapshot", "audit"))
    assert tasks["rows"].sum() == rows


def test_done_again_it_computes_only_what_failed(
    known: Known, tmp_path: Path, is_known: Callable[[Path], None]
) -> None:
    shutil.copytree(known.result.folder, tmp_path / "out")
    again = sweep(known.spec, out=tmp_path / "out")
    assert again.computed == 1
    is_known(tmp_path / "out")


def test_what_is_damaged_is_computed_anew(known: Known, tmp_path: Path, is_known: Callable[[Path], None]) -> None:
    out = tmp_path / "out"
    shutil.copytree(known.result.folder, out)
    first, second, *_ = sorted((out / "drift").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-10])
    data = bytearray(second.read_bytes())
    data[len(data) // 3] ^= 1
    second.write_bytes(data)
    (out / "drift" / ".ab.parquet.x1.tmp").write_bytes(b"of a process that was killed")
    assert sweep(known.spec, out=out).computed == 3
    is_known(out)


def test_three_parts_merged_are_one_run(known: Known, tmp_path: Path, is_known: Callable[[Path], None]) -> None:
    parts = [tmp_path / str(n) for n in (1, 2, 3)]
    done = [sweep(known.spec, out=part, shard=f"{n}/3").computed for n, part in enumerate(parts, 1)]
    assert sum(done) == 12
    assert merge_sweeps([*parts, parts[0]], tmp_path / "out").counts == known.result.counts
    is_known(tmp_path / "out")
    with pytest.raises(OutputError, match="holds a sweep already"):
        merge_sweeps(parts, tmp_path / "out")


def test_a_part_that_is_not_done_is_told_and_done_by_the_next_run(
    known: Known, tmp_path: Path, is_known: Callable[[Path], None]
) -> None:
    shutil.copytree(known.result.folder, tmp_path / "part")
    next(iter(sorted((tmp_path / "part" / "drift").glob("*.parquet")))).unlink()
    assert merge_sweeps([tmp_path / "part"], tmp_path / "out").counts == {"done": 10, "failed": 1, "missing": 1}
    assert sweep(known.spec, out=tmp_path / "out").computed == 2
    is_known(tmp_path / "out")


def test_a_changed_file_computes_its_own_part_anew(tmp_path: Path) -> None:
    shutil.copytree(tokenizer_path("byte-bpe"), tmp_path / "one")
    shutil.copytree(tokenizer_path("byte-bpe"), tmp_path / "two")
    spec = write_spec(tmp_path, '[tokenizers]\none = "one"\ntwo = "two"\n[[audit]]\n[[snapshot]]\n')
    first = sweep(spec, out=tmp_path / "out")
    assert first.computed == 4
    config = tmp_path / "two" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": 77}))
    second = sweep(spec, out=tmp_path / "out")
    fails = first.counts.get("failed", 0)
    assert second.computed == 2 + fails // 2
    assert len(second.to_frame("snapshot")) == 2


def test_a_fault_stops_nothing_unless_it_must(tmp_path: Path) -> None:
    tasks = [
        Task("snapshot", {"tokenizer": str(tmp_path / "none")}),
        Task("snapshot", {"tokenizer": "embedded:wordpiece"}),
    ]
    result = sweep(tasks, out=tmp_path / "out")
    assert result.counts == {"done": 1, "failed": 1}
    assert "SourceNotFound" in str(result)
    with pytest.raises(SweepError, match=r"task [0-9a-f]{12}, snapshot .*SourceNotFound"):
        sweep(tasks, out=tmp_path / "strict", strict=True)


def test_another_sweep_is_not_written_over(known: Known, tmp_path: Path) -> None:
    shutil.copytree(known.result.folder, tmp_path / "out")
    with pytest.raises(OutputError, match="holds another sweep"):
        sweep([Task("snapshot", {"tokenizer": "embedded:wordpiece"})], out=tmp_path / "out")
    assert bytes_of(tmp_path / "out") == known.files


def test_a_full_disk_is_told_and_what_was_written_stays(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: Callable[[Path], None]
) -> None:
    count = iter(range(100))

    def filling(path: Path):
        if next(count) >= 6:
            raise OutputError(f"cannot write {path}: No space left on device")
        return whole_file(path)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "whole_file", filling)
        with pytest.raises(OutputError, match="No space"):
            sweep(known.spec, out=tmp_path / "out")
    kept = sum(len(read_shard(path)) for path in (tmp_path / "out").glob("*/*.parquet"))
    assert kept >= 1
    assert sweep(known.spec, out=tmp_path / "out").computed == 12 - kept
    is_known(tmp_path / "out")


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1), st.data())
def test_a_shard_forgets_the_order_in_which_it_was_written(
    tmp_path_factory, tasks: dict[str, int], data: st.DataObject
) -> None:
    """Each task has columns of its own; written together, or one by one in any order, the file is the same."""
    import pyarrow as pa

    from chatlab.sweeps.work import Answer

    def held(key: str):
        rows = pa.table({"x": [key] * tasks[key], f"label_{key}": ["y"] * tasks[key]}) if tasks[key] else None
        return {key: (Entry.of(key, Answer(state="done", rows=rows)), rows)}

    folder = tmp_path_factory.mktemp("shard")
    whole: dict = {}
    for key in tasks:
        whole |= held(key)
    write_shard(folder / "whole.parquet", whole)
    for key in data.draw(st.permutations(sorted(tasks))):
        write_shard(folder / "grown.parquet", read_shard(folder / "grown.parquet") | held(key))
    assert (folder / "grown.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_a_key_tells_neither_machine_nor_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        shutil.copytree(tokenizer_path("byte-bpe"), tmp_path / place / "a" / "tok")
    keys = [
        Planner().plan([Task("snapshot", {"tokenizer": str(tmp_path / p / "a" / "tok")})])[0] for p in ("here", "there")
    ]
    assert keys[0].key == keys[1].key
    assert str(tmp_path) not in keys[0].identity


def test_every_task_is_of_one_shard(known: Known) -> None:
    plan = Planner().plan(read_spec(known.spec))
    for count in (1, 2, 5):
        assert all(sum(Shard(n, count).has(one) for n in range(1, count + 1)) == 1 for one in plan)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/2/3", ""):
        with pytest.raises(SweepError, match="i/n"):
            Shard.of(wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[drift]\n", "line 1"),
        ("[[drif]]\n", "did you mean 'drift'"),
        ("", "asks nothing"),
        ("[tokenizers]\na = 'x'\n", "asks nothing"),
        ("[[snapshot]]\n", r"no tokenizers"),
        ("[tokenizers]\na = 'x'\n[[drift]]\nprompts = ['llama2']\n[[drift]]\nprompts = ['lama2']\n", r"line 6: \[\[drift\]\] 2, prompts: .*llama2"),
        ("[tokenizers]\na = 'x'\n[[drift]]\nprompt = 'llama2'\n", r"line 4: .*did you mean 'prompts'"),
        ("[tokenizers]\na = 'x'\n[[drift]]\nprompts = 'llama2'\n", r"line 4: .*a list of texts"),
        ("[tokenizers]\na = 'x'\n[[drift]]\nstrategies = ['prompt_char']\n", "did you mean 'prompt_chars'"),
        ("[tokenizers]\na = 'x'\n[[snapshot]]\ntokenizers = []\n", "empty"),
        ("[tokenizers]\na = 'x'\n[[snapshot]]\ntokenizers = ['b']\n", "there are a"),
        ("[tokenizers]\na = { source = 'x', revison = 'y' }\n[[snapshot]]\n", r"line 2: \[tokenizers\], a: .*revision"),
        ("[tokenizers]\na = 3\n[[snapshot]]\n", "give a source"),
        ("[tokenizers]\na = 'x'\n[snapshot]\n", "two brackets"),
        ("[tokenizers]\na = 'x'\n[[compare]]\n", "pairs"),
        ("[tokenizers]\na = 'x'\n[[compare]]\npairs = [['a']]\n", "pairs"),
        ("[dialogues]\nd = 3\n[tokenizers]\na = 'x'\n[[drift]]\n", r"line 2: \[dialogues\], d"),
        ("[tokenizers]\na = 'x'\n[[turns]]\nskip_bad = 'yes'\n", "true or false"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_told_by_table_field_and_line(text: str, told: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(text)
    with pytest.raises(SweepError, match=told):
        read_spec(spec)


@pytest.mark.parametrize(
    ("kind", "inputs", "told"),
    [
        ("drfit", {}, "there are drift"),
        (None, {}, "there are drift"),
        ("drift", {"tokenizer": "x"}, "lacks prompt"),
        ("snapshot", {"tokenizer": 3}, "a text"),
        ("snapshot", {"tokeniser": "x"}, "did you mean 'tokenizer'"),
        ("drift", {"tokenizer": "x", "prompt": "llama2", "strategies": "all"}, "a list of texts"),
    ],
)
def test_a_wrong_task_is_told(kind: str, inputs: dict, told: str) -> None:
    with pytest.raises(SweepError, match=told):
        Task(kind, inputs)


def test_the_spec_that_travels_along_is_one() -> None:
    assert {task.kind for task in read_spec("embedded")} == {"drift", "turns", "audit", "snapshot", "compare"}
