"""One page whose first line is the answer, and lines to paste that run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import chatlab
from chatlab import diagnose, load_tokenizer
from chatlab.cli import app
from chatlab.diagnosis.answer import Question
from chatlab.diagnosis.diagnosis import Diagnosis
from chatlab.embedded import model_path, tokenizer_path
from chatlab.errors import CutError, TokenizerLoadError, UnknownFormat
from chatlab.severity import Severity


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def legacy() -> Diagnosis:
    return diagnose(model_path())


def test_the_first_line_is_the_answer(legacy: Diagnosis) -> None:
    assert str(legacy).splitlines()[0].startswith("models/tiny-llama2-chat: 5 things to mend. First: Is the chat")
    assert [answer.question for answer in legacy.answers] == list(Question)
    assert all(answer.is_known for answer in legacy.answers)


def test_a_legacy_llama_leaks_a_space_a_turn(legacy: Diagnosis) -> None:
    echo = legacy.answer(Question.ECHO)
    assert (echo.severity, echo.is_fault) == (Severity.MAJOR, True)
    assert "dummy prefix per segment" in echo.cause
    assert echo.example
    assert echo.cure.startswith("load with legacy=False")


def test_the_lines_to_paste_cut_the_echo_right(legacy: Diagnosis) -> None:
    lines = "\n".join(legacy.answer(Question.ECHO).fix)
    tokenizer = load_tokenizer(model_path())
    prompt_ids = tokenizer.encode("<s>[INST] Hi [/INST] Ho </s><s>[INST] He [/INST]")
    output_ids = [*prompt_ids, *tokenizer.encode("▁Hello 😀")[1:]]
    names = {"load_tokenizer": load_tokenizer, "prompt_ids": prompt_ids, "output_ids": output_ids}
    exec(lines, names)
    decoded = tokenizer.decode(output_ids)
    assert decoded.endswith(str(names["reply"]))
    assert decoded.removesuffix(str(names["reply"])) == tokenizer.decode(prompt_ids)


def test_fix_prints_each_line_once(legacy: Diagnosis, capsys: pytest.CaptureFixture[str]) -> None:
    legacy.fix()
    lines = [line for line in capsys.readouterr().out.splitlines() if line and not line.startswith("#")]
    assert lines
    assert len(lines) == len(set(lines))


def test_a_clean_tokenizer_has_nothing_wrong_with_its_echo_turns_pin_and_stops() -> None:
    found = diagnose(tokenizer_path("byte-bpe"), "chatml")
    for question in (Question.ECHO, Question.LOADERS, Question.STOPS):
        assert found.answer(question).severity is Severity.NONE, found.answer(question)


@pytest.mark.parametrize(("way", "wrong"), [("exact", False), (3, True), ("prompt_chars", True), (len, True)])
def test_your_way_of_cutting(way: object, wrong: bool) -> None:
    dialogue = {"turns": [{"user": "Hi", "assistant": "Hello."}, {"user": "So?", "assistant": "So."}]}
    found = diagnose(model_path(), "llama2", [dialogue], skip_echo_len=way)
    cut = found.answer(Question.CUT)
    assert cut.is_fault is wrong, cut
    assert cut.told.startswith("Your way")
    assert (cut.severity is Severity.BREAKING) is wrong


def test_without_files_and_format_it_says_what_is_not_known() -> None:
    found = diagnose(load_tokenizer(tokenizer_path("wordpiece")).wrapped)
    unknown = {answer.question for answer in found.answers if not answer.is_known}
    assert {Question.LOADERS, Question.PIN} <= unknown
    assert "could not be answered" in found.verdict


def test_a_file_whose_stop_is_not_the_end_of_a_turn() -> None:
    found = diagnose(tokenizer_path("phi3-style/after"))
    stops = found.answer(Question.STOPS)
    assert stops.severity is Severity.BREAKING
    assert "stop=['<|end|>']" in stops.fix[0]


def test_what_is_wrong_with_the_call_is_named(tmp_path: Path) -> None:
    with pytest.raises(CutError, match="no way of cutting is called 'exakt'"):
        diagnose(model_path(), skip_echo_len="exakt")
    with pytest.raises(CutError, match="a number of characters"):
        diagnose(model_path(), skip_echo_len=1.5)  # type: ignore[arg-type]
    with pytest.raises(UnknownFormat):
        diagnose(model_path(), "lama2")
    with pytest.raises(TokenizerLoadError):
        diagnose(tmp_path)


def test_it_is_plain_data(legacy: Diagnosis) -> None:
    assert Diagnosis.from_dict(legacy.to_dict()) == legacy
    assert list(legacy.to_frame()["question"]) == [str(question) for question in Question]
    assert "<h" in legacy.body()
    assert "Does the echo come back?" in legacy.to_markdown()


def test_a_real_tokenizer_is_diagnosed_soon(real: Path) -> None:
    began = time.perf_counter()
    found = diagnose(real / "phi-3" / "after")
    assert found.answer(Question.ECHO).is_fault
    assert time.perf_counter() - began < 60  # 20 s alone on the machine; the suite shares it


def test_the_command(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = run("doctor", str(tokenizer_path("byte-bpe")), "--prompt", "chatml")
    assert told.exit_code == 1
    assert "things to mend" in told.stdout
    assert run("doctor", str(model_path()), "--fix", "--skip-echo-len", "3").stdout.startswith("# What does your way")
    assert run("doctor", str(model_path()), "--format", "html", "--out", str(page)).exit_code == 1
    assert "Does the echo come back?" in page.read_text()
    assert run("doctor", str(tmp_path)).exit_code == 2


def test_it_is_at_the_root() -> None:
    assert chatlab.diagnose is diagnose
