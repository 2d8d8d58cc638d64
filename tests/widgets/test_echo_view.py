"""The echo view: the diff, each edit's token and cause, and what each cut does to the reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, load_tokenizer, trace_echo
from chatlab.echo.cut import STRATEGIES
from chatlab.embedded import tokenizer_path
from chatlab.widgets.echo_view import EchoView, difference


@pytest.fixture(scope="module")
def view() -> EchoView:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    for question, answer in (("Where is Tokyo?", "In Japan."), ("東京は?", None)):
        prompt.add_requester_msg(question)
        prompt.add_responder_msg(answer)
    return EchoView.of_reply(load_tokenizer(tokenizer_path("llama2-style/legacy")), prompt, "日本です。")


def test_every_strategy_is_drawn_and_judged(view: EchoView) -> None:
    assert [cut.strategy.name for cut in view.cuts] == list(STRATEGIES)
    effects = view.cuts_frame().set_index("strategy")["effect"]
    assert effects["exact"] == "exact"
    assert effects["remove_prefix"] == "leaks"
    assert effects["output_ids_alone"] == "eats"
    assert view.html().count("<caption>") == 2


def test_the_parts_of_a_cut_turn_the_reply_into_the_result(view: EchoView) -> None:
    for cut in view.cuts:
        parts = list(difference(cut.reply, cut.result))
        assert "".join(part.text for part in parts if part.kind != "ins") == cut.reply
        assert "".join(part.text for part in parts if part.kind != "del") == cut.result


def test_the_table_names_token_cause_proof_and_cure(view: EchoView) -> None:
    html = view.html()
    edit = view.trace.surprises[0]
    assert f"<td>{edit.token_index}: {edit.piece}</td>" in html
    assert str(edit.cause) in html
    assert edit.evidence is not None
    assert edit.evidence.changed in html
    assert edit.cure in html
    assert f'<ins title="{edit.cause}: {edit.cure}">·</ins>' in html


def test_a_thousand_edits_are_no_output_of_megabytes() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    trace = trace_echo(tokenizer, "<s> and so on\n" * 1000)
    assert len(trace.edits) >= 1000
    for html in (EchoView(trace).html(), trace.html()):
        assert len(html) < 200_000
        assert f"only the first 300 of {len(trace.edits):,} edits are drawn; to_frame() has them all" in html
    assert len(EchoView(trace).to_frame()) == len(trace.edits)


def test_without_a_reply_there_are_no_cuts(view: EchoView) -> None:
    bare = EchoView(view.trace)
    assert bare.cuts == ()
    assert bare.html().count("<caption>") == 1
    assert str(bare) == str(view.trace)


def test_a_long_leak_is_shortened_in_the_table(view: EchoView) -> None:
    leak = next(cut for cut in view.cuts if cut.strategy.name == "remove_prefix")
    assert len(leak.result) > 500
    assert all(len(part.text) < 200 for part in leak.parts())


def test_the_figure_has_one_mark_an_edit(view: EchoView) -> None:
    (axes,) = view.figure().axes
    marked = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert sum(len(line.get_xdata()) for line in marked) == len(view.trace.edits)  # type: ignore[arg-type]
    assert axes.lines[0].get_ydata()[-1] == view.trace.drift  # type: ignore[index]
    view.figure().canvas.draw()


def test_an_exact_echo_draws_an_empty_figure_and_no_table() -> None:
    from chatlab.testing import CodePointTokenizer

    view = EchoView(trace_echo(CodePointTokenizer(), "abc"))
    view.figure().canvas.draw()
    assert "<table>" not in view.html()


def test_a_saved_page_is_whole(view: EchoView, tmp_path: Path) -> None:
    page = view.save_html(tmp_path / "echo.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "東京は?" in page


def test_the_frame_is_the_traces(view: EchoView) -> None:
    frame: Any = view.to_frame()
    assert len(frame) == len(view.trace.edits)
