"""The view of a conversation in a real browser: opened by click and by key, read in both schemes and in a narrow pane."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from chatlab import TurnsView, trace_turns
from chatlab.embedded import tokenizer_path
from chatlab.prompts.dialogue import Dialogue, Turn
from tests.browser.axe import RUN_AXE
from tests.support.long_talk import long_trace

TALK = Dialogue(
    id="talk",
    turns=(
        Turn(user="Where is Tokyo?", assistant=" In Japan. "),
        Turn(user="And Kyoto?", assistant="In Japan, too.\n"),
        Turn(user="And Paris?", assistant="In France."),
        Turn(user="Thanks."),
    ),
)
LINES = "[...document.querySelectorAll('details')]"
SIDEWAYS = """[...document.querySelectorAll('summary > code')].filter(
  (ribbon) => ribbon.scrollWidth > ribbon.clientWidth + 1 || ribbon.getBoundingClientRect().right > innerWidth).length"""


@pytest.fixture(scope="module")
def view() -> TurnsView:
    return TurnsView(trace_turns(tokenizer_path("phi3-style/after"), TALK, stored="stripped"))


def show(page: Any, view: TurnsView, scheme: str = "light", width: int = 1400) -> Any:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto("about:blank")
    page.set_content(view.page().replace("default-src 'none'; ", "script-src 'unsafe-eval'; "))
    return page


def test_a_ribbon_opens_by_click_and_by_key(page: Any, view: TurnsView) -> None:
    show(page, view)
    assert page.evaluate(f"{LINES}.map((part) => part.open)") == [False] * 3
    page.locator("summary > code").first.click()
    shown = page.locator("details").first.inner_text()
    (first, *_) = view.trace.turns[0].edits
    assert first.evidence is not None
    for words in ("seen and said", "next prompt", first.evidence.changed, first.cure, "It hurts: cache"):
        assert words in shown
    page.keyboard.press("Enter")
    assert page.evaluate(f"{LINES}.map((part) => part.open)") == [False] * 3
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate(f"{LINES}.map((part) => part.open)") == [False, True, False]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_in_both_schemes_and_at_every_width(
    page: Any, axe: str, view: TurnsView, scheme: str, screenshots: Path
) -> None:
    for width in (1400, 700):
        show(page, view, scheme, width)
        page.evaluate(f"{LINES}[1].open = true")
        page.screenshot(path=screenshots / f"turns_{scheme}_{width}.png", full_page=True)
        page.evaluate(f"{LINES}.forEach((part) => {{ part.open = true; }})")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(SIDEWAYS) == 0
        page.evaluate("(source) => { (0, window.eval)(source); }", axe)
        assert page.evaluate(RUN_AXE, ["main"]) == []
    page.emulate_media(color_scheme="light")


def test_kept_same_and_lost_have_a_colour_each(page: Any, view: TurnsView) -> None:
    show(page, view)
    kinds = ("summary > code", "summary mark", "summary del", "summary del strong")
    colours = {page.evaluate(f"getComputedStyle(document.querySelector('{kind}')).backgroundColor") for kind in kinds}
    assert len(colours) == len(kinds)
    assert "rgba(0, 0, 0, 0)" not in colours


def test_a_long_conversation_is_on_screen_at_once(page: Any) -> None:
    """128 turns and 70,000 ids, made and laid out."""
    trace = long_trace()
    page.goto("about:blank")
    started = time.perf_counter()
    html = TurnsView(trace).html()
    page.set_content(html)
    height = page.evaluate("document.body.offsetHeight")
    took_ms = (time.perf_counter() - started) * 1000
    assert height > 128 * 30
    assert page.locator("details").count() == 128
    assert took_ms < 300 * 2, "on a machine that others use"
