"""A matrix of library versions: a pure function of snapshots; making environments is tested where uv is."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.errors import RevisionCompareError, TokenizerLimitError, VersionInstallError
from chatlab.history import environments
from chatlab.history.environments import Environment, compare_versions, snapshot_under
from chatlab.history.matrix import VersionMatrix, matrix_of
from chatlab.severity import Severity
from chatlab.snapshots.corpus import probe_corpus
from chatlab.snapshots.snapshot import Snapshot, snapshot
from chatlab.tokenizers.source import resolve
from tests.support.injections import copy_of

PROMPT = "<s>[INST] Hi [/INST] Hello. </s><s>[INST] Who? [/INST] "


@pytest.fixture(scope="module")
def taken():
    legacy, other = (
        snapshot(tokenizer_path(f"llama2-style/{name}"), "auto", prompts=[PROMPT]) for name in ("legacy", "non-legacy")
    )
    return {"4.57.1": legacy, "4.31.0": legacy, "5.23.0": other, "9.9.9": "no such version"}


def test_versions_that_agree_share_a_letter(taken):
    m = matrix_of("x", "auto", taken)
    assert [c.group for c in m.cells] == ["A", "A", "B", "–"]
    assert [c.drift for c in m.cells] == [(1,), (1,), (0,), ()]
    assert m.cells[2].severity is Severity.BREAKING
    assert m.cells[1].severity is Severity.NONE


def test_a_version_without_an_answer_is_a_cell_that_says_why(taken):
    cell = matrix_of("x", "auto", taken).cells[3]
    assert (cell.error, cell.severity) == ("no such version", None)


def test_agreement_is_symmetric_and_whole_on_the_diagonal(taken):
    frame = matrix_of("x", "auto", taken).agreement_frame()
    assert frame.iloc[:3, :3].equals(frame.iloc[:3, :3].T)
    assert list(frame.to_numpy().diagonal()[:3]) == [1.0, 1.0, 1.0]
    assert frame.loc["4.57.1", "5.23.0"] < 1
    assert frame.loc["9.9.9"].isna().all()


def test_a_matrix_without_an_answer_has_the_code_of_no_verdict():
    assert matrix_of("x", "auto", {"1.0": "no", "2.0": "no"}).exit_code == 3


def test_a_version_that_does_not_load_where_another_does_is_breaking(taken):
    m = matrix_of("x", "auto", {"4.57.1": taken["4.57.1"], "9.9.9": "no"})
    assert m.exit_code == 1


def test_two_versions_of_a_matrix_can_be_compared_whole(taken):
    m = matrix_of("x", "auto", taken)
    assert m.compare("4.57.1", "5.23.0").severity is Severity.BREAKING
    with pytest.raises(RevisionCompareError, match=r"9\.9\.9"):
        m.compare("4.57.1", "9.9.9")


def test_a_matrix_survives_json(taken):
    m = matrix_of("x", "auto", taken)
    assert VersionMatrix.from_dict(json.loads(json.dumps(m.to_dict()))) == m


def test_a_matrix_is_shown_escaped(taken):
    m = matrix_of("<b>x</b>", "auto", {**taken, "9.9.9": "<script>"})
    assert "<script>" not in m._repr_html_()
    assert "| `9.9.9` |" in m.to_markdown()


def test_without_uv_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    monkeypatch.setattr(environments.recorder, "_installed", lambda name: False)
    with pytest.raises(VersionInstallError, match="pip install uv"):
        compare_versions(tokenizer_path("byte-bpe"), ["4.57.1"])


@pytest.mark.parametrize("version", ["latest", "4", "4.31.0; rm -rf /", "--help", "../x", ""])
def test_a_malformed_version_never_reaches_a_command(version, monkeypatch):
    monkeypatch.setattr(environments, "_run", lambda *a, **k: pytest.fail("a command was run"))
    with pytest.raises(VersionInstallError, match="no version"):
        environments.environment(version)


def test_a_snapshot_from_another_process_is_the_same_snapshot(monkeypatch):
    """This very environment, reached the way another one is."""
    monkeypatch.setattr(environments, "environment", lambda version, progress=None: here(version))
    source = resolve(tokenizer_path("byte-bpe"))
    other = snapshot_under("5.23.0", source, "auto", prompts=["Hi"])
    assert isinstance(other, Snapshot)
    assert other.to_json() == snapshot(source, "auto", prompts=["Hi"], cache=False).to_json()


def test_a_second_snapshot_of_the_same_starts_no_process(monkeypatch):
    monkeypatch.setattr(environments, "environment", lambda version, progress=None: here(version))
    source = resolve(tokenizer_path("byte-bpe"))
    snapshot_under("5.23.0", source, "auto", prompts=["Ho"])
    monkeypatch.setattr(environments, "_record_in", lambda *a: pytest.fail("a process was started"))
    snapshot_under("5.23.0", source, "auto", prompts=["Ho"])


def here(version):
    class Here(Environment):
        def versions(self):
            return environments.recorder.library_versions()

    return Here(version=version, python=Path(sys.executable))


def test_a_process_that_fails_is_a_typed_error_with_its_last_words(monkeypatch):
    with pytest.raises(VersionInstallError, match="boom"):
        environments._run([sys.executable, "-c", "raise SystemExit('boom')"], "4.57.1")


def test_a_program_that_does_not_start_is_a_typed_error():
    with pytest.raises(VersionInstallError, match="does not start"):
        environments._run(["/no/such/python"], "4.57.1")


def test_an_environment_whose_python_is_gone_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(environments, "find_uv", lambda: ["uv"])
    made = []

    def run(command, version):
        made.append(command[1:3])
        python = Path(command[-1]) / "bin" / "python"
        if command[1] == "venv":
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        return ""

    monkeypatch.setattr(environments, "_run", run)
    python = environments.environment("4.57.1").python
    assert environments.environment("4.57.1").python == python
    assert len(made) == 2
    python.unlink()
    python.symlink_to(tmp_path / "removed")
    assert environments.environment("4.57.1").python.exists()
    assert len(made) == 4


def test_nothing_of_this_python_leaks_into_the_other(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/leak")
    told = environments._run([sys.executable, "-c", "import os; print(os.environ.get('PYTHONPATH'))"], "4.57.1")
    assert told.strip() == "None"


@pytest.mark.parametrize("version", ["4.31.0", "4.57.1", "5.23.0"])
def test_an_environment_is_made_of_pinned_wheels_alone(version, monkeypatch, tmp_path):
    """A source distribution would run its own code, and what floats may be another's tomorrow."""
    commands = []
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(environments, "find_uv", lambda: ["uv"])
    monkeypatch.setattr(environments, "_run", lambda command, version: commands.append(command) or "")
    with contextlib.suppress(OSError):  # nothing was made, so it cannot be marked as ready
        environments.environment(version)
    install = commands[1]
    assert install[install.index("--only-binary") + 1] == ":all:"
    assert all(re.fullmatch(r"[a-z0-9_-]+==[\d.]+", wanted) for wanted in install[install.index("--python") + 2 :])
    assert f"transformers=={version}" in install


