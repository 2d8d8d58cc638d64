"""load_model: pinned, safe, and clear about what is missing; the hub is a cache folder made here."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.engines import load
from chatlab.engines.batch import BatchEngine
from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.errors import EngineError, ModelLoadError, OfflineError, RevisionError, SourceNotFound
from chatlab.testing import tiny_llama
from chatlab.tokenizers.source import UnpinnedWarning

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(32, hidden_len=8, layers=1, heads=2).save_pretrained(folder)
    return folder


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> Path:
    """A hub cache that holds owner/name at one commit, which main and v1 point to."""
    repo = tmp_path / "models--owner--name"
    shutil.copytree(folder, repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    for ref in ("main", "v1"):
        (repo / "refs" / ref).write_text(COMMIT)
    return tmp_path


def test_a_folder_loads_with_its_weights(folder: Path) -> None:
    model = load_model(folder)
    expected = tiny_llama(32, hidden_len=8, layers=1, heads=2)
    assert torch.equal(model.lm_head.weight, expected.lm_head.weight)
    assert not model.training
    assert model.chatlab_source.revision is None
    assert model.chatlab_source.name.endswith("/tiny")
    assert load_model(folder, dtype="bfloat16").dtype == torch.bfloat16


def test_a_pinned_commit_loads_without_a_word(cache: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model("owner/name", COMMIT, cache_dir=cache)
    assert (model.chatlab_source.name, model.chatlab_source.revision) == ("owner/name", COMMIT)


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_branch_warns_and_names_the_commit(cache: Path, revision: str | None) -> None:
    with pytest.warns(UnpinnedWarning, match=f"revision='{COMMIT}'"):
        model = load_model("owner/name", revision, cache_dir=cache)
    assert model.chatlab_source.revision == COMMIT
    assert model.chatlab_source.asked_revision == revision


def test_what_is_not_here_says_how_to_get_it(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="hf download owner/other"):
        load_model("owner/other", cache_dir=cache)
    with pytest.raises(OfflineError, match="--revision v2"):
        load_model("owner/name", "v2", cache_dir=cache)
    with pytest.raises(SourceNotFound):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelLoadError):
        load_model(tmp_path)


@pytest.mark.parametrize("revision", ["../../x", "a b", "", "-x", "a" * 300, "\0"])
def test_a_malformed_revision_is_refused(cache: Path, revision: str) -> None:
    with pytest.raises(RevisionError):
        load_model("owner/name", revision, cache_dir=cache)


def test_a_folder_has_no_revision(folder: Path) -> None:
    with pytest.raises(RevisionError, match="local path"):
        load_model(folder, "main")


def test_trusted_code_must_be_pinned(cache: Path) -> None:
    with pytest.raises(RevisionError, match="pin"):
        load_model("owner/name", "main", trust_remote_code=True, cache_dir=cache)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    fired = tmp_path / "fired"
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Bomb(fired)}))
    with pytest.raises(ModelLoadError, match="allow_pickle=True"):
        load_model(pickled)
    with pytest.raises(ModelLoadError):  # torch itself refuses to run it
        load_model(pickled, allow_pickle=True)
    assert not fired.exists()


def test_a_model_that_brings_code_does_not_run_it(folder: Path, tmp_path: Path) -> None:
    with_code = tmp_path / "code"
    shutil.copytree(folder, with_code)
    fired = tmp_path / "fired"
    (with_code / "modeling.py").write_text(f"open({str(fired)!r}, 'w')\nclass M: ...\n")
    config = (with_code / "config.json").read_text()
    (with_code / "config.json").write_text(
        config.replace('"model_type": "llama"', '"model_type": "own", "auto_map": {"AutoConfig": "modeling.M"}')
    )
    with pytest.raises(ModelLoadError):
        load_model(with_code)
    assert not fired.exists()


def test_progress_bars_are_as_they_were(folder: Path) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    load_model(folder, progress=False)
    assert logging.is_progress_bar_enabled() is before


@pytest.mark.parametrize("device", ["xpu9", "nonsense", "", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_before_the_weights_are_read(folder: Path, monkeypatch, device) -> None:
    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(EngineError, match=f"device '{device}' .* torch finds cpu"):
        load_model(folder, device=device)


def test_a_model_that_does_not_fit_the_device_is_a_typed_error(folder: Path, monkeypatch) -> None:
    def full(*_):
        raise torch.OutOfMemoryError("no room\nand more")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(EngineError, match=r"OutOfMemoryError: no room\)"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("kind", [LocalEngine, BatchEngine])
def test_an_engine_names_a_device_that_is_not_here(kind) -> None:
    with pytest.raises(EngineError, match="device 'xpu9'"):
        kind(tiny_llama(32, hidden_len=8, layers=1, heads=2), device="xpu9")


def test_the_command_line_names_a_device_that_is_not_here() -> None:
    run = CliRunner().invoke(app, ["chat", "--device", "xpu9"])
    assert run.exit_code == 2
    assert "device 'xpu9'" in run.stderr
    assert "Traceback" not in run.output
