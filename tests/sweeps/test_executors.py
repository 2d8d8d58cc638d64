"""Law L12: the same bytes over processes, a cluster that loses a worker, and runs that are interrupted and killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.errors import SweepError
from chatlab.sweeps.pools import local_pool, processes
from chatlab.sweeps.run import planned, sweep
from chatlab.sweeps.store import held_entries
from chatlab.sweeps.task import Task
from tests.conftest import ROOT
from tests.sweeps.conftest import SPEC, Known, write_spec

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore")]
Check = Callable[[Path], None]

POISON = """
import os, sys
sys.addaudithook(lambda event, told: os._exit(9) if event == "open" and "poison.jsonl" in str(told[0]) else None)
"""


def test_two_processes_a_poisoned_task_kills_none_but_itself(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: Check
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    text = SPEC.replace("[tokenizers]", 'poison = "poison.jsonl"\n[tokenizers]', 1)
    poisoned = '[[turns]]\ntokenizers = ["phi3"]\ndialogues = ["poison"]\nprompts = ["llama2"]\n'
    spec = write_spec(tmp_path, text + poisoned)
    (tmp_path / "poison.jsonl").write_bytes((tmp_path / "fewer.jsonl").read_bytes())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(ROOT)]))
    with processes(2) as executor:
        result = sweep(spec, executor, tmp_path / "out")
    assert result.counts == {"done": 11, "failed": 2}
    assert "also alone" in str(result)
    (died,) = [task for task in result.tasks().to_dict("records") if "also alone" in task["message"]]
    assert "poison" in died["inputs"]
    sweep(known.spec, out=tmp_path / "out")  # without it, what is left is the known folder
    is_known(tmp_path / "out")


def test_a_cluster_that_loses_a_worker(known: Known, tmp_path: Path, is_known: Check) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    killed = list[int]()

    def kill(progress: object) -> None:
        if getattr(progress, "done", 0) >= 2 and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    with cluster, distributed.Client(cluster) as client:
        result = sweep(known.spec, client.get_executor(), tmp_path / "out", progress=kill)
    assert killed
    assert result.computed == 12
    is_known(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_and_resumed(known: Known, tmp_path: Path, number: signal.Signals, is_known: Check) -> None:
    """Killed at random moments, then run to its end: the same bytes, and nothing that was written is done twice."""
    out, chance = tmp_path / "out", random.Random(12)
    command = [sys.executable, "-W", "ignore", "-m", "chatlab", "sweep", str(known.spec), "--out", str(out)]
    for _ in range(2):
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waited = time.monotonic() + 60
        before = sum(1 for _ in out.glob("*/*.parquet"))
        while run.poll() is None and sum(1 for _ in out.glob("*/*.parquet")) == before and time.monotonic() < waited:
            time.sleep(0.05)
        time.sleep(chance.random())
        run.send_signal(number)
        assert run.wait(60) in (1, 2, -number)
    plan = planned(known.spec)
    done = [
        entry for entries in held_entries(out, plan).values() for entry in entries.values() if entry.state == "done"
    ]
    assert done
    assert sweep(known.spec, out=out).computed == 12 - len(done)
    is_known(out)


def test_any_executor_does(known: Known, tmp_path: Path) -> None:
    tasks = [Task("snapshot", {"tokenizer": f"embedded:{name}"}) for name in ("wordpiece", "unigram")]
    with ThreadPoolExecutor(2) as executor:
        assert sweep(tasks, executor, tmp_path / "out").counts == {"done": 2}
    with pytest.raises(SweepError, match="takes no work"):
        sweep(tasks, executor, tmp_path / "other")


def test_the_command(known: Known, tmp_path: Path, is_known: Check) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        made = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
        return made.exit_code, made.output

    code, told = run(known.spec, "--dry-run", "--out", known.result.folder)
    assert code == 0
    assert "turns: 5 tasks, 1 to compute" in told
    assert run(known.spec, "--dry-run", "--out", tmp_path / "none")[0] == 0
    assert not (tmp_path / "none").exists()
    code, told = run("--merge", known.result.folder, "--out", tmp_path / "out")
    assert code == 1
    assert "11 done, 1 failed" in told
    is_known(tmp_path / "out")
    for wrong in (["none.toml"], [], [known.spec, "--shard", "3"], [known.spec, "--jobs", "0"], ["--merge", tmp_path]):
        assert run(*wrong, "--out", tmp_path / "x")[0] == 2
    assert run(known.spec, "--jobs", "1", "--dask", "tcp://127.0.0.1:1", "--out", tmp_path / "x")[0] == 2
    assert run(known.spec, "--strict", "--out", tmp_path / "out")[0] == 2


def test_no_workers_are_no_processes() -> None:
    with pytest.raises(SweepError, match="1 or more"), processes(0):
        pass
    local_pool(1).shutdown()
