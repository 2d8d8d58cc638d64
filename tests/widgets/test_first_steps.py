"""What a new user gives a view by mistake is answered at once, with the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from chatlab import (
    ChatPanel,
    ChatPromptMetaLlamaLlama2Chat,
    EchoView,
    RevisionView,
    SamplingParams,
    StreamView,
    astream,
    compare_revisions,
    stream,
    trace_echo,
)
from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatBusy, SamplingError, ViewError
from chatlab.testing import ScriptedEngine
from chatlab.widgets.drift_explorer import COLUMNS, DriftExplorer

ENGINE = ScriptedEngine(["Yes.", "No."])
TRACE = trace_echo(ENGINE.tokenizer, "a")
COMPARISON = compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))


def endless() -> Iterator[str]:
    while True:
        yield "x"


@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        (lambda: EchoView("a prompt"), r"trace must be .*EchoView\(trace_echo\(tokenizer, prompt\)\).* not str"),
        (lambda: EchoView(TRACE, "a reply"), "case must be what make_case gave, not str"),
        (lambda: EchoView.of_reply(ENGINE.tokenizer, "a", None), "reply must be a text or .* token ids, not None"),
        (lambda: EchoView.of_reply(ENGINE.tokenizer, "a", 5), "reply must be .* not int"),
        (lambda: EchoView.of_reply(ENGINE.tokenizer, "a", b"x"), "reply must be .* not bytes"),
        (lambda: EchoView.of_reply(ENGINE.tokenizer, "a", [1, "x"]), "reply must be .* no integer"),
        (lambda: EchoView.of_reply(ENGINE.tokenizer, "a", [[1, 2]]), "reply must be a text or a flat list"),
        (lambda: RevisionView(Path("a"), Path("b")), r"comparison must be .*compare_revisions\(before, after\)"),
        (lambda: RevisionView(COMPARISON, ["chat/answered-1"]), "probe must be a label, .* not list"),
        (lambda: DriftExplorer({}), "give what measure_drift"),
        (lambda: DriftExplorer("frame.csv"), "the table 'tokenizer' must be what measure_drift gave, not str"),
        (lambda: DriftExplorer(pd.DataFrame), "not the class DataFrame itself"),
        (lambda: DriftExplorer({"mine": pd.DataFrame({"turn": [1]})}), "'mine' is none of .* no column dialogue, "),
        (lambda: DriftExplorer(pd.DataFrame({c: ["x"] for c in COLUMNS})), "whole numbers in its column turn"),
        (lambda: ChatPanel("model"), r"engine must be an engine, such as LocalEngine\(load_model\(path\).* not str"),
        (lambda: ChatPanel(ScriptedEngine), "not the class ScriptedEngine itself"),
        (lambda: ChatPanel(ENGINE, ChatPromptMetaLlamaLlama2Chat), r"prompt must be .*called with \(\), not the class"),
        (lambda: ChatPanel(ENGINE, "You are"), "prompt must be an object of a prompt class.* not str"),
        (lambda: ChatPanel(ENGINE, params={"top_k": 1}), "params must be a SamplingParams, .* not dict"),
        (lambda: ChatPanel(ENGINE, system_prompt=5), "system_prompt must be a text, not int"),
        (lambda: ChatPanel(ENGINE, replacements=5), "replacements must be a list of .* not int"),
        (lambda: ChatPanel(ENGINE, show="chips"), "show must be one of 'text', 'tokens', 'buffer', not 'chips'"),
        (lambda: ChatPanel(ENGINE, flush_s="fast"), "flush_s must be a number of seconds above 0, not 'fast'"),
        (lambda: StreamView(show=["text"]), "show must be one of 'text'"),
        (lambda: StreamView(label=None), "label must be a text, not None"),
        (lambda: StreamView(flush_s=0), "flush_s must be a number of seconds above 0, not 0"),
        (lambda: StreamView(flush_s=float("nan")), "flush_s must be a number of seconds above 0"),
        (lambda: StreamView(replacements=None), "replacements must be a list of .* not None"),
        (lambda: StreamView(stops=5), "stops must be a list of strings, not int"),
        (lambda: StreamView(special_ids=2), "special_ids must be a list of token ids, not int"),
        (lambda: StreamView(special_ids=["</s>"]), "special_ids must be a list of token ids, and holds"),
        (lambda: StreamView().follow(42), "give chatlab.stream"),
        (lambda: StreamView().put(None), r"text or the deltas of chatlab.stream, not None: .*view.put\(item.text\)"),
        (lambda: StreamView().put(b"x"), "not bytes"),
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


def test_a_view_that_has_shown_its_text_takes_no_more() -> None:
    view = StreamView()
    view.put("Hello")
    view.finish("eos")
    with pytest.raises(ViewError, match=r"new StreamView\(\)"):
        view.put("again")
    assert view.text == "Hello"


def test_a_stream_that_was_read_before_is_followed_from_there() -> None:
    reply = stream("x", ScriptedEngine("Hello " * 500, delay=0.001))
    begin = "".join(next(reply).text for _ in range(3))
    view = StreamView()
    playback = view.follow(reply)
    while not view.text:
        assert not playback.finished(0.001)
    view.stop()
    assert begin + view.text == reply.text


def test_a_reply_may_be_any_sequence_of_integers() -> None:
    views = [
        EchoView.of_reply(ENGINE.tokenizer, "a", reply)
        for reply in ("hi", [104, 105], np.array([104, 105]), torch.tensor([104, 105]))
    ]
    assert len({view.html() for view in views}) == 1
    assert views[0].cuts[0].reply == "hi"


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
