"""The commands: exit codes that a program can rely on, and reports where they were asked for."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from chatlab.cli.commands import check_command, compare_command, lock_command
from chatlab.embedded import tokenizer_path
from tests.support.injections import copy_of, edit, respell_merges, setting

BEFORE, AFTER = (str(tokenizer_path(f"phi3-style/{name}")) for name in ("before", "after"))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=140)


def said(console) -> str:
    return console.file.getvalue()


def test_compare_exits_0_when_nothing_differs(console):
    assert compare_command(BEFORE, BEFORE, console=console) == 0
    assert "Nothing differs" in said(console)


def test_compare_exits_1_when_it_breaks(console):
    assert compare_command(BEFORE, AFTER, console=console) == 1
    assert "BREAKING" in said(console)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (edit("tokenizer.json", respell_merges), 0),
        (setting("tokenizer_config.json", "model_max_length", to=5), 0),
        (setting("tokenizer.json", "added_tokens", 1, "rstrip", to=True), 2),
        (setting("tokenizer_config.json", "chat_template", to=lambda t: t + "{% if tools %}T{% endif %}"), 2),
    ],
)
def test_compare_exits_by_severity(console, tmp_path, change, code):
    change(copy_of("phi3-style/before", tmp_path / "t"))
    assert compare_command(BEFORE, str(tmp_path / "t"), console=console) == code


@pytest.mark.parametrize("arguments", [("no/such/place/here", BEFORE), (BEFORE, "nothing.json"), (BEFORE, None)])
def test_compare_exits_3_when_it_cannot_compare_and_says_why(console, arguments):
    assert compare_command(*arguments, console=console) == 3
    assert "could not compare" in said(console)


@pytest.mark.parametrize(
    ("after", "flags", "told"),
    [
        (AFTER, {"versions": "4.46.3"}, "one source"),
        (None, {"versions": "4.46.3", "bisect": True}, "one source"),
        (None, {"versions": "4.46.3", "explain": "chat/turns-1"}, "two revisions"),
        (None, {"versions": " , "}, "names none"),
        (f"{BEFORE}@main", {"bisect": True, "explain": "chat/turns-1"}, "two revisions"),
        (f"{AFTER}@main", {"bisect": True}, "two sources"),
    ],
)
def test_what_the_answer_would_leave_out_is_refused(console, after, flags, told):
    assert compare_command(f"{BEFORE}@v1", after, console=console, **flags) == 3
    assert told in said(console)


@pytest.mark.parametrize("after", [BEFORE, AFTER])
@pytest.mark.parametrize("loader", ["foo", "pipeline", "LlamaTokenizerfast", "sentencepiece"])
def test_a_loader_that_loads_neither_side_gives_no_verdict(console, after, loader):
    """Equal sides would read as "nothing differs", and a BREAKING pair as latent."""
    assert compare_command(BEFORE, after, loader=loader, console=console) == 3
    assert "could not compare" in said(console)


def broken(folder):
    """A tokenizer.json that nothing reads."""
    edit("tokenizer.json", lambda value: value.pop("model"))(folder)
    return folder


def test_two_folders_that_do_not_load_give_no_verdict_and_one_breaks(console, tmp_path):
    one, two = (str(broken(copy_of("phi3-style/before", tmp_path / name))) for name in "ab")
    assert compare_command(one, two, console=console) == 3
    assert "a does not load with auto" in said(console).replace("\n", " ")
    assert compare_command(BEFORE, one, console=console) == 1
    assert compare_command(one, BEFORE, console=console) == 1


def test_two_folders_of_settings_alone_give_no_verdict(console, tmp_path):
    """transformers makes a tokenizer without a vocabulary of them, which reads every text as nothing."""
    for name in "ab":
        (copy_of("phi3-style/before", tmp_path / name) / "tokenizer.json").unlink()
    assert compare_command(str(tmp_path / "a"), str(tmp_path / "b"), console=console) == 3


def test_what_does_not_load_is_neither_locked_nor_as_locked(console, tmp_path):
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    assert lock_command("phi", str(folder), path=path, loader="foo", console=console) == 3
    assert lock_command("phi", str(folder), path=path, loader="sentencepiece", console=console) == 3
    assert said(console).startswith("could not lock: ")
    assert "there is no .model file" in said(console)
    assert not path.exists()
    assert lock_command("phi", str(folder), path=path, console=console) == 0
    broken(folder)
    assert check_command(path=path, console=console) == 1
    assert "does not load with auto" in said(console)
    assert lock_command("phi", path=path, update=True, console=console) == 3
    assert check_command("none", path=path, console=console) == 3
    assert "could not check: " in said(console)


def test_a_lock_of_what_did_not_load_gives_no_verdict(console, tmp_path):
    """Former versions wrote such locks, and checked them as clean."""
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    lock_command("phi", str(folder), path=path, console=console)
    data = json.loads(path.read_text())
    data["entries"]["phi"]["components"] = {"error": "0" * 64}
    path.write_text(json.dumps(data))
    broken(folder)
    assert check_command(path=path, console=console) == 3


@pytest.mark.parametrize("format", ["rich", "markdown", "json", "html"])
def test_a_report_is_written_whole_to_a_file(console, tmp_path, format):
    out = tmp_path / "report"
    assert compare_command(BEFORE, AFTER, format=format, out=out, console=console) == 1
    text = out.read_text(encoding="utf-8")
    assert "BREAKING" in text
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    if format == "json":
        assert json.loads(text)["severity"] == "BREAKING"


def test_json_on_the_terminal_is_json_and_nothing_else(console):
    compare_command(BEFORE, AFTER, format="json", console=console)
    assert json.loads(said(console))["loader"] == "auto"


def test_an_unwritable_file_is_exit_3(console, tmp_path):
    assert compare_command(BEFORE, BEFORE, format="json", out=tmp_path / "no" / "folder", console=console) == 3


def test_an_unknown_format_is_exit_3(console):
    assert compare_command(BEFORE, BEFORE, format="pdf", console=console) == 3


def test_prompts_of_ones_own_are_probed_and_explained(console, tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(["<|user|>\nHi<|end|>\n<|assistant|>\n"]))
    assert compare_command(BEFORE, AFTER, prompt_file=file, explain="prompt/0", console=console) == 1
    assert "echo before: '<|user|> \\nHi" in said(console)


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", "{"), ("p.json", '{"a": 1}'), ("p.json", "[1]"), ("none.txt", None)]
)
def test_prompts_that_cannot_be_read_are_exit_3(console, tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert compare_command(BEFORE, BEFORE, prompt_file=tmp_path / name, console=console) == 3


def test_lock_and_check_go_together(console, tmp_path):
    folder = copy_of("phi3-style/before", tmp_path / "t")
    path = tmp_path / "chatlab.lock"
    assert lock_command("phi", str(folder), path=path, roles=["weights=org/model@" + "a" * 40], console=console) == 0
    assert json.loads(path.read_text())["entries"]["phi"]["roles"]["weights"] == "org/model@" + "a" * 40
    assert check_command(path=path, console=console) == 0
    assert "as locked" in said(console)
    setting("tokenizer_config.json", "chat_template", to=lambda t: "Hi " + t)(folder)
    assert check_command("phi", path=path, console=console) == 1
    assert lock_command("phi", path=path, update=True, console=console) == 0
    assert check_command("phi", path=path, format="markdown", out=tmp_path / "report.md", console=console) == 0


@pytest.mark.parametrize("role", ["weights", "weights=", "=org/model", "="])
def test_a_role_without_a_name_or_a_pin_is_exit_3(console, tmp_path, role):
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    assert lock_command("phi", str(folder), path=path, roles=[role], console=console) == 3
    assert "NAME=SOURCE@COMMIT" in said(console)
    assert not path.exists()


def test_lock_of_nothing_and_check_of_nothing_are_exit_3(console, tmp_path):
    assert lock_command("x", str(tmp_path / "none"), path=tmp_path / "chatlab.lock", console=console) == 3
    assert not (tmp_path / "chatlab.lock").exists()
    assert check_command(path=tmp_path / "chatlab.lock", console=console) == 3


def test_a_breaking_entry_outweighs_one_without_a_verdict(console, tmp_path):
    path = tmp_path / "chatlab.lock"
    for name in ("a", "b"):
        copy_of("byte-bpe", tmp_path / name)
        lock_command(name, str(tmp_path / name), path=path, console=console)
    setting("tokenizer_config.json", "chat_template", to=lambda t: "Hi " + t)(tmp_path / "a")
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    assert check_command("b", path=path, console=console) == 3
    assert check_command(path=path, console=console) == 1
