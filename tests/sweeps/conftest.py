"""One small sweep, done once in this process: what every other way must give too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatlab.embedded import dialogues_path
from chatlab.sweeps.result import Sweep
from chatlab.sweeps.run import sweep

SPEC = """
[dialogues]
few = "few.jsonl"
fewer = "fewer.jsonl"
bad = "bad.jsonl"
[tokenizers]
llama2 = "embedded:llama2-style/legacy"
phi3 = "embedded:phi3-style/after"
[[drift]]
dialogues = ["few", "fewer"]
prompts = ["llama2"]
[[turns]]
dialogues = ["fewer"]
prompts = ["llama2"]
stored = ["verbatim", "stripped"]
[[snapshot]]
[[audit]]
tokenizers = ["phi3"]
[[turns]]
tokenizers = ["llama2"]
dialogues = ["bad"]
prompts = ["llama2"]
"""
"""Twelve tasks; the last cannot be done: its file holds no dialogue."""


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Known:
    """A spec, and the folder that it must give."""

    spec: Path
    result: Sweep
    files: dict[str, bytes]


def write_spec(folder: Path, text: str = SPEC) -> Path:
    lines = dialogues_path().read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "few.jsonl").write_text("".join(lines[:20]), encoding="utf-8")
    (folder / "fewer.jsonl").write_text("".join(lines[300:305]), encoding="utf-8")
    (folder / "bad.jsonl").write_text('{"turns": 3}\n')
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    return folder / "spec.toml"


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("sweep")
    spec = write_spec(folder)
    result = sweep(spec, out=folder / "whole")
    return Known(spec, result, bytes_of(folder / "whole"))


@pytest.fixture
def is_known(known: Known) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        found = bytes_of(folder)
        assert sorted(found) == sorted(known.files)
        assert [name for name in found if found[name] != known.files[name]] == []

    return check
