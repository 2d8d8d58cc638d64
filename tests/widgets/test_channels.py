"""Reasoning is folded and a tool call stands in a block, live and saved; the text stays the reply's."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.messages import messages_of
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.channels import Passage
from chatlab.streaming.result import deltas_of
from chatlab.streaming.stream import stream
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
from chatlab.widgets.live_text import LiveText
from chatlab.widgets.playback import Playback
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


def test_a_chat_in_a_class_of_texts_keeps_the_whole_reply_in_its_history() -> None:
    chat = ChatPanel(ScriptedEngine(REPLY), prompt_class("chatml")(), channels="qwen3")
    reply = chat.ask_sync("Q", view=False)
    assert reply.text == REPLY
    assert reply.result.message()["reasoning_content"] == "Hm <b>"
    assert chat.prompt.get_responder_last_msg() == REPLY
    assert "Reasoning" in chat.transcript._repr_html_()


class Templated(CodePointTokenizer):
    """Characters, and a chat template that writes what it gets."""

    chat_template = "{{ messages | tojson }}"
    special_tokens_map: Mapping[str, str] = {}

    @property
    def wrapped(self) -> Any:
        return self


SAID = {
    "role": "assistant",
    "content": "Hi",
    "reasoning_content": "Hm <b>",
    "tool_calls": [{"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {}}}],
}


@pytest.mark.parametrize("given", [True, False], ids=["a template prompt", "the engine's own format"])
def test_a_chat_of_messages_asks_on_with_the_message_and_keeps_the_raw_text(given: bool) -> None:
    tokenizer = Templated()
    prompt = ChatTemplatePrompt(tokenizer) if given else None
    engine = ScriptedEngine([REPLY, "plain"], tokenizer)
    chat = ChatPanel(engine, prompt, channels="qwen3")
    reply = chat.ask_sync("Q", view=False)
    assert messages_of(chat.prompt) == [{"role": "user", "content": "Q"}, SAID]
    assert reply.text == reply.result.raw_text == chat.transcript.messages[1].text == REPLY
    asked = chat.ask("And?", view=False)
    sent = "".join(map(chr, asked._source.request.prompt_ids))
    assert [message.get("reasoning_content") for message in json.loads(sent)] == [None, "Hm <b>", None]
    asked.wait()
    assert messages_of(chat.prompt)[-1] == {"role": "assistant", "content": "plain"}
    chat.regenerate().wait()
    assert messages_of(chat.prompt)[1] == SAID


def test_a_reply_that_is_written_anew_keeps_nothing_of_the_former_one() -> None:
    prompt = ChatTemplatePrompt(Templated())
    prompt.add_requester_msg("Q")
    stream(prompt, ScriptedEngine(REPLY), channels="qwen3").result()
    assert prompt.get_messages()[-1] == SAID
    prompt.clear_last_message()
    stream(prompt, ScriptedEngine("Hi")).result()
    assert prompt.get_messages()[-1] == {"role": "assistant", "content": "Hi"}


def test_a_chat_shows_the_messages_that_it_begins_with() -> None:
    prompt = ChatTemplatePrompt(Templated())
    for message in (
        {"role": "user", "content": "Q"},
        SAID,
        {"role": "tool", "content": "1", "tool_call_id": "call00000"},
    ):
        prompt.add_message(message)
    messages = ChatPanel(ScriptedEngine("x"), prompt).transcript.messages
    assert [(m.role, m.text) for m in messages] == [
        ("user", "Q"),
        ("assistant", 'Hm <b>Hi{"name": "f", "arguments": {}}'),
        ("tool", "1"),
    ]
    assert [kind for _, kind in messages[1].runs] == ["reasoning", "content", "tool_call"]


class Stops:
    """A sink that stops the stream where a closing waits for one more line end."""

    playback: Playback

    def __init__(self) -> None:
        self.live = LiveText(1, "assistant")
        self.begun = threading.Event()

    def put(self, new: Any) -> None:
        self.begun.wait(5)
        self.live.put(new)
        if getattr(new, "held", "").endswith("</think>\n"):
            self.playback.stop()

    def finish(self, finish_reason: str, **facts: Any) -> None:
        self.live.finish(finish_reason)


def test_a_stopped_stream_hands_on_what_was_held_by_channel() -> None:
    sink = Stops()
    sink.playback = Playback(stream("Q", ScriptedEngine("<think>Hm\n</think>\nHi"), channels="qwen3"), sink)
    sink.begun.set()
    assert sink.playback.finished(5)
    assert parts(sink.live) == [("delimiter", "<think>"), ("reasoning", "Hm"), ("delimiter", "\n</think>\n")]
    assert sink.live.finish_reason == "cancelled"


@pytest.mark.parametrize("start", range(9))
def test_the_rest_of_a_reply_keeps_its_channels_wherever_it_begins(start: int) -> None:
    passages = [Passage("reasoning", "<t>", True), Passage("reasoning", "Hm"), Passage("content", "Hi!")]
    whole = [(p.channel, p.delimiter, c) for p in passages for c in p.text]
    rest = list(deltas_of(passages, start))
    assert [(d.channel, bool(d.delimiter), c) for d in rest for c in d.delimiter + d.text] == whole[start:]
    assert all("<t>HmHi!"[d.text_start : d.text_end] == d.text for d in rest)
