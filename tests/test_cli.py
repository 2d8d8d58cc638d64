"""The command line as a user meets it: exit codes, files, errors on one line, nothing lost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.embedded import dialogues_path, tokenizer_path
from tests.conftest import ROOT

LEGACY = str(tokenizer_path("llama2-style/legacy"))
NON_LEGACY = str(tokenizer_path("llama2-style/non-legacy"))


def chatlab(*arguments: str, stdin: str | bytes = b"") -> Result:
    """Run the command in this process: the imports of torch and pandas are paid once."""
    return CliRunner().invoke(app, arguments, input=stdin, env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Forty embedded dialogues, of several turns."""
    lines = [line for line in dialogues_path().read_text(encoding="utf-8").splitlines() if line.count('"user"') >= 2]
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(lines[::20][:40]) + "\n", encoding="utf-8")
    return path


def test_drift_without_arguments_runs_on_the_embedded_data() -> None:
    run = chatlab("drift", "--trace", "20")
    assert run.exit_code == 1, run.stderr
    assert "prompt_class_rule" in run.stdout
    assert "dummy prefix per segment" in run.stdout
    assert run.stdout.count("•") == 3
    assert "exact, wrong on 0 of" in run.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("lines", "options", "told"),
    [
        ("", [], "it holds no dialogue"),
        ("\n\n", ["--skip-bad"], "it holds no dialogue"),
        ('{"turns": [{"user": "Hi"}]}\n', [], "it holds no dialogue .* --replies dataset"),
        ("no json\n[]\n", ["--skip-bad"], "its 2 dialogues were all left out; the first: .*line 1"),
    ],
)
def test_drift_of_nothing_is_an_error_that_writes_nothing(lines: str, options: list[str], told: str, tmp_path: Path):
    path, out = tmp_path / "none.jsonl", tmp_path / "out"
    path.write_text(lines, encoding="utf-8")
    run = chatlab("drift", LEGACY, "--dialogues", str(path), "--out", str(out), *options)
    assert run.exit_code == 2
    assert re.search(f"error: no prompt of .*none.jsonl was measured: {told}", run.stderr)
    assert run.stdout == ""
    assert not out.exists()


