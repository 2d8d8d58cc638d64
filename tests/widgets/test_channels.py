"""Reasoning is folded and a tool call stands in a block, live and saved; the text stays the reply's."""

from __future__ import annotations

import pytest

from chatlab.prompts.formats.registry import prompt_class
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
from chatlab.widgets.live_text import LiveText
from chatlab.widgets.stream_view import StreamView

CALL = '{"name": "f", "arguments": {}}'
REPLY = f"<think>\nHm <b>\n</think>\n\nHi\n<tool_call>\n{CALL}\n</tool_call>"


def read(channels: str | None, text: str = REPLY) -> LiveText:
    live = LiveText(1, "assistant")
    for delta in stream("Q", ScriptedEngine(text), channels=channels):
        live.put(delta)
        live.delta()
    return live


def parts(live: LiveText) -> list[tuple[str, str]]:
    ends = [start for start, _ in live.runs[1:]] + [len(live.text)]
    return [(kind, live.text[start:end]) for (start, kind), end in zip(live.runs, ends, strict=True)]


def test_the_runs_tell_each_character_of_the_text() -> None:
    assert parts(read("qwen3")) == [
        ("delimiter", "<think>\n"),
        ("reasoning", "Hm <b>"),
        ("delimiter", "\n</think>\n\n"),
        ("content", "Hi"),
        ("delimiter", "\n<tool_call>\n"),
        ("tool_call", CALL),
        ("delimiter", "\n</tool_call>"),
    ]
    assert read("qwen3").text == read(None).text == REPLY


@pytest.mark.parametrize(("channels", "text"), [(None, REPLY), ("qwen3", "Hi")])
def test_without_other_channels_nothing_is_told(channels: str | None, text: str) -> None:
    assert read(channels, text).runs == []


def test_deltas_tell_the_runs_once_and_a_full_tells_all() -> None:
    live, told = LiveText(1, "assistant"), []
    for delta in stream("Q", ScriptedEngine("a<think>b</think>c"), channels="think"):
        live.put(delta)
        message = live.delta()
        told += message["runs"] if message else []
    assert [tuple(run) for run in told] == live.runs[1:]  # the first begins in what was sent before
    assert live.full()["runs"] == live.runs


def test_the_saved_view_folds_reasoning_and_escapes_it() -> None:
    view = StreamView()
    view.follow(stream("Q", ScriptedEngine(REPLY), channels="qwen3")).wait()
    html = view.saved()._repr_html_()
    assert "<details><summary>Reasoning</summary>" in html
    assert "Hm &lt;b&gt;" in html
    assert "<p>Tool call</p>" in html
    assert "&lt;think&gt;" not in html.split("tokens</summary>")[0]
    assert view.text == REPLY


def test_a_chat_keeps_the_whole_reply_in_its_history() -> None:
    chat = ChatPanel(ScriptedEngine(REPLY), prompt_class("chatml")(), channels="qwen3")
    reply = chat.ask_sync("Q", view=False)
    assert reply.text == REPLY
    assert reply.result.message()["reasoning_content"] == "Hm <b>"
    assert chat.prompt.get_responder_last_msg() == REPLY
    assert "Reasoning" in chat.transcript._repr_html_()
