"""The stream view's script in a bare page, against the real kernel side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chatlab.widgets.stream_view import StreamView
from tests.browser.bare import Bare
from tests.support.browser import missing

AT_END = "((log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 8)(document.querySelector('.cl-log'))"
STORY = ["Hello, ", "世界 ", "👍🏽", "🇯🇵", "\n\tdone", " e\u0301", "\u202eabc\u202c"]


@pytest.fixture
def bare(blank_page: Callable[[], Any]) -> Iterator[Callable[..., Bare]]:
    made = []

    def make(**options: Any) -> Bare:
        made.append(Bare(blank_page(), StreamView(**options, flush_s=1e6)))  # the test flushes
        return made[-1]

    yield make
    assert [problem for bare in made for problem in bare.problems] == []


def test_the_text_of_the_page_is_the_text_of_the_kernel(bare: Callable[..., Bare]) -> None:
    one = bare()
    for fragment in STORY:
        one.widget.put(fragment)
        one.exchange()
        assert one.text() == one.widget.text
    one.widget.finish("eos")
    one.exchange()
    assert one.text() == "".join(STORY)
    status = one.page.text_content(".cl-status")
    assert status.startswith("done")
    assert "tokens" not in status  # fragments came: nobody knows of how many tokens


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_delta_is_asked_for_once_and_recovered(bare: Callable[..., Bare], lost: int) -> None:
    one = bare()
    count = iter(range(100))
    one.drop = lambda content: content["kind"] == "delta" and next(count) == lost
    asked = []
    on_message = one.widget._on_message
    one.widget._on_message = lambda *args: (asked.append(args[1]), on_message(*args))
    for fragment in STORY:
        one.widget.put(fragment)
        one.exchange()
    assert one.text() == "".join(STORY)
    assert asked == [{"kind": "sync"}]


def test_a_lost_tail_comes_with_the_end(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.drop = lambda content: content["kind"] == "delta"
    for fragment in STORY:
        one.widget.put(fragment)
        one.exchange()
    assert one.text() == ""
    one.widget.finish("length")
    one.exchange()
    assert one.text() == "".join(STORY)


def test_a_lost_answer_is_asked_for_again(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.widget.put("lost ")
    one.drop = lambda content: True
    one.exchange()
    one.widget.put("kept")
    one.drop = lambda content: content["kind"] == "all"
    one.exchange()
    assert one.text() == ""
    one.drop = lambda content: False
    one.page.wait_for_function("model.sent.length > 0")
    one.exchange()
    assert one.text() == "lost kept"


def test_a_view_that_comes_late_shows_all_and_two_agree(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.widget.put("before ")
    one.exchange()
    one.page.evaluate("addView()")
    one.exchange()
    one.widget.put("after")
    one.exchange()
    assert one.text(0) == one.text(1) == "before after"


def test_stop_is_there_before_the_first_token_and_escape_stops_too(bare: Callable[..., Bare]) -> None:
    one = bare()
    assert one.page.is_enabled(".cl-stop")
    one.page.click(".cl-stop")
    assert one.page.text_content(".cl-status") == "stopping…"
    one.exchange()
    assert one.widget.stopped
    two = bare()
    two.page.focus(".cl-log")
    two.page.keyboard.press("Escape")
    two.exchange()
    assert two.widget.stopped
    two.widget.finish("cancelled")
    two.exchange()
    assert two.page.is_disabled(".cl-stop")
    assert "stopped" in two.page.text_content(".cl-status")


@pytest.mark.parametrize("press", ["click", "Enter", "Space"])
def test_the_stop_button_keeps_the_focus_when_it_can_do_nothing_more(bare: Callable[..., Bare], press: str) -> None:
    one = bare()
    if press == "click":
        one.page.click(".cl-stop")
    else:
        one.page.press(".cl-stop", press)
    one.exchange()
    assert one.widget.stopped
    one.widget.finish("cancelled")
    one.exchange()
    assert one.page.is_disabled(".cl-stop")
    assert one.page.evaluate("document.activeElement.className") == "cl-stop"
    one.page.keyboard.press("Enter")
    one.page.keyboard.press("Escape")
    assert one.page.evaluate("model.sent.length") == 0
    assert "stopped" in one.page.text_content(".cl-status")


def test_a_closed_view_listens_no_more(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.page.evaluate("views[0].close()")
    assert one.page.evaluate("model.listening()") == 0


def test_a_long_text_keeps_its_end_on_screen_and_all_of_it_in_the_kernel(bare: Callable[..., Bare]) -> None:
    one = bare()
    lines = [f"line {n} of a text that is far longer than a screen\n" for n in range(10_000)]
    for start in range(0, len(lines), 500):
        for line in lines[start : start + 500]:
            one.widget.put(line)
        one.exchange()
    shown = one.text()
    assert len(one.widget.text) > 480_000
    assert 190_000 < len(shown) <= 205_000
    assert one.widget.text.endswith(shown)
    assert one.page.is_visible(".cl-note")
    one.page.wait_for_function(AT_END)


def test_one_endless_line_is_cut_into_blocks_without_breaking_a_character(bare: Callable[..., Bare]) -> None:
    one = bare()
    for _ in range(4):
        one.widget.put("👍" * 9_000 + "a")
        one.exchange()
    assert one.text() == one.widget.text
    assert one.page.evaluate("document.querySelectorAll('.cl-block').length") > 2


def test_a_reader_who_scrolled_up_is_left_alone(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.widget.put("line\n" * 200)
    one.exchange()
    one.page.hover(".cl-log")
    one.page.mouse.wheel(0, -10_000)
    one.page.wait_for_function("document.querySelector('.cl-log').scrollTop === 0")
    one.widget.put("line\n" * 50)
    one.exchange()
    one.page.wait_for_timeout(50)
    assert one.page.evaluate("document.querySelector('.cl-log').scrollTop") < 50
    one.page.mouse.wheel(0, 100_000)
    one.page.wait_for_function(AT_END)
    one.widget.put("line\n" * 50)
    one.exchange()
    one.page.wait_for_function(AT_END)


def test_japanese_has_glyphs(bare: Callable[..., Bare]) -> None:
    """Without a font every character is the same empty box."""
    one = bare()
    drawn = one.page.evaluate(
        """() => ["日", "語", "こ"].map((character) => {
          const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 40 });
          const context = canvas.getContext("2d");
          context.font = "30px sans-serif";
          context.fillText(character, 2, 32);
          return canvas.toDataURL();
        })"""
    )
    if len(set(drawn)) < 3:
        missing("no Japanese font: run `make browser`, or install fonts-ipafont-gothic")


def test_copy_says_so_when_it_takes_only_the_end_of_a_long_text(bare: Callable[..., Bare]) -> None:
    one = bare()
    one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    status = "document.querySelector('.cl-status').textContent"
    one.widget.put("a🦩\n" * 50_000)
    one.exchange()
    one.page.click(".cl-copy")
    one.page.wait_for_function(f"{status} === 'copied'")
    assert one.page.evaluate("navigator.clipboard.readText()") == one.widget.text
    one.widget.put("a🦩\n" * 50_000)
    one.exchange()
    one.page.click(".cl-copy")
    one.page.wait_for_function(f"{status}.startsWith('copied the last ')")
    copied = one.page.evaluate("navigator.clipboard.readText()")
    assert one.page.text_content(".cl-status") == f"copied the last {len(copied):,} characters only"
    assert 140_000 < len(copied) < len(one.widget.text)
    assert one.widget.text.endswith(copied)
    one.page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    one.page.click(".cl-copy")
    one.page.wait_for_function(f"{status} === 'selected the last {len(copied):,} characters only: press Ctrl+C'")
