"""The commands: exit codes that a program can rely on, and reports where they were asked for."""

from __future__ import annotations

import json

import pytest

from chatlab.cli.revisions import check, compare, lock
from chatlab.embedded import tokenizer_path
from tests.support.commands import exit_code
from tests.support.commands import screen as screen
from tests.support.injections import copy_of, edit, respell_merges, setting

BEFORE, AFTER = (str(tokenizer_path(f"phi3-style/{name}")) for name in ("before", "after"))


def test_compare_exits_0_when_nothing_differs(screen):
    assert exit_code(compare, BEFORE, BEFORE) == 0
    assert "Nothing differs" in screen.getvalue()


def test_compare_exits_1_when_it_breaks(screen):
    assert exit_code(compare, BEFORE, AFTER) == 1
    assert "BREAKING" in screen.getvalue()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (edit("tokenizer.json", respell_merges), 0),
        (setting("tokenizer_config.json", "model_max_length", to=5), 0),
        (setting("tokenizer.json", "added_tokens", 1, "rstrip", to=True), 2),
        (setting("tokenizer_config.json", "chat_template", to=lambda t: t + "{% if tools %}T{% endif %}"), 2),
    ],
)
def test_compare_exits_by_severity(screen, tmp_path, change, code):
    change(copy_of("phi3-style/before", tmp_path / "t"))
    assert exit_code(compare, BEFORE, str(tmp_path / "t")) == code


@pytest.mark.parametrize("arguments", [("no/such/place/here", BEFORE), (BEFORE, "nothing.json"), (BEFORE, None)])
def test_compare_exits_3_when_it_cannot_compare_and_says_why(screen, arguments):
    assert exit_code(compare, *arguments) == 3
    assert "could not compare" in screen.getvalue()


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
def test_what_the_answer_would_leave_out_is_refused(screen, after, flags, told):
    assert exit_code(compare, f"{BEFORE}@v1", after, **flags) == 3
    assert told in screen.getvalue()


@pytest.mark.parametrize("after", [BEFORE, AFTER])
@pytest.mark.parametrize("loader", ["foo", "pipeline", "LlamaTokenizerfast", "sentencepiece"])
def test_a_loader_that_loads_neither_side_gives_no_verdict(screen, after, loader):
    """Equal sides would read as "nothing differs", and a BREAKING pair as latent."""
    assert exit_code(compare, BEFORE, after, loader=loader) == 3
    assert "could not compare" in screen.getvalue()


def broken(folder):
    """A tokenizer.json that nothing reads."""
    edit("tokenizer.json", lambda value: value.pop("model"))(folder)
    return folder


def test_two_folders_that_do_not_load_give_no_verdict_and_one_breaks(screen, tmp_path):
    one, two = (str(broken(copy_of("phi3-style/before", tmp_path / name))) for name in "ab")
    assert exit_code(compare, one, two) == 3
    assert "a does not load with auto" in screen.getvalue().replace("\n", " ")
    assert exit_code(compare, BEFORE, one) == 1
    assert exit_code(compare, one, BEFORE) == 1


def test_two_folders_of_settings_alone_give_no_verdict(screen, tmp_path):
    """transformers makes a tokenizer without a vocabulary of them, which reads every text as nothing."""
    for name in "ab":
        (copy_of("phi3-style/before", tmp_path / name) / "tokenizer.json").unlink()
    assert exit_code(compare, str(tmp_path / "a"), str(tmp_path / "b")) == 3


def test_what_does_not_load_is_neither_locked_nor_as_locked(screen, tmp_path):
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    assert exit_code(lock, "phi", str(folder), file=path, loader="foo") == 3
    assert exit_code(lock, "phi", str(folder), file=path, loader="sentencepiece") == 3
    assert screen.getvalue().startswith("could not lock: ")
    assert "there is no .model file" in screen.getvalue()
    assert not path.exists()
    assert exit_code(lock, "phi", str(folder), file=path) == 0
    broken(folder)
    assert exit_code(check, file=path) == 1
    assert "does not load with auto" in screen.getvalue()
    assert exit_code(lock, "phi", file=path, update=True) == 3
    assert exit_code(check, "none", file=path) == 3
    assert "could not check: " in screen.getvalue()


