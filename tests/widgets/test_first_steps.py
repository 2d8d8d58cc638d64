"""What a new user gives a view by mistake is answered at once, with the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlab import (
    ChatPanel,
    ChatPromptMetaLlamaLlama2Chat,
    EchoView,
    RevisionView,
    SamplingParams,
    StreamView,
    astream,
    stream,
)
from chatlab.errors import ChatBusy, SamplingError, ViewError
from chatlab.testing import ScriptedEngine
from chatlab.widgets.drift_explorer import DriftExplorer

ENGINE = ScriptedEngine(["Yes.", "No."])


def endless() -> Iterator[str]:
    while True:
        yield "x"


@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        (lambda: EchoView("a prompt"), r"a str is no trace: EchoView\(trace_echo\(tokenizer, prompt\)\)"),
        (lambda: RevisionView(Path("a"), Path("b")), r"RevisionView\(compare_revisions\(before, after\)\)"),
        (lambda: DriftExplorer({}), "give what measure_drift"),
        (lambda: DriftExplorer("frame.csv"), "'tokenizer' is a str, and no table of measure_drift"),
        (lambda: DriftExplorer({"mine": pd.DataFrame({"a": [1]})}), "'mine' is a DataFrame, and no table"),
        (lambda: ChatPanel("model"), r"a str is no engine: LocalEngine\(load_model\(path\)"),
        (
            lambda: ChatPanel(ENGINE, ChatPromptMetaLlamaLlama2Chat),
            r"is a class: give ChatPromptMetaLlamaLlama2Chat\(\)",
        ),
        (lambda: ChatPanel(ENGINE, "You are"), "a str is no prompt class instance"),
        (lambda: StreamView().follow(42), "give chatlab.stream"),
    ],
)
def test_a_wrong_thing_is_named_with_the_right_one(make: Callable[[], Any], way_out: str) -> None:
    with pytest.raises(ViewError, match=way_out):
        make()


def test_an_async_stream_is_told_that_the_kernel_stays_free_without_it() -> None:
    async def follow() -> None:
        reply = astream("Hi", ENGINE)
        try:
            with pytest.raises(ViewError, match="in place of astream: the kernel stays free"):
                StreamView().follow(reply)
        finally:
            await reply.aclose()

    asyncio.run(follow())


def test_a_view_follows_one_stream_at_a_time_and_one_in_all() -> None:
    view = StreamView()
    first = view.follow(endless())
    with pytest.raises(ChatBusy, match=r"new StreamView\(\)"):
        view.follow(["b"])
    view.stop()
    assert first.finished(5)
    text = view.text
    with pytest.raises(ViewError, match=r"new StreamView\(\)"):
        view.follow(["b"])
    assert (view.text, view.finish_reason, set(text)) == (text, "cancelled", {"x"})


def test_an_unknown_keyword_names_the_view() -> None:
    with pytest.raises(TypeError, match="StreamView"):
        StreamView(text="Hello")


def test_a_view_of_ones_own_buffer_says_what_it_waits_for() -> None:
    view = StreamView(replacements=[("<NL>", "\n")], stops=["END"], special_ids=[2])
    for delta in stream("x", ScriptedEngine("a<NL>b"), replacements=[("<NL>", "\n")]):
        view.put(delta)
    assert "may begin <NL>" in view.saved().to_frame()["waiting"].tolist()


def test_a_panel_takes_sampling_parameters_into_its_controls() -> None:
    chat = ChatPanel(
        ENGINE, ChatPromptMetaLlamaLlama2Chat(), SamplingParams(top_k=7), temperature=0, overflow="drop_turns"
    )
    assert (chat.settings["temperature"], chat.settings["top_k"]) == (0, 7)
    chat.settings = {**chat.settings, "temperature": 0.5}
    assert chat.params.temperature == 0.5
    reply = chat.ask_sync("Hi", view=False)
    assert reply.finish_reason == "eos"


def test_an_unknown_option_is_refused_before_the_first_question() -> None:
    with pytest.raises(SamplingError, match="no sampling parameter is called max_tokens"):
        ChatPanel(ENGINE, ChatPromptMetaLlamaLlama2Chat(), max_tokens=5)


def test_a_playback_shows_what_to_do_with_it() -> None:
    playback = StreamView().follow(iter(endless()))
    assert repr(playback) == "<Playback, running: await it for the reply>"
    playback.stop()
    assert playback.finished(5)
    assert repr(playback) == "<Playback, cancelled: .result() has the reply>"
