"""The echo view: the diff, each edit's token and cause, and what each cut does to the reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatlab import ChatPanel, ChatPromptMetaLlamaLlama2Chat, load_tokenizer, trace_echo
from chatlab.echo.cut import STRATEGIES, CutCase
from chatlab.echo.replies import Continuations
from chatlab.embedded import tokenizer_path
from chatlab.errors import PromptError
from chatlab.prompts.formats.registry import prompt_class
from chatlab.testing import CodePointTokenizer, ScriptedEngine
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


QUESTIONS = ("Where is Tokyo?", "東京は?")


@pytest.mark.parametrize("name", ["llama2", "llama2-meta", "chatml", "gemma", "vicuna"])
@pytest.mark.parametrize("turns", [1, 2])
def test_a_history_that_ends_in_an_answer_stands_for_the_prompt_that_was_answered(name: str, turns: int) -> None:
    """A chat keeps its answers; the prompt of the last one is what the model was asked, not what it is asked next."""
    tokenizer, engine = (
        load_tokenizer(tokenizer_path("llama2-style/legacy")),
        ScriptedEngine(["In Japan.", "日本です。"]),
    )
    chat = ChatPanel(engine, prompt_class(name)())
    for question in QUESTIONS[:turns]:
        chat.ask_sync(question, view=False)
    answered = chat.prompt.to_dict()
    view = EchoView.of_reply(tokenizer, chat.prompt, "はい。")
    assert view.trace.prompt == "".join(map(chr, engine.prompts[-1]))
    assert chat.prompt.to_dict() == answered


@pytest.mark.parametrize("name", ["llama2", "chatml", "gemma", "vicuna"])
def test_a_question_without_an_answer_opens_its_reply(name: str) -> None:
    asked, opened = prompt_class(name)(), prompt_class(name)()
    for prompt in (asked, opened):
        prompt.add_requester_msg("Who?")
    opened.add_responder_msg(None)
    assert EchoView.of_reply(CodePointTokenizer(), asked, "I.").trace.prompt == opened.create_prompt()


def test_the_rule_of_the_class_counts_the_turns_of_that_prompt() -> None:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    for question in QUESTIONS:
        prompt.add_requester_msg(question)
        prompt.add_responder_msg("はい。")
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    (reply_ids,) = Continuations(tokenizer).encode(["日本"])
    cuts = EchoView.of_reply(tokenizer, prompt, reply_ids).cuts_frame()
    rule = cuts.set_index("strategy").loc["prompt_class_rule"]
    assert (rule.effect, rule.effect_len) == ("eats", 1)


def test_a_chat_in_the_engines_own_format_is_traced_in_the_tokenizers_template() -> None:
    """The history of a panel without a prompt class has no text of its own."""
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    chat = ChatPanel(ScriptedEngine("Yes.", tokenizer))
    chat.ask_sync("Is it?", view=False)
    assert EchoView.of_reply(tokenizer, chat.prompt, "No.").trace.prompt == "<s>[INST] Is it? [/INST] "
    with pytest.raises(PromptError, match="has no chat template: give a prompt class, or the tokenizer"):
        EchoView.of_reply(CodePointTokenizer(), chat.prompt, "No.")


def test_ones_own_way_of_cutting_is_drawn_beside_the_known(view: EchoView) -> None:
    def mine(case: CutCase) -> str:
        """Take all."""
        return case.text

    own = EchoView.of_reply(
        load_tokenizer(tokenizer_path("byte-bpe")), "a", "b", strategies=["exact", mine, "last_marker"]
    )
    assert [(cut.strategy.name, str(cut.outcome)) for cut in own.cuts] == [
        ("exact", "exact"),
        ("mine", "leaks 1"),
        ("last_marker", "exact"),
    ]
    assert "Take all." in own.html()


def test_a_cut_that_is_not_applicable_is_said_to_be_and_shows_no_reply(view: EchoView) -> None:
    idle = next(cut for cut in view.cuts if cut.strategy.name == "fastchat_chatglm")
    assert (str(idle.outcome), idle.parts(), idle.result) == ("not applicable", [], "")
    assert "fastchat_chatglm: not applicable" in str(view)
    assert view.cuts_frame().set_index("strategy").effect["fastchat_chatglm"] == "not_applicable"
