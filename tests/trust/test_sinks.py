"""Text from elsewhere on its way out: each sink shows it, and none obeys it, whoever the caller is."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chatlab.cli.parts.reports import write_report
from chatlab.errors import ChatlabError, ChatlabWarning, OutputError, SourceNotFound, UnknownFormat, harmless
from chatlab.progress.progress import Progress
from chatlab.progress.screens import TerminalLine
from chatlab.render import code, csv_cell, csv_value, fenced, json_text, md, one_line
from chatlab.results import Result
from chatlab.terminal import Terminal, harmless_logs, harmless_streams
from tests.support.payloads import PAYLOADS

COMMANDS = ["\x1b]52;c;ZXZpbA==\x07", "\x1b[31m", "\x9b31m", "\x1b]0;owned\x1b\\", "\x1b]8;;http://192.0.2.1\x07", "\x07", "\x08",
            "\x7f", "\u202e", "\u2066", "\u200e", "\x85", "\u2028", "\x00", "\U000e0041", "\x1bP1$r\x1b\\", "\x1b[2J"]  # fmt: skip
OBEYED = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"} | set(
    "\u200b\u200e\u200f\u2028\u2029\u2066\u2069\u202a\u202e\U000e0041"
)
anything = st.text(
    st.sampled_from(list("a b`*_<>|[]()@#=+-.1\n\t")) | st.sampled_from(sorted(OBEYED)) | st.characters()
)


def obeyed(text: str, but: str = "") -> set[str]:
    return OBEYED & set(text) - set(but)


def on_terminal(*printed: Any, **options: Any) -> str:
    file = io.StringIO()
    Terminal(file=file, width=200, force_terminal=False, **options).print(*printed)
    return file.getvalue()


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_a_terminal_obeys_nothing_whatever_holds_the_text(command: str) -> None:
    table = Table(f"head {command}", title=f"title {command}", caption=f"caption {command}")
    table.add_row(f"cell {command}")
    for thing in (
        command,
        Text(command),
        table,
        Panel(Text(command), title=Text(command)),
        {"key": command},
        [command],
    ):
        assert not obeyed(on_terminal(thing))


def test_a_terminal_reads_no_markup_and_no_names_of_pictures() -> None:
    assert on_terminal("[link=http://192.0.2.1]x[/link] [red]:skull: [/nothing]").strip() == (
        "[link=http://192.0.2.1]x[/link] [red]:skull: [/nothing]"
    )


def test_our_own_colours_and_bars_still_reach_a_terminal() -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, color_system="standard")
    terminal.print(Text("x\x1b[31m", style="red"))
    with terminal.status("loading"):
        pass
    assert "\x1b[31mx\\x1b[31m\x1b[0m" in file.getvalue()
    assert "\x1b[?25l" in file.getvalue(), "the cursor is hidden while a bar turns"


@given(anything)
def test_no_text_at_all_steers_a_terminal(text: str) -> None:
    assert not obeyed(on_terminal(text))


def test_what_libraries_print_passes_the_same_escape(capsys: pytest.CaptureFixture[str]) -> None:
    with harmless_streams():
        print("out \x1b]52;c;x\x07")
        sys.stderr.write("bar \r\x9b31m")
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": "log \x1b[2J"}))
        Terminal(force_terminal=True, color_system="standard").print("ours", style="red")
        try:
            raise ValueError("\x1b[31mof a library")
        except ValueError:
            traceback.print_exc()
    out, err = capsys.readouterr()
    assert out == "out \\x1b]52;c;x\\x07\n\x1b[31mours\x1b[0m\n"
    assert not obeyed(err, but="\r")
    assert "\\x1b[31mof a library" in err
    assert sys.stdout is not None
    assert type(sys.stdout).__name__ != "_Harmless"


@pytest.mark.parametrize("kind", [ChatlabError, SourceNotFound, OutputError, UnknownFormat, ChatlabWarning])
def test_no_traceback_and_no_log_of_our_errors_steers_a_terminal(kind: type[Exception]) -> None:
    def raised(command: str) -> None:
        try:
            try:
                raise KeyError(command)
            except KeyError as first:
                raise ValueError(f"deeper {command}") from first
        except ValueError as error:
            raise kind(f"it says {command}") from harmless(error)

    for command in COMMANDS:
        with pytest.raises(kind) as caught:
            raised(command)
        assert not obeyed("".join(traceback.format_exception(caught.value)))
        assert not obeyed(str(caught.value))
        assert caught.value.args == (f"it says {command}",), "a program still reads what it was"


def test_a_warning_is_shown_and_not_obeyed() -> None:
    class Ours(ChatlabWarning):
        pass

    shown = warnings.formatwarning(Ours("\x1b[31m"), Ours, "x.py", 1)
    assert not obeyed(shown)


@dataclass(frozen=True)
class Careless(Result):
    """A result whose author thought of nothing."""

    text: str

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text}

    def to_markdown(self) -> str:
        return self.text

    def body(self) -> str:
        return ""


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_no_author_of_a_result_can_forget_the_escape(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Careless(f"<{command}>")
    print(result)
    for format in ("rich", "markdown", "json"):
        write_report(result, format, None)
    assert not obeyed(capsys.readouterr().out)
    assert not obeyed(result._repr_mimebundle_()["text/plain"]) if hasattr(result, "figure") else True


def test_a_line_of_progress_is_one_line_and_harmless() -> None:
    file = io.StringIO()
    TerminalLine(file)(Progress(what="reading", unit="commits", done=1, note="\x1b]52;c;x\x07\n\x9b2J"))
    assert not obeyed(file.getvalue().removeprefix("\r\x1b[K"))
    assert "\n" not in file.getvalue()


# -- JSON ----------------------------------------------------------------------------------------------------


@given(st.recursive(anything | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(anything, v)))
def test_json_says_the_same_and_steers_nothing(value: Any) -> None:
    text = json_text(value, indent=1)
    assert json.loads(text) == value
    assert not obeyed(text)
    text.encode()


def test_json_keeps_what_reads_well() -> None:
    assert json_text("日本 café 👩\u200d👧") == '"日本 café 👩\u200d👧"'


# -- Markdown ------------------------------------------------------------------------------------------------

GITHUB = MarkdownIt("gfm-like", {"linkify": False, "html": True})
LINKS = ["https://192.0.2.1/x", "see www.evil.example now", "mail a@evil.example", "@team", "#12", "GH-12", "org/x#3", "<https://a.b>", "[a](b)",
         "![a](http://192.0.2.1/p.png)", "[a]: http://192.0.2.1", "ftp://x.y/z", "javascript:alert(1)", "HTTP://A.B", "x:https://a.b"]  # fmt: skip


def tokens(markdown: str) -> list[Any]:
    found: list[Any] = []
    waiting = list(GITHUB.parse(markdown))
    while waiting:
        token = waiting.pop(0)
        found.append(token)
        waiting += token.children or []
    return found


def check_markdown(markdown: str, text: str) -> None:
    """Only the code and the text that we wrote: no HTML, no link, no picture, no other block."""
    kinds = {token.type for token in tokens(markdown)}
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline", "text_special"}, (
        kinds,
        text,
    )
    plain = "".join(token.content for token in tokens(markdown) if token.type in ("text", "text_special"))
    assert "://" not in plain
    assert "@" not in plain
    assert not obeyed(markdown)


@pytest.mark.parametrize("text", [*PAYLOADS, *LINKS, *COMMANDS], ids=range(len(PAYLOADS) + len(LINKS) + len(COMMANDS)))
def test_markdown_has_no_html_no_link_and_no_mention(text: str) -> None:
    check_markdown(md(text), text)
    check_markdown(code(text), text)


@given(anything.filter(str.strip))
def test_no_text_at_all_becomes_markup(text: str) -> None:
    check_markdown(md(text), text)
    shown = code(text)
    check_markdown(shown, text)
    (inline,) = [token for token in tokens(shown) if token.type == "code_inline"]
    assert inline.content.replace("\\|", "|").strip() == one_line(text).strip()


@given(anything, anything)
def test_a_table_keeps_its_cells(left: str, right: str) -> None:
    table = f"| a | b |\n|---|---|\n| {code(left)} | {md(right)} |\n"
    assert [token.type for token in tokens(table)].count("td_open") == 2


@given(anything)
def test_a_block_of_code_ends_where_it_should(text: str) -> None:
    kinds = [token.type for token in tokens(f"{fenced(text, 'diff')}\n\nafter")]
    assert kinds[:2] == ["fence", "paragraph_open"]
    assert not obeyed(fenced(text), but="\t")


# -- spreadsheets --------------------------------------------------------------------------------------------


@given(anything)
def test_a_cell_is_no_formula_and_reads_back(text: str) -> None:
    assert csv_value(csv_cell(text)) == text
    assert not csv_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("payload", COMMANDS)
def test_what_a_library_logs_or_warns_of_a_strangers_files_is_shown(payload, monkeypatch, capsys):
    """Also outside the command, where nobody wraps the streams; and afterwards all is as it was."""
    screen, log = io.StringIO(), logging.getLogger("some.library")
    handler = logging.StreamHandler(screen)
    handler.setFormatter(mine := logging.Formatter("<%(message)s>"))
    log.addHandler(handler)
    monkeypatch.setattr(log, "propagate", False)
    before = warnings.formatwarning
    try:
        with harmless_logs(), harmless_logs():
            log.warning("a model of type %s", payload)
            try:
                raise ValueError(payload)
            except ValueError:
                log.exception("failed")
            screen.write(warnings.formatwarning(payload, UserWarning, "f.py", 1, payload))
            logging.getLogger("another.library").warning(payload)
    finally:
        log.removeHandler(handler)
    assert screen.getvalue().startswith("<a model of type ")
    shown = screen.getvalue() + capsys.readouterr().err
    assert not OBEYED & set(shown)
    assert handler.formatter is mine
    assert warnings.formatwarning is before


def test_loading_logs_harmlessly(tmp_path, monkeypatch):
    """``load_tokenizer`` and ``load_model`` let a library in."""
    from chatlab.engines import load as models
    from chatlab.tokenizers import load as tokenizers
    from tests.support.hostile import make_folder

    folder, screen = make_folder(tmp_path / "t"), io.StringIO()
    handler, log = logging.StreamHandler(screen), logging.getLogger("some.library")

    def says(*given: Any, **options: Any) -> None:
        log.warning("".join(COMMANDS))
        raise ValueError("no")

    log.addHandler(handler)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(tokenizers, "read", says)
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", says)
    try:
        for load in (tokenizers.load_tokenizer, models.load_model):
            with pytest.raises(ChatlabError):
                load(folder)
    finally:
        log.removeHandler(handler)
    assert len(screen.getvalue().splitlines()) == 2
    assert not OBEYED & set(screen.getvalue())
