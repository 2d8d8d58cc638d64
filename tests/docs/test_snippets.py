"""Every example of the documentation runs, every command in it exists, every relative link leads somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import typer

from chatlab.cli import app
from tests.conftest import ROOT

PAGES = [Path("README.md")] + sorted(
    page.relative_to(ROOT)
    for page in (ROOT / "docs").rglob("*.md")
    if not {"api", "_build"} & set(page.relative_to(ROOT).parts)
)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
_COMMANDS = typer.main.get_command(app).commands


def blocks(page: Path, *languages: str) -> Iterator[str]:
    return (body for language, body in _FENCE.findall((ROOT / page).read_text()) if language in languages)


def as_doctest(body: str) -> str:
    """A block without prompts is one to be run, whatever it prints."""
    if body.startswith(">>>"):
        return body
    return f">>> with redirect_stdout(StringIO()):\n...     exec({body!r})\n"


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=str)
def test_examples_run(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "\n".join(map(as_doctest, blocks(page, "python")))
    test = doctest.DocTestParser().get_doctest(
        told,
        {"__name__": "__main__", "redirect_stdout": redirect_stdout, "StringIO": StringIO},
        str(page),
        str(page),
        0,
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    with chdir(tmp_path):
        runner.run(test)
    assert not runner.failures, capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_exist(page: Path) -> None:
    for block in blocks(page, "sh"):
        for line in block.replace(" | ", "\n").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["chatlab"]:
                _COMMANDS[words[1]].make_context(words[1], words[2:], resilient_parsing=True)
                known = {name for parameter in _COMMANDS[words[1]].params for name in parameter.opts}
                assert {word for word in words[2:] if word.startswith("--")} <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    here = (ROOT / page).parent
    assert [to for to in _LINK.findall((ROOT / page).read_text()) if not (here / to).exists()] == []
