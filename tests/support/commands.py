"""A command called as the function it is: its exit code, and what the terminal would show."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import typer

from chatlab.cli.parts import shell


def exit_code(command: Callable[..., None], *arguments: object, **options: object) -> int:
    """Return the code with which a command ends; one that raises nothing ends with 0."""
    try:
        command(*arguments, **options)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the commands write to the terminal."""
    text = io.StringIO()
    monkeypatch.setattr(shell.console, "_file", text)
    monkeypatch.setattr(shell.console, "_width", 140)
    return text