def under_limits(folder, monkeypatch, **request):
    monkeypatch.setattr(environments, "LIBRARIES", ("tokenizers",))  # all that `raw` needs, and soon imported
    env = Environment(version="5.0.0", python=Path(sys.executable))
    asked = {
        "corpus": probe_corpus(),
        "also": [],
        "options": {},
        "prompts": [],
        "loaders": ["raw"],
        "folder": str(folder),
    }
    return environments._record_in(env, {**asked, **request})


def test_a_record_of_another_version_is_made_within_limits_of_time(tmp_path, monkeypatch):
    path = copy_of("byte-bpe", tmp_path / "t") / "tokenizer.json"
    state = json.loads(path.read_text())
    split = {
        "type": "Split",
        "pattern": {"Regex": r"(?:\w|[a-z]){20}\W\W\W\W"},
        "behavior": "Isolated",
        "invert": False,
    }
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    path.write_text(json.dumps(state))
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")
    with pytest.raises(
        TokenizerLimitError, match=r"5.0.0 took more than .* s of processor time \(CHATLAB_CHILD_SECONDS"
    ):
        under_limits(tmp_path / "t", monkeypatch, prompts=["a" * 3000])


def test_a_record_of_another_version_is_made_within_limits_of_memory_and_without_keys(tmp_path, monkeypatch):
    path = copy_of("byte-bpe", tmp_path / "t") / "tokenizer.json"
    state = json.loads(path.read_text())
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    state["normalizer"] = {"type": "Sequence", "normalizers": [double] * 40}
    path.write_text(json.dumps(state))
    monkeypatch.setenv("CHATLAB_CHILD_MEMORY_MB", "300")
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    ran = []
    monkeypatch.setattr(
        environments.subprocess, "run", lambda *a, _run=subprocess.run, **k: ran.append(k) or _run(*a, **k)
    )
    with pytest.raises(TokenizerLimitError, match=r"5.0.0 took more than 300 MB of memory"):
        under_limits(tmp_path / "t", monkeypatch, prompts=["a"])
    assert "sk-secret" not in str(ran[0]["env"])