def test_drift_of_nothing_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    run = chatlab("drift", LEGACY, "--dialogues", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out"))
    assert run.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_template_is_not_said_to_agree_on_nothing(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    run = chatlab("drift", LEGACY, "--against", "template", "--dialogues", str(tmp_path / "none.jsonl"))
    assert run.exit_code == 2
    assert "holds no dialogue to compare" in run.stderr


def test_drift_writes_every_file_and_nothing_else(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = chatlab("drift", LEGACY, "--dialogues", str(few), "--out", str(out), "--trace", "5")
    assert run.exit_code == 1, run.stderr
    names = {
        "drift.parquet",
        "drift.csv",
        "drift_by_turn.png",
        "wrong_replies.png",
        "causes.png",
        "traces.json",
        "report.html",
    }
    assert {path.name for path in out.iterdir()} == names
    rows = pd.read_parquet(out / "drift.parquet")
    assert len(rows) == len(pd.read_csv(out / "drift.csv", keep_default_na=False))
    assert rows.dialogue.nunique() == 40
    assert len(json.loads((out / "traces.json").read_text(encoding="utf-8"))) == 5


def test_an_exact_echo_exits_zero(tmp_path: Path) -> None:
    dialogue = {"id": "1", "turns": [{"user": "Hi", "assistant": "Hello!"}, {"user": "You?", "assistant": "Fine."}]}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(dialogue), encoding="utf-8")
    assert chatlab("drift", NON_LEGACY, "--dialogues", str(path)).exit_code == 0
    assert chatlab("drift", LEGACY, "--dialogues", str(path)).exit_code == 1


def test_a_bad_line_is_named_and_the_rest_goes_on_when_asked(few: Path) -> None:
    with few.open("a", encoding="utf-8") as file:
        file.write(
            '{"id": "x", "turns": []}\nnot json\n{"id": "y", "turns": [{"user": "\\ud800", "assistant": "a"}]}\n'
        )
    stop = chatlab("drift", LEGACY, "--dialogues", str(few))
    assert stop.exit_code == 2
    assert "line 41" in stop.stderr
    go_on = chatlab("drift", LEGACY, "--dialogues", str(few), "--skip-bad", "--trace", "0")
    assert go_on.exit_code == 1
    assert "3 dialogues were left out" in go_on.stderr


def test_drift_leaves_fields_out_and_refuses_one_that_is_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    messages = [
        {"role": "user", "content": "a", "country": "NO"},
        {"role": "assistant", "content": "b", "thinking": "c"},
    ]
    path.write_text(json.dumps({"messages": messages, "tools": [{"name": "f"}]}) + "\n", encoding="utf-8")
    drift = ("drift", NON_LEGACY, "--dialogues", str(path), "--strategy", "exact", "--trace", "0")
    assert chatlab(*drift, "--without", "country", "--without", "tools").exit_code == 2
    assert chatlab(*drift, "--without", "country", "--without", "tools", "--without", "reasoning").exit_code == 0
    for against in ((), ("--against", "template")):
        run = chatlab(*drift, *against, "--skip-bad", "--without", "countri")
        assert run.exit_code == 2
        assert "'countri' to leave out: did you mean 'country'? there are country, thinking, tools" in run.output
    assert "nothing without its role" in chatlab(*drift, "--without", "role").output


def test_what_was_left_out_is_counted_by_its_reason(few: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    asked = {"role": "user", "content": "Hi"}
    refused = [{"messages": [asked, call, asked]}] * 3 + [{"messages": [asked, {**asked, "name": "Ann"}]}] * 2
    with few.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(one) + "\n" for one in refused) + "no json\n" * 2 + '{"id": "x"}\n')
    run = chatlab("drift", LEGACY, "--dialogues", str(few), "--skip-bad", "--trace", "0")
    told = [tuple(line.split(maxsplit=1)) for line in run.stderr.splitlines() if line.startswith("      ")]
    name = "ChatPromptMetaLlamaLlama2Chat"
    assert sorted(told, reverse=True) == [
        ("3", f"{name} has no place for tool_calls"),
        ("2", "not JSON: Expecting value"),
        ("2", f"{name} has no place for name"),
        ("1", 'no "turns" and no "messages" in it'),
    ]
    few.write_text("no json\n" * 3, encoding="utf-8")
    nothing = chatlab("drift", LEGACY, "--dialogues", str(few), "--skip-bad")
    assert nothing.exit_code == 2
    assert "3  not JSON: Expecting value" in nothing.stderr


def test_an_array_of_messages_and_a_table_are_measured_as_lines_are(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}] * 2
    (tmp_path / "a.json").write_text(json.dumps([{"messages": said}] * 2, indent=1), encoding="utf-8")
    pd.DataFrame(
        {"conversations": [[{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]]}
    ).to_parquet(tmp_path / "b.parquet")
    for name in ("a.json", "b.parquet"):
        run = chatlab("drift", NON_LEGACY, "--dialogues", str(tmp_path / name))
        assert run.exit_code == 0, run.stderr


OWN = """
from chatlab import ChatPromptMetaLlamaLlama2Chat
from chatlab.prompts.base import AbstractChatPrompt

class Mine(ChatPromptMetaLlamaLlama2Chat):
    pass

class Leaving(AbstractChatPrompt):
    def create_prompt(self, opts=None):
        raise SystemExit(0)

def cut(case):
    return case.text[len(case.echo):]
"""


def test_drift_measures_ones_own_class_and_cut_from_a_file(few: Path, tmp_path: Path) -> None:
    path = tmp_path / "own_code_of_a_user.py"
    path.write_text(OWN, encoding="utf-8")
    own = ("--prompt", f"{path}:Mine", "--strategy", f"{path}:cut", "--strategy", "last_marker")
    run = chatlab("drift", LEGACY, *own, "--dialogues", str(few), "--trace", "0")
    assert run.exit_code == 1, run.stderr
    assert [line.split()[1] for line in run.stdout.splitlines() if line.startswith("\u2502")] == ["cut", "last_marker"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit(1), SystemExit(0), BrokenPipeError(32, "Broken pipe"), KeyError("x")]
)
@pytest.mark.parametrize("command", [("drift", NON_LEGACY), ("trace", NON_LEGACY, "x")])
def test_a_run_that_breaks_off_leaves_with_no_code_of_a_verdict(
    command: tuple[str, ...], error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python leaves an error with 1, click an interrupt with 1, rich a reader that went away with 1: 1 means a drift."""

    def break_off(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(f"chatlab.cli.{command[0]}.load", break_off)
    assert chatlab(*command).exit_code == 2


def test_a_class_that_leaves_the_program_is_no_verdict(few: Path, tmp_path: Path) -> None:
    path = tmp_path / "another_code_of_a_user.py"
    path.write_text(OWN, encoding="utf-8")
    assert chatlab("drift", LEGACY, "--prompt", f"{path}:Leaving", "--dialogues", str(few)).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["drift", "no/such/folder/anywhere"], "no tokenizer at"),
        (["drift", "some-owner/some-model"], "cannot be reached"),
        (["drift", "owner/name", "--revision", "../../x"], "is no revision"),
        (["drift", LEGACY, "--prompt", "nothing"], "no prompt format is called"),
        (["drift", LEGACY, "--prompt", "./no-such-file.py:Class"], "there is no file no-such-file.py"),
        (["drift", LEGACY, "--prompt", ":Class"], "names no class or function: write module:Name"),
        (["drift", LEGACY, "--prompt", ".relative:Class"], "did not import"),
        (["drift", LEGACY, "--strategy", "nothing"], "no cut strategy is called 'nothing'"),
        (["drift", LEGACY, "--strategy", "chatlab.errors:Missing"], "did not import"),
        (["drift", LEGACY, "--prompt", "chatlab.errors:Missing"], "did not import"),
        (["drift", LEGACY, "--prompt", "chatlab.prompts.base:AbstractChatPrompt"], "create_prompt"),
        (["drift", LEGACY, "--dialogues", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["drift", LEGACY, "--replies", "no-such-model"], "hub cannot be reached"),
        (["trace", "no/such/folder/anywhere", "x"], "no tokenizer at"),
    ],
)
def test_an_error_is_one_line_with_the_way_out_and_exit_code_two(arguments: list[str], says: str) -> None:
    run = chatlab(*arguments)
    assert run.exit_code == 2
    assert says in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["compare"],
        ["compare", LEGACY, LEGACY, "--format", "xml"],
        ["compare", LEGACY, LEGACY, "--nope"],
        ["check", "--format", "xml"],
        ["check", "a", "b"],
        ["lock"],
        ["drift", "--trace", "x"],
        ["trace", LEGACY, "x", "--loader", "foo"],
    ],
)
def test_a_wrong_call_is_never_taken_for_a_verdict(arguments: list[str]) -> None:
    """1 is BREAKING and 2 is MAJOR: a typing error in a pipeline must be neither."""
    run = chatlab(*arguments)
    assert run.exit_code == 3
    assert "Usage" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr


def test_a_plain_folder_has_no_revisions(tmp_path: Path) -> None:
    shutil.copytree(LEGACY, tmp_path / "copy")
    run = chatlab("drift", str(tmp_path / "copy"), "--revision", "main")
    assert run.exit_code == 2
    assert "revision" in run.stderr


def test_an_unwritable_folder_is_refused_before_the_work_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = chatlab("drift", LEGACY, "--out", str(tmp_path / "file" / "out"))
    assert run.exit_code == 2
    assert "cannot write into" in run.stderr
    assert "measuring" not in run.stderr


def test_a_corrupt_tokenizer_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    run = chatlab("trace", str(tmp_path), "x")
    assert run.exit_code == 2
    assert str(tmp_path) in run.stderr.replace("\n", "")


def test_ctrl_c_keeps_the_results_so_far(tmp_path: Path) -> None:
    lines = dialogues_path().read_text(encoding="utf-8").splitlines()
    long = tmp_path / "long.jsonl"
    long.write_text("\n".join(lines * 12) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "chatlab", "drift", LEGACY, "--dialogues", str(long), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(p.stat().st_size > 4 for p in out.glob(".drift.parquet.*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"interrupted" in stderr
    kept = pd.read_parquet(out / "drift.parquet")
    assert 0 < len(kept) == len(pd.read_csv(out / "drift.csv", keep_default_na=False))
    assert not list(out.glob(".*"))
    assert b"prompt_class_rule" in stdout


def test_trace_reads_standard_input_and_explains_it() -> None:
    run = chatlab("trace", LEGACY, "-", stdin="a </s><s>[INST] b")
    assert run.exit_code == 1
    assert "[-<s>-]{+·+}[INST]" in run.stdout
    assert "dummy prefix" in run.stdout
    assert chatlab("trace", NON_LEGACY, "Hello there").exit_code == 0


def test_trace_of_bytes_that_are_not_utf8_is_an_error() -> None:
    run = chatlab("trace", LEGACY, "-", stdin=b"caf\xe9")
    assert run.exit_code == 2
    assert "lone surrogate" in run.stderr


def test_rich_markup_in_a_prompt_is_text() -> None:
    """Square brackets are everywhere in prompts; none of them may become a style."""
    run = chatlab("trace", LEGACY, "x\u2581[bold red]y[/bold red]")
    assert "[bold red]y[/bold red]" in run.stdout


def test_replies_of_the_model_are_counted_beside_the_datasets(tmp_path: Path) -> None:
    lines = [line for line in dialogues_path().read_text(encoding="utf-8").splitlines() if '"taught"' in line][:3]
    path = tmp_path / "taught.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = chatlab("drift", LEGACY, "--dialogues", str(path), "--replies", "model", "--out", str(tmp_path / "out"))
    assert run.exit_code == 1, run.stderr
    assert set(pd.read_parquet(tmp_path / "out" / "drift.parquet").reply_source) == {"model"}


def test_a_prompt_class_is_compared_with_the_tokenizers_own_template(few: Path) -> None:
    run = chatlab("drift", LEGACY, "--against", "template", "--dialogues", str(few))
    assert run.exit_code == 1
    assert "prompts have the same text" in run.stdout
    assert "[-" in run.stdout
    raw = chatlab("drift", f"{LEGACY}/tokenizer.json", "--against", "template", "--dialogues", str(few))
    assert raw.exit_code == 2
    assert "knows no chat templates" in raw.stderr


def test_a_comparison_leaves_out_what_it_may_and_writes_its_page(tmp_path: Path) -> None:
    path, out = tmp_path / "mixed.jsonl", tmp_path / "out"
    bad = '{"id": "bad", "turns": [{"user": "\\ud800"}]}\n'
    path.write_text('{"turns": [{"user": "Hi <b>"}]}\n' + bad + "no JSON\n", encoding="utf-8")
    command = ("drift", LEGACY, "--against", "template", "--dialogues", str(path))
    assert "error:" in chatlab(*command).stderr
    run = chatlab(*command, "--skip-bad", "--out", str(out))
    assert run.exit_code == 1, run.stderr
    assert "2 dialogues were left out; the first: dialogue 'bad': " in " ".join(run.stderr.split())
    assert [page.name for page in out.iterdir()] == ["template.html"]
    page = (out / "template.html").read_text(encoding="utf-8")
    assert "against the template of" in page
    assert "<b>" not in page


def test_a_hostile_template_is_rendered_within_limits(few: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_path("phi3-style/before"), tmp_path / "bomb")
    for loops, says in (
        ("{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2, "took longer than"),
        ("{% x %}", "is not Jinja"),
    ):
        (tmp_path / "bomb" / "chat_template.jinja").write_text(loops, encoding="utf-8")
        run = chatlab(
            "drift", str(tmp_path / "bomb"), "--prompt", "phi3", "--against", "template", "--dialogues", str(few)
        )
        assert run.exit_code == 2
        assert says in run.stderr


def test_another_prompt_format_is_chosen_by_name(few: Path) -> None:
    run = chatlab(
        "drift", str(tokenizer_path("phi3-style/after")), "--prompt", "phi3", "--dialogues", str(few), "--trace", "3"
    )
    assert run.exit_code == 1, run.stderr
    assert "dummy prefix per segment" in run.stdout


def test_revisions_are_compared_locked_and_checked_with_their_own_exit_codes(tmp_path: Path) -> None:
    before, after = (str(tokenizer_path(f"phi3-style/{side}")) for side in ("before", "after"))
    assert chatlab("compare", before, before).exit_code == 0
    changed = chatlab("compare", before, after)
    assert changed.exit_code == 1
    assert "BREAKING" in changed.stdout
    assert chatlab("compare", before, str(tmp_path / "none")).exit_code == 3
    lock_file = str(tmp_path / "chatlab.lock")
    shutil.copytree(before, tmp_path / "phi")
    assert chatlab("lock", "phi", str(tmp_path / "phi"), "--file", lock_file).exit_code == 0
    assert chatlab("check", "--file", lock_file).exit_code == 0
    shutil.copytree(after, tmp_path / "phi", dirs_exist_ok=True)
    assert chatlab("check", "--file", lock_file).exit_code == 1


def test_a_chat_with_the_embedded_model_answers_and_ends() -> None:
    run = chatlab("chat", stdin="What is the capital of France?\nWhere do penguins live?\n")
    assert run.exit_code == 0, run.stderr
    assert "Paris" in run.stdout
    shown = chatlab("chat", "--show-tokens", stdin="What is the capital of France?\n/quit\n")
    assert "tokens" in shown.stdout


def test_a_chat_that_cannot_begin_says_why() -> None:
    assert "top_p must lie in" in chatlab("chat", "--top-p", "3").stderr
    assert "name the one to talk with" in chatlab("chat", "--url", "http://127.0.0.1:9").stderr
    assert chatlab("chat", "no/such/folder/anywhere").exit_code == 2


def test_the_installed_command_and_the_module_are_the_same() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "chatlab", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert all(command in run.stdout for command in ("drift", "trace", "chat", "compare", "lock", "check", "lab"))
