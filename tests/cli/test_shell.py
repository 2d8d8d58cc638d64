"""What every command line has: a version, short help, and names that the shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import chatlab
from chatlab.cli import app
from chatlab.cli.parts.completion import aliases, cut_strategies, prompt_formats
from chatlab.embedded import tokenizer_path


def test_the_version() -> None:
    run = CliRunner().invoke(app, ["--version"])
    assert (run.exit_code, run.output) == (0, f"chatlab {chatlab.__version__}\n")


@pytest.mark.parametrize("command", [command.name or command.callback.__name__ for command in app.registered_commands])
def test_help_is_short_and_long(command: str) -> None:
    short, long = (CliRunner().invoke(app, [command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert "Usage" in short.output
    assert short.output == long.output


def test_names_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prompt_formats("llama2") == ["llama2", "llama2-chatstream", "llama2-meta"]
    assert [name for name, _ in cut_strategies("fastchat_l")] == ["fastchat_llama2"]
    monkeypatch.chdir(tmp_path)
    assert aliases("") == []
    chatlab.lock("bot", tokenizer_path("wordpiece"), vendor=True)
    assert (aliases("b"), aliases("x")) == (["bot"], [])
    Path("chatlab.lock").write_text("no lock")
    assert aliases("") == []


def test_the_shell_asks_so() -> None:
    asked = {"_CHATLAB_COMPLETE": "complete_bash", "COMP_WORDS": "chatlab drift --prompt vic", "COMP_CWORD": "3"}
    start = "import sys; sys.argv[0] = 'chatlab'; from chatlab.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", start], env=os.environ | asked, capture_output=True, text=True)
    assert set(run.stdout.split()) == {"vicuna", "vicuna-v1.1"}
