"""A panel that keeps its dialogue in ids."""

from __future__ import annotations

import pytest

from chatlab.errors import EngineError
from chatlab.testing import ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
from tests.support.held import CALL_TEMPLATE, id_of, tokenizer_of
from tests.support.templates import CHATML, GEMMA


def panel(template: str, *replies: str, end: str = "<|im_end|>", **options) -> tuple[ChatPanel, ScriptedEngine]:
    tokenizer = tokenizer_of(template)
    ids = [tokenizer.encode(reply, add_special_tokens=False) for reply in replies]
    engine = ScriptedEngine(ids, tokenizer, eos_id=id_of(tokenizer, end))
    return ChatPanel(engine, keep_ids=True, **options), engine


@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
def test_each_prompt_begins_with_all_that_was_seen_and_said(system_prompt: str | None) -> None:
    """Also over a template that trims replies, and of which the next prompt would be another."""
    template, end = (CHATML, "<|im_end|>") if system_prompt else (GEMMA, "<end_of_turn>")
    chat, engine = panel(template, " One. ", "Two\n", " Three", end=end, system_prompt=system_prompt)
    said: list[int] = []
    for question in ("a", "b", "c"):
        result = chat.ask_sync(question, view=False).result
        assert engine.prompts[-1][: len(said)] == said
        said = [*engine.prompts[-1], *result.token_ids]
    assert chat.conversation is not None
    assert (list(chat.conversation.token_ids), chat.conversation.lost) == (said, None)


def test_asking_again_goes_on_from_the_call_before() -> None:
    chat, engine = panel(CHATML, "One.", "Two.", "Deux.")
    chat.ask_sync("a", view=False), chat.ask_sync("b", view=False)
    chat.regenerate().wait()
    assert engine.prompts[2] == engine.prompts[1]
    assert chat.conversation is not None
    assert chat.conversation.lost is not None
    assert chat.conversation.lost.layer == "program"
    chat.clear()
    chat.ask_sync("a", view=False)
    assert engine.prompts[3] == engine.prompts[0]


def test_a_tool_call_stays_as_the_model_wrote_it() -> None:
    call = '<tool_call>{ "arguments": {},  "name": "find" }</tool_call>'
    chat, engine = panel(CALL_TEMPLATE, call, "ok", channels=[("tool_call", "<tool_call>", "</tool_call>")])
    chat.ask_sync("a", view=False), chat.ask_sync("b", view=False)
    assert f"{call}<|im_end|>\n<|im_start|>user\nb" in engine.tokenizer.decode(
        engine.prompts[1], skip_special_tokens=False
    )


def test_what_cannot_be_kept_is_read_anew_and_told() -> None:
    chat, _ = panel("{{ '<|user|>' + messages[-1].content + '<|assistant|>' }}", "One.", "Two.")
    chat.ask_sync("a", view=False), chat.ask_sync("b", view=False)
    assert chat.conversation is not None
    assert chat.conversation.lost is not None
    assert "leaves the reply out" in chat.conversation.lost.why


def test_an_engine_without_ids_is_refused() -> None:
    class Text(ScriptedEngine):
        reads_text = True

    with pytest.raises(EngineError, match="takes the prompt as text"):
        ChatPanel(Text("x"), keep_ids=True)