def test_a_lock_of_what_did_not_load_gives_no_verdict(screen, tmp_path):
    """Former versions wrote such locks, and checked them as clean."""
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    exit_code(lock, "phi", str(folder), file=path)
    data = json.loads(path.read_text())
    data["entries"]["phi"]["components"] = {"error": "0" * 64}
    path.write_text(json.dumps(data))
    broken(folder)
    assert exit_code(check, file=path) == 3


@pytest.mark.parametrize("format", ["rich", "markdown", "json", "html"])
def test_a_report_is_written_whole_to_a_file(screen, tmp_path, format):
    out = tmp_path / "report"
    assert exit_code(compare, BEFORE, AFTER, format=format, out=out) == 1
    text = out.read_text(encoding="utf-8")
    assert "BREAKING" in text
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    if format == "json":
        assert json.loads(text)["severity"] == "BREAKING"


def test_json_on_the_terminal_is_json_and_nothing_else(screen):
    exit_code(compare, BEFORE, AFTER, format="json")
    assert json.loads(screen.getvalue())["loader"] == "auto"


def test_an_unwritable_file_is_exit_3(screen, tmp_path):
    assert exit_code(compare, BEFORE, BEFORE, format="json", out=tmp_path / "no" / "folder") == 3


def test_an_unknown_format_is_exit_3(screen):
    assert exit_code(compare, BEFORE, BEFORE, format="pdf") == 3


def test_prompts_of_ones_own_are_probed_and_explained(screen, tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(["<|user|>\nHi<|end|>\n<|assistant|>\n"]))
    assert exit_code(compare, BEFORE, AFTER, prompt_file=file, explain="prompt/0") == 1
    assert "echo before: '<|user|> \\nHi" in screen.getvalue()


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", "{"), ("p.json", '{"a": 1}'), ("p.json", "[1]"), ("none.txt", None)]
)
def test_prompts_that_cannot_be_read_are_exit_3(screen, tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert exit_code(compare, BEFORE, BEFORE, prompt_file=tmp_path / name) == 3


def test_lock_and_check_go_together(screen, tmp_path):
    folder = copy_of("phi3-style/before", tmp_path / "t")
    path = tmp_path / "chatlab.lock"
    assert exit_code(lock, "phi", str(folder), file=path, role=["weights=org/model@" + "a" * 40]) == 0
    assert json.loads(path.read_text())["entries"]["phi"]["roles"]["weights"] == "org/model@" + "a" * 40
    assert exit_code(check, file=path) == 0
    assert "as locked" in screen.getvalue()
    setting("tokenizer_config.json", "chat_template", to=lambda t: "Hi " + t)(folder)
    assert exit_code(check, "phi", file=path) == 1
    assert exit_code(lock, "phi", file=path, update=True) == 0
    assert exit_code(check, "phi", file=path, format="markdown", out=tmp_path / "report.md") == 0


@pytest.mark.parametrize("role", ["weights", "weights=", "=org/model", "="])
def test_a_role_without_a_name_or_a_pin_is_exit_3(screen, tmp_path, role):
    folder, path = copy_of("phi3-style/before", tmp_path / "t"), tmp_path / "chatlab.lock"
    assert exit_code(lock, "phi", str(folder), file=path, role=[role]) == 3
    assert "NAME=SOURCE@COMMIT" in screen.getvalue()
    assert not path.exists()


def test_lock_of_nothing_and_check_of_nothing_are_exit_3(screen, tmp_path):
    assert exit_code(lock, "x", str(tmp_path / "none"), file=tmp_path / "chatlab.lock") == 3
    assert not (tmp_path / "chatlab.lock").exists()
    assert exit_code(check, file=tmp_path / "chatlab.lock") == 3


def test_a_breaking_entry_outweighs_one_without_a_verdict(screen, tmp_path):
    path = tmp_path / "chatlab.lock"
    for name in ("a", "b"):
        copy_of("byte-bpe", tmp_path / name)
        exit_code(lock, name, str(tmp_path / name), file=path)
    setting("tokenizer_config.json", "chat_template", to=lambda t: "Hi " + t)(tmp_path / "a")
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    assert exit_code(check, "b", file=path) == 3
    assert exit_code(check, file=path) == 1
