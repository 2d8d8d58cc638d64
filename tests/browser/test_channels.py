"""Channels in the page: drawn as they come and as a whole, by text nodes, the reader's fold left as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine
from chatlab.widgets.stream_view import StreamView
from tests.browser.bare import Bare

DRAWN = """[...document.querySelectorAll(".cl-reasoning, .cl-tool_call, .cl-content")]
    .map((part) => [part.className, part.textContent]).filter(([name, text]) => text)"""
REPLY = "a<think>Hm <img src=x onerror=alert(1)>é👍\n</think>Hi <tool_call>{}</tool_call>"


@pytest.mark.parametrize("lost", [None, 3, 20, 45])
def test_each_channel_is_drawn_in_its_own_way(blank_page: Callable[[], Any], lost: int | None) -> None:
    one = Bare(blank_page(), StreamView(flush_s=1e6))
    count = iter(range(1000))
    one.drop = lambda content: content["kind"] == "delta" and next(count) == lost
    for delta in stream("Q", ScriptedEngine(REPLY), channels="qwen3"):
        one.widget.put(delta)
        one.exchange()
    live = one.page.evaluate(DRAWN)
    one.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    one.widget.finish("eos")
    one.exchange()
    expected = [["cl-reasoning", "Hm <img src=x onerror=alert(1)>é👍"], ["cl-content", "Hi "], ["cl-tool_call", "{}"]]
    assert one.page.evaluate(DRAWN)[-3:] == live[-3:] == expected
    assert one.page.evaluate("document.querySelector('.cl-text').textContent").startswith("a")
    assert one.page.evaluate("[...document.querySelectorAll('.cl-text details')].map((details) => details.open)") == [
        True
    ]
    assert one.problems == []


def test_the_end_leaves_alone_what_is_drawn(blank_page: Callable[[], Any]) -> None:
    """So that a reader's focus stays where it is; and what is copied has no labels, but its paragraphs."""
    one = Bare(blank_page(), StreamView(flush_s=1e6))
    for delta in stream("Q", ScriptedEngine(REPLY), channels="qwen3"):
        one.widget.put(delta)
        one.exchange()
    one.page.locator(".cl-text summary").press("Enter")
    one.widget.finish("eos")
    one.exchange()
    focused = one.page.evaluate("[document.activeElement.textContent, document.activeElement.parentElement.open]")
    assert focused == ["Reasoning", True]
    one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    one.page.locator(".cl-copy").click()
    one.page.locator(".cl-status", has_text="copied").wait_for()
    assert one.page.evaluate("navigator.clipboard.readText()") == "a\n\nHm <img src=x onerror=alert(1)>é👍\n\nHi \n\n{}"
    label = "getComputedStyle(document.querySelector('.cl-tool_call'), '::before').content"
    assert one.page.evaluate(label).startswith('"Tool call"')
    assert one.problems == []
