"""The payloads through the live views and the saved pages, in a real browser: nothing runs, nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, EchoView, SamplingParams, StreamView
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
from tests.browser.bare import Bare
from tests.support.payloads import PAYLOADS

SHAPE = "[...document.querySelectorAll('*')].map((e) => e.tagName + [...e.attributes].map((a) => a.name).sort().join()).join('\\n')"
FOREIGN = "[...document.querySelectorAll('.cl-root script, .cl-root img, .cl-root svg, .cl-root a, .cl-root iframe, .cl-root style, .cl-root object')].length"


@pytest.mark.parametrize("show", ["text", "tokens", "buffer"])
def test_live_payloads_add_no_element_and_start_nothing(blank_page: Callable[[], Any], show: str) -> None:
    bare = Bare(blank_page(), StreamView(show=show, flush_s=1e6))
    for payload in PAYLOADS:
        for start in range(0, len(payload), 3):  # cut over tokens
            bare.widget.put(payload[start : start + 3])
        bare.exchange_deltas()
    bare.widget.finish(PAYLOADS[0], error=PAYLOADS[1])
    bare.exchange()
    bare.page.wait_for_timeout(100)
    assert bare.text() == bare.widget.text
    assert bare.page.evaluate(FOREIGN) == 0
    assert bare.problems == []


def test_a_payload_changes_the_text_of_the_page_and_not_its_shape(blank_page: Callable[[], Any]) -> None:
    shapes = set()
    for text in ("harmless text", *PAYLOADS[::20]):
        bare = Bare(blank_page(), StreamView(flush_s=1e6))
        bare.widget.put(text)
        bare.exchange()
        shapes.add(bare.page.evaluate(SHAPE))
        assert bare.problems == []
    assert len(shapes) == 1


def test_payloads_in_a_chat_with_all_views(blank_page: Callable[[], Any]) -> None:
    params = SamplingParams(context_len=1_000_000)
    engine = ScriptedEngine(list(PAYLOADS))
    panel = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), params, flush_s=1e6, show="buffer")
    bare = Bare(blank_page(), panel)
    for payload in PAYLOADS[::10]:
        panel.settings = {**panel.settings, "system": payload}
        panel.ask_sync(payload, view=False)
    bare.exchange()
    for show in ("tokens", "text"):
        bare.page.check(f"input[value={show}]")
        bare.exchange()
    bare.page.wait_for_timeout(100)
    assert bare.page.evaluate(FOREIGN) == 0
    assert bare.problems == []


def test_saved_pages_show_the_payloads_and_run_nothing(
    blank_page: Callable[[], Any], page: Any, tmp_path: Path
) -> None:
    problems: list[str] = []
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    text = "\n".join(payload.replace("\0", "") for payload in PAYLOADS)
    view = StreamView()
    view.put(text)
    view.finish("eos")
    pages = [view.saved(), EchoView.of_reply(CodePointTokenizer(), text, text)]
    for number, static in enumerate(pages):
        path = static.save_html(tmp_path / f"{number}.html")
        page.goto(path.as_uri())
        page.wait_for_timeout(100)
        assert (
            page.evaluate("document.querySelectorAll('script, img, svg, a, iframe, object, form, base, link').length")
            == 0
        )
        assert page.evaluate("document.querySelectorAll('style').length") == 1
    assert problems == []
