"""Every function that makes a user wait tells how far it is, and a saved notebook keeps one line of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pandas as pd
import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat as Llama2
from chatlab import load_tokenizer, measure_drift
from chatlab.echo.experiment import concat_frames
from chatlab.echo.trace import trace_echoes
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.history import environments
from chatlab.history.environments import Environment, compare_versions
from chatlab.progress.progress import Progress
from chatlab.prompts.dialogue import read_dialogues
from chatlab.prompts.difference import compare_with_template
from chatlab.streaming.many import stream_many
from chatlab.testing import ScriptedEngine
from tests.conftest import ROOT

LEGACY = tokenizer_path("llama2-style/legacy")


def ends(told: list[Progress]) -> tuple[str, str]:
    return str(told[0]), str(told[-1])


def test_measuring_counts_dialogues_batch_by_batch() -> None:
    told: list[Progress] = []
    dialogues = list(read_dialogues(dialogues_path()))[:600]
    measure_drift(dialogues, Llama2, LEGACY, strategies=["exact"], progress=told.append)
    assert [progress.done for progress in told] == [0, 256, 512, 600, 600]
    assert ends(told) == ("measuring: 0 of 600 dialogues", "measuring: 600 dialogues, done")


def test_a_slow_model_is_heard_of_often_and_gives_the_same_table() -> None:
    class Slow:
        def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
            return list(prompt_ids[-3:])

    told: list[Progress] = []
    dialogues = list(read_dialogues(dialogues_path()))[:300:10]
    frame = measure_drift(dialogues, Llama2, LEGACY, replies=Slow(), progress=told.append)
    assert [progress.done for progress in told] == [0, 16, 30, 30]
    singly = [measure_drift([dialogue], Llama2, LEGACY, replies=Slow()) for dialogue in dialogues]
    pd.testing.assert_frame_equal(frame, concat_frames(singly))


def test_tracing_counts_prompts() -> None:
    told: list[Progress] = []
    assert len(list(trace_echoes(LEGACY, ["a", "b </s><s>[INST] c"], progress=told.append))) == 2
    assert [progress.done for progress in told] == [0, 1, 2, 2]
    assert ends(told) == ("explaining: 0 of 2 prompts", "explaining: 2 prompts, done")
    assert len(list(trace_echoes(LEGACY, iter(["a", "b"]), progress=told.append))) == 2
    assert ends(told[4:]) == ("explaining: 0 prompts", "explaining: 2 prompts, done")


def test_leaving_a_trace_says_where() -> None:
    told: list[Progress] = []
    traces = trace_echoes(LEGACY, ["a", "b", "c"], progress=told.append)
    next(traces)
    next(traces)
    traces.close()
    assert str(told[-1]) == "explaining: stopped at 1 of 3 prompts"


def test_comparing_with_a_template_counts_dialogues() -> None:
    told: list[Progress] = []
    dialogues = list(read_dialogues(dialogues_path()))[:3]
    tokenizer = load_tokenizer(LEGACY).wrapped
    compare_with_template(Llama2, tokenizer, dialogues, progress=told.append)
    assert ends(told) == ("comparing: 0 of 3 dialogues", "comparing: 3 dialogues, done")
    compare_with_template(Llama2, tokenizer, iter(dialogues), progress=told.append)
    assert ends(told[5:]) == ("comparing: 0 dialogues", "comparing: 3 dialogues, done")


def test_many_replies_are_counted_as_they_end() -> None:
    told: list[Progress] = []
    results = stream_many(["a", "b"], ScriptedEngine(["one", "two, three"])).results(progress=told.append)
    assert [result.text for result in results] == ["one", "two, three"]
    assert [progress.done for progress in told] == [0, 1, 2, 2]
    assert ends(told) == ("answering: 0 of 2 prompts", "answering: 2 prompts, done")


def test_versions_are_counted_whether_they_load_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(Environment):
        def versions(self) -> dict[str, str | None]:
            return environments.recorder.library_versions()

    def environment(version: str, progress: Any) -> Environment:
        progress(f"transformers {version}: making its environment")
        python = "/nowhere" if version == "4.0.0" else sys.executable
        if python == "/nowhere":
            raise environments.VersionInstallError("no such version")
        return Here(version=version, python=Path(python))

    monkeypatch.setattr(environments, "environment", environment)
    monkeypatch.setattr(environments, "find_uv", lambda: ["uv"])
    told: list[Progress] = []
    matrix = compare_versions(tokenizer_path("wordpiece"), ["4.0.0", "5.23.0"], progress=told.append)
    assert [cell.error is None for cell in matrix.cells] == [False, True]
    assert ends(told) == ("loading: 0 of 2 versions", "loading: 2 versions, done")
    assert {progress.note for progress in told} >= {
        "transformers 4.0.0: making its environment",
        "transformers 5.23.0: making its environment",
    }


START = """
from chatlab import ChatPromptMetaLlamaLlama2Chat as Llama2, load_tokenizer, measure_drift
from chatlab.echo.trace import trace_echoes
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.progress.meter import Meter
from chatlab.prompts.dialogue import read_dialogues
tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
dialogues = list(read_dialogues(dialogues_path()))[:600]
"""
CELLS = {
    "whole": "traces = list(trace_echoes(tokenizer, ['a', 'b', 'c'], progress=True))",
    "measured": "frame = measure_drift(dialogues, Llama2, tokenizer, strategies=['exact'], progress=True)",
    "interrupted": """
