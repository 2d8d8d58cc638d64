"""What a cell shows of a live view, and what a saved notebook keeps of it: two outputs, the second drawn again."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from chatlab.revisions.compare import compare_revisions
from chatlab.testing import ScriptedEngine
from chatlab.widgets import live_view, stream_view
from chatlab.widgets.chat_panel import ChatPanel
from chatlab.widgets.drift_explorer import DriftExplorer
from chatlab.widgets.live_view import END_LEN, OUTPUT_CAP, PLAIN_LEN, WIDGET_VIEW, closed
from chatlab.widgets.revision_view import RevisionView
from chatlab.widgets.stream_view import StreamView

EVIL = "<img src=x onerror=alert(1)>"


class Shown:
    """An output of a cell, as the front end was told of it."""

    outputs: list[Shown]

    def __init__(self, bundle: dict[str, Any]) -> None:
        self.bundle = bundle
        self.draws = 1
        self.outputs.append(self)

    def replace(self, bundle: dict[str, Any]) -> None:
        self.bundle = bundle
        self.draws += 1


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    monkeypatch.setattr(Shown, "outputs", [], raising=False)
    for module in (live_view, stream_view):
        monkeypatch.setattr(module, "Place", Shown)
        monkeypatch.setattr(module, "in_kernel", lambda: True)
    return Shown.outputs


def drift() -> pd.DataFrame:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    return measure_drift(list(read_dialogues(dialogues_path()))[:20], ChatPromptMetaLlamaLlama2Chat, tokenizer)


def explorer() -> tuple[Any, Callable[[], str]]:
    view = DriftExplorer(drift())

    def choose() -> str:
        view.turn.value = "1"
        return view.summary()

    return view, choose


def picker() -> tuple[Any, Callable[[], str]]:
    paths = (tokenizer_path(f"phi3-style/{name}") for name in ("before", "after"))
    view = RevisionView(compare_revisions(*paths)).explore()

    def choose() -> str:
        view.choice.value = view.choice.options[1]
        return f"Probe {view.choice.options[1]}"

    return view, choose


def stays() -> tuple[Any, Callable[[], str]]:
    view = StreamView(replace=False)

    def end() -> str:
        view.put("all of it")
        view.finish("length")
        return "cut at the token limit"

    return view, end


def panel() -> tuple[Any, Callable[[], str]]:
    view = ChatPanel(ScriptedEngine("Fine."), ChatPromptMetaLlamaLlama2Chat())

    def ask() -> str:
        view.ask_sync("How?", view=False)
        return "Fine."

    return view, ask


@pytest.mark.parametrize("make", [explorer, picker, stays, panel])
def test_the_static_form_stands_closed_below_the_live_view_and_follows_it(make: Any, outputs: list[Shown]) -> None:
    view, change = make()
    assert outputs == []
    view._ipython_display_()
    live, still = outputs
    assert set(live.bundle) == {"text/plain", "text/html", WIDGET_VIEW}
    assert "here while the notebook runs" in live.bundle["text/plain"]
    assert live.bundle["text/plain"] in live.bundle["text/html"]
    assert set(still.bundle) == {"text/plain", "text/html"}
    words = change()
    assert words in still.bundle["text/html"]
    assert '<div class="chatlab"><details><summary>' in still.bundle["text/html"]
    assert (live.draws, still.draws) == (1, 2)
    assert [*outputs] == [live, still]
    assert len(json.dumps(still.bundle)) < OUTPUT_CAP
    view._ipython_display_()
    assert outputs[3].bundle == still.bundle


@pytest.mark.parametrize("make", [explorer, picker, stays, panel])
def test_without_a_kernel_or_a_widget_the_static_form_stands_alone(
    make: Any, outputs: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = make()
    view.close()
    view._ipython_display_()
    monkeypatch.setattr(live_view, "in_kernel", lambda: False)
    make()[0]._ipython_display_()
    assert [set(one.bundle) for one in outputs] == [{"text/plain", "text/html"}] * 2


def test_a_picker_keeps_both_pictures_of_the_last_choice(outputs: list[Shown]) -> None:
    view, choose = explorer()
    view._ipython_display_()
    first = outputs[1].bundle["text/html"]
    choose()
    assert first.count("<img ") == outputs[1].bundle["text/html"].count("<img ") == 2
    assert view._drawn[0] in outputs[1].bundle["text/html"]
    assert view._drawn[0] not in first


def test_a_replaced_view_carries_its_static_form_until_it_ends(outputs: list[Shown]) -> None:
    view = StreamView()
    view.put(f"{EVIL} ")
    view._ipython_display_()
    (one,) = outputs
    assert set(one.bundle) == {"text/plain", "text/html", WIDGET_VIEW}
    assert "&lt;img src=x" in one.bundle["text/html"]
    view.finish()
    assert outputs == [one]
    assert one.bundle == view.saved()._repr_mimebundle_()
    view._ipython_display_()
    assert outputs[1].bundle == one.bundle


@pytest.mark.parametrize("character", ['"', "\\", "🦩", "語", "a", "<", "\x1b"])
def test_what_is_too_large_keeps_both_ends_of_its_text_and_says_so(character: str, outputs: list[Shown]) -> None:
    view = StreamView(replace=False)
    view._ipython_display_()
    view.put("The beginning " + character * 210_000 + "the end")
    view.finish()
    bundle = outputs[1].bundle
    assert len(json.dumps(bundle, ensure_ascii=False).encode()) < OUTPUT_CAP
    assert f"the first and last {END_LEN:,} characters of its text)</summary>" in bundle["text/html"]
    assert bundle["text/plain"].startswith("assistant (done):\nThe beginning ")
    assert bundle["text/plain"].endswith("the end")
    kept = html.unescape(re.sub(r"(?s).*<pre[^>]*>|</pre>.*", "", bundle["text/html"]))
    assert 2 * END_LEN < len(kept) < 2 * END_LEN + 5
    assert "the end</pre>" in bundle["text/html"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_long_text_goes_over_the_wire_once(replace: bool, outputs: list[Shown]) -> None:
    view = StreamView(replace=replace)
    view._ipython_display_()
    text = "".join(f"word{n} " for n in range(2_000))
    view.put(text)
    view.finish()
    bundle = outputs[-1].bundle
    assert text in bundle["text/html"]
    short = bundle["text/plain"]
    assert short.startswith("assistant (done):\nword0 ")
    assert short.endswith("word1999 ")
    assert PLAIN_LEN < len(short) < PLAIN_LEN + 60
    assert f"… {len(str(view.saved())) - PLAIN_LEN:,} characters stand in the HTML only …" in short


def test_of_what_is_large_only_by_its_pictures_the_whole_text_is_left() -> None:
    bundle = closed("drift", "5 of 9 replies are wrong", "<img>" * 100_000)
    assert bundle["text/plain"] == "5 of 9 replies are wrong"
    assert "5 of 9 replies are wrong</pre></details>" in bundle["text/html"]


def test_the_summary_is_text() -> None:
    assert "<summary>&lt;b&gt;</summary>" in closed("<b>", "", "")["text/html"]
