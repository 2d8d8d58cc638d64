"""The chat from code: one history, nothing changed by a refusal, partial text kept."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat
from chatlab.engines.engine import Engine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatBusy, EngineError, RoleOrderError, SamplingError
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from chatlab.widgets.chat_panel import SETTINGS, ChatPanel


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(ChatPanel, "send", lambda self, content, buffers=(): messages.append(content))
    return messages


def panel(*replies: str, **options: Any) -> ChatPanel:
    engine_options = {name: options.pop(name) for name in ("delay", "fail_at") if name in options}
    return ChatPanel(ScriptedEngine(list(replies), **engine_options), ChatPromptMetaLlamaLlama2Chat(), **options)


class Templated(CodePointTokenizer):
    """A tokenizer with a chat template."""

    wrapped = SimpleNamespace(chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")


def wait_for_text(chat: ChatPanel, length: int = 3) -> None:
    deadline = time.monotonic() + 10
    while len(list(chat._texts.values())[-1].text) < length:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_turns_share_one_history(sent: list[Any]) -> None:
    chat = panel("One.", "Two.")
    assert chat.ask_sync("first", view=False).text == "One."
    assert chat.ask_sync("second", view=False).text == "Two."
    assert "One." in chat.prompt.create_prompt()
    assert chat.transcript.to_frame()["text"].tolist() == ["first", "One.", "second", "Two."]


def test_a_transcript_counts_token_ids_not_steps(sent: list[Any]) -> None:
    """The last step of a reply carries no token: it says why the reply ended, and gives what was held back."""
    chat = panel("One.", "Two, held <")
    replies = [chat.ask_sync(question, view=False) for question in ("first", "second")]
    counts = chat.transcript.to_frame()["tokens"].tolist()
    assert counts == [0, len(replies[0].result.token_ids), 0, len(replies[1].result.token_ids)] == [0, 4, 0, 11]
    (axes,) = chat.transcript.figure().axes
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["4 tokens", "11 tokens"]


def test_an_engine_with_a_template_needs_no_prompt_class(sent: list[Any]) -> None:
    engine = ScriptedEngine(["One.", "Two."], Templated())
    chat = ChatPanel(engine, system_prompt="Brief")
    chat.ask_sync("a", view=False)
    chat.ask_sync("b", view=False)
    assert "".join(map(chr, engine.prompts[1])) == "<system>Brief<user>a<assistant>One.<user>b"


def test_an_engine_without_a_template_says_so_and_nothing_changes(sent: list[Any]) -> None:
    chat = ChatPanel(ScriptedEngine("x"))
    with pytest.raises(EngineError, match="no chat template"):
        chat.ask("Hi")
    assert chat.transcript.messages == ()


def test_an_awaited_ask_leaves_the_loop_free_and_gives_the_reply(sent: list[Any]) -> None:
    chat = panel("Hello you", delay=0.01)

    async def cell() -> tuple[Any, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        reply = await chat.ask("Hi", view=False)
        ticking.cancel()
        return reply, ticks

    reply, ticks = asyncio.run(cell())
    assert (reply.text, reply.finish_reason, len(reply.result.token_ids)) == ("Hello you", "eos", 9)
    assert ticks > 3


def test_a_cancelled_await_stops_and_keeps_the_partial_text(sent: list[Any]) -> None:
    chat = panel("word " * 1000, delay=0.01)

    async def cell() -> None:
        task = asyncio.ensure_future(chat.ask("Hi", view=False)._wait())
        while len(chat._texts[2].text) < 3 if 2 in chat._texts else True:
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cell())
    last = chat.transcript.messages[-1]
    assert last.finish_reason == "cancelled"
    assert "word "[:3] == last.text[:3]
    assert chat.prompt.get_responder_last_msg() == last.text
    assert not chat.running


def test_stop_keeps_the_partial_text_and_the_next_question_goes_on(sent: list[Any]) -> None:
    chat = panel("word " * 1000, "Fine.", delay=0.005)
    playback = chat.ask("Hi", view=False)
    wait_for_text(chat)
    chat.stop()
    assert playback.wait().finish_reason == "cancelled"
    assert chat.ask_sync("And?", view=False).text == "Fine."
    assert len(chat.prompt.get_history()) == 4


def test_a_second_question_while_one_streams_is_refused(sent: list[Any]) -> None:
    chat = panel("word " * 1000, delay=0.01)
    playback = chat.ask("Hi", view=False)
    with pytest.raises(ChatBusy, match="stop it first"):
        chat.ask("again")
    with pytest.raises(ChatBusy):
        chat.regenerate()
    chat.stop()
    playback.wait()


def test_a_refused_setting_changes_nothing_and_gives_the_text_back(sent: list[Any]) -> None:
    chat = panel("x")
    chat.settings = {**chat.settings, "top_p": 7}
    with pytest.raises(SamplingError, match="top_p"):
        chat.ask("Hi")
    chat._on_message(chat, {"kind": "send", "text": "Hi"}, [])
    assert sent[-1]["kind"] == "refused"
    assert "top_p" in sent[-1]["why"]
    assert sent[-1]["text"] == "Hi"
    assert chat.transcript.messages == ()
    assert chat.prompt.get_history() == []


@pytest.mark.parametrize("name", SETTINGS)
def test_an_emptied_or_absent_control_is_the_default(sent: list[Any], name: str) -> None:
    begin = {"temperature": 0.3, "top_p": 0.5, "top_k": 3, "max_new_tokens": 5, "seed": 7}
    chat = panel("x", min_p=0.1, **begin)
    absent = {key: value for key, value in chat.settings.items() if key != name}
    for settings in (chat.settings | {name: None}, absent):
        chat.settings = settings
        assert chat.params == SamplingParams(**begin | {name: getattr(SamplingParams(), name)}, min_p=0.1)
        assert chat.ask_sync("Hi", view=False).text == "x"


def test_regenerate_answers_the_last_question_again(sent: list[Any]) -> None:
    chat = panel("One.", "Two.")
    with pytest.raises(RoleOrderError, match="ask something first"):
        chat.regenerate()
    chat.ask_sync("Hi", view=False)
    assert chat.regenerate().wait().text == "Two."
    assert chat.transcript.to_frame()["text"].tolist() == ["Hi", "Two."]
    assert [c.message for c in chat.prompt.get_history()] == ["Hi", "Two."]


def test_clear_forgets_the_dialogue_and_keeps_the_settings(sent: list[Any]) -> None:
    chat = panel("word " * 1000, "Two.", delay=0.005, system_prompt="Brief")
    chat.ask("Hi", view=False)
    wait_for_text(chat)
    chat.clear()
    assert chat.transcript.messages == ()
    assert not chat.running
    assert chat.ask_sync("b", view=False).text == "Two."
    assert "Brief" in chat.prompt.create_prompt()
    assert "Hi" not in chat.prompt.create_prompt()


def test_the_prompt_that_was_given_does_not_change_and_its_history_is_shown(sent: list[Any]) -> None:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("old question")
    prompt.add_responder_msg("old answer")
    chat = ChatPanel(ScriptedEngine("new"), prompt)
    chat.ask_sync("b", view=False)
    assert chat.transcript.to_frame()["text"].tolist() == ["old question", "old answer", "b", "new"]
    assert len(prompt.get_history()) == 2


def test_a_model_that_fails_ends_the_reply_with_its_reason_and_the_text_so_far(sent: list[Any]) -> None:
    chat = panel("Hello you", fail_at=5)
    with pytest.raises(EngineError, match="fail at token 5"):
        chat.ask_sync("Hi", view=False)
    last = chat.transcript.messages[-1]
    assert (last.text, last.finish_reason) == ("Hello", "error")
    assert "fail at token 5" in last.why


def test_a_script_prints_the_reply_as_it_comes(sent: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    panel("Hello you").ask_sync("Hi")
    assert capsys.readouterr().out.startswith("Hello you")


def test_the_panel_handlers_return_at_once(sent: list[Any]) -> None:
    chat = panel("word " * 100, delay=0.05)
    started = time.perf_counter()
    chat._on_message(chat, {"kind": "send", "text": "Hi"}, [])
    assert time.perf_counter() - started < 2.0
    assert chat.running
    chat._on_message(chat, {"kind": "stop"}, [])
    assert chat._playback is not None
    assert chat._playback.finished(10)


def test_the_reply_stands_by_itself_in_a_saved_notebook(sent: list[Any], tmp_path: Any) -> None:
    reply = panel("<b>Hi</b>").ask_sync("x", view=False)
    bundle = reply._repr_mimebundle_()
    assert "&lt;b&gt;Hi" in bundle["text/html"]
    assert "<b>Hi" not in bundle["text/html"]
    assert bundle["text/plain"] == "assistant (done):\n<b>Hi</b>"
    page = reply.save_html(tmp_path / "reply.html").read_text()
    assert "default-src 'none'" in page
    assert list(tmp_path.iterdir()) == [tmp_path / "reply.html"]
    assert reply.to_frame()["token_id"].tolist()[:2] == [ord("<"), ord("b")]


def test_engines_are_closed_by_their_owner(sent: list[Any]) -> None:
    engine: Engine = ScriptedEngine("x")
    chat = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat())
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        chat.ask("Hi")
    assert chat.prompt.get_history() == []