import os, signal
def interrupted(prompts):
    for number, prompt in enumerate(prompts):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        yield prompt
class Prompts(list):
    __iter__ = lambda self: interrupted(list.__iter__(self))
traces = list(trace_echoes(tokenizer, Prompts("abcd"), progress=True))
""",
    "hostile": """
with Meter(True, "bisecting<script>", "commits", 3) as meter:
    meter.note("<img src=x onerror=alert(1)>\\x1b[31m\\nsecond line")
    meter.advance(2)
    raise ValueError("a fault")
""",
    "killed": """
meter = Meter(True, "bisecting", "commits", 3).__enter__()
meter.note("<img src=x onerror=alert(1)>\\nsecond line")
""",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    runner: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    cells = [nbformat.v4.new_code_cell(source) for source in (START, *CELLS.values())]
    for cell in cells[3:5]:
        cell.metadata.tags = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    runner.execute(notebook, tmp_path_factory.mktemp("progress"))
    runner.normalise(notebook)
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells[1:], strict=True)}


LINES = {
    "whole": "explaining: 3 prompts, done",
    "measured": "measuring: 600 dialogues, done",
    "interrupted": "explaining: stopped at 2 of 4 prompts",
    "hostile": "bisecting<script>: stopped at 2 of 3 commits",
    "killed": "bisecting: 0 of 3 commits: <img src=x onerror=alert(1)> second line",
}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_cell_keeps_one_line_and_no_widget(saved: dict[str, list[Any]], cell: str) -> None:
    shown = [output for output in saved[cell] if output.output_type != "error"]
    assert [set(output.data) for output in shown] == [{"text/plain", "text/html"}]
    assert shown[0].data["text/plain"] == LINES[cell]


@pytest.mark.slow
def test_a_saved_line_is_escaped_and_its_bar_is_gone(saved: dict[str, list[Any]]) -> None:
    html = {name: outputs[0].data["text/html"] for name, outputs in saved.items()}
    assert html["whole"] == "<p>explaining: 3 prompts, done</p>"
    assert html["hostile"] == "<p>bisecting&lt;script&gt;: stopped at 2 of 3 commits</p>"
    bar = '<progress value="0" max="3" aria-hidden="true"></progress>'
    line = "<p>bisecting: 0 of 3 commits: &lt;img src=x onerror=alert(1)&gt; second line</p>"
    assert html["killed"] == bar + line


@pytest.mark.slow
def test_an_interrupt_goes_on_its_way(saved: dict[str, list[Any]]) -> None:
    errors = {name: [o.ename for o in outputs if o.output_type == "error"] for name, outputs in saved.items()}
    assert errors == {
        "whole": [],
        "measured": [],
        "interrupted": ["KeyboardInterrupt"],
        "hostile": ["ValueError"],
        "killed": [],
    }
