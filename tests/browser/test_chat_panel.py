"""The chat panel's script in a bare page: keys, buttons, settings, views of tokens and of the buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, SamplingParams
from chatlab.testing import ScriptedEngine, tiny_tokenizer
from chatlab.widgets.chat_panel import SETTINGS, ChatPanel
from tests.browser.axe import RUN_AXE
from tests.browser.bare import Bare

KEY = """([key, options]) => {
  const box = document.querySelector(".cl-box");
  return box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options }));
}"""


@pytest.fixture
def chat(blank_page: Any) -> Iterator[Callable[..., Bare]]:
    made = []

    def make(*replies: str, delay: float = 0.0, tokenizer: Any = None, **options: Any) -> Bare:
        engine = ScriptedEngine(list(replies), tokenizer, delay=delay)
        panel = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), flush_s=1e6, **options)
        made.append(Bare(blank_page(), panel))
        return made[-1]

    yield make
    for bare in made:
        bare.widget.stop()
    assert [problem for bare in made for problem in bare.problems] == []


def finish(bare: Bare) -> None:
    """Carry messages until the reply has ended."""
    bare.exchange()
    assert bare.widget._playback is not None
    assert bare.widget._playback.finished(20)
    bare.exchange()


def test_enter_sends_and_the_reply_appears(chat: Callable[..., Bare]) -> None:
    one = chat("Hello 世界!")
    one.page.fill(".cl-box", "Hi")
    one.page.press(".cl-box", "Enter")
    assert one.page.input_value(".cl-box") == ""
    finish(one)
    assert [one.text(message=0), one.text(message=1)] == ["Hi", "Hello 世界!"]
    assert one.page.text_content(".cl-status").startswith("done, 9 tokens")


def test_shift_enter_breaks_the_line_where_the_cursor_is(chat: Callable[..., Bare]) -> None:
    one = chat("x")
    one.page.fill(".cl-box", "ab")
    one.page.press(".cl-box", "ArrowLeft")
    one.page.press(".cl-box", "Shift+Enter")
    assert one.page.input_value(".cl-box") == "a\nb"
    one.exchange()
    assert one.widget.transcript.messages == ()


@pytest.mark.parametrize("options", [{"isComposing": True}, {"keyCode": 229}])
def test_enter_that_ends_a_composition_does_not_send(chat: Callable[..., Bare], options: dict[str, Any]) -> None:
    one = chat("x")
    one.page.fill(".cl-box", "にほんご")
    assert one.page.evaluate(KEY, ["Enter", options]) is True  # not prevented: it belongs to the input method
    one.exchange()
    assert one.widget.transcript.messages == ()
    assert one.page.input_value(".cl-box") == "にほんご"


def test_an_empty_message_is_not_sent(chat: Callable[..., Bare]) -> None:
    one = chat("x")
    one.page.fill(".cl-box", "  ")
    one.page.press(".cl-box", "Enter")
    assert one.page.evaluate("model.sent.length") == 0


def test_stop_and_escape_end_a_reply_and_keep_its_text(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.005)
    for press in (lambda: one.page.click(".cl-stop"), lambda: one.page.press(".cl-box", "Escape")):
        one.page.fill(".cl-box", "Hi")
        one.page.press(".cl-box", "Enter")
        one.exchange()
        assert one.page.is_enabled(".cl-stop")
        assert one.page.is_disabled(".cl-send")
        press()
        finish(one)
        assert one.widget.transcript.messages[-1].finish_reason == "cancelled"
        assert "stopped" in one.page.text_content(".cl-status")
        assert one.page.is_enabled(".cl-send")


PRESSES: dict[str, Callable[[Any, str], None]] = {
    "mouse": lambda page, selector: page.click(selector),
    "Enter": lambda page, selector: page.press(selector, "Enter"),
    "Space": lambda page, selector: page.press(selector, "Space"),
}
FOCUS_IS_INSIDE = "views[0].el.contains(document.activeElement)"


@pytest.mark.parametrize("press", PRESSES.values(), ids=PRESSES.keys())
@pytest.mark.parametrize("button", ["send", "again", "stop", "clear"])
def test_no_button_loses_the_focus_and_escape_stops_what_runs(
    chat: Callable[..., Bare], button: str, press: Callable[[Any, str], None]
) -> None:
    one = chat("word " * 500, delay=0.005)
    if button != "send":
        one.widget.ask("Hi", view=False)
        one.exchange()
    if button == "again":
        one.widget.stop()
        one.exchange()
    one.page.fill(".cl-box", "And?" if button == "send" else "")
    press(one.page, f".cl-{button}")
    assert one.page.evaluate(FOCUS_IS_INSIDE)
    one.exchange()
    assert one.page.input_value(".cl-box") == ""
    assert one.page.evaluate(FOCUS_IS_INSIDE)  # its button can do nothing now
    assert one.page.get_attribute(f".cl-{button}", "aria-disabled") == "true"
    assert one.widget.running == (button in ("send", "again"))
    if not one.widget.running:
        one.widget.ask("from a cell", view=False)
        one.exchange()
    one.page.keyboard.press("Escape")
    one.exchange()
    assert one.widget.transcript.messages[-1].finish_reason == "cancelled"
    assert one.page.evaluate(FOCUS_IS_INSIDE)


def test_the_focus_stays_on_a_button_whose_time_is_over(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.005)
    one.widget.ask("Hi", view=False)
    one.exchange()
    one.page.focus(".cl-stop")
    one.widget.stop()
    one.exchange()
    assert one.page.evaluate("document.activeElement.className") == "cl-stop"
    one.page.focus(".cl-again")
    one.widget.ask("from a cell", view=False)
    one.exchange()
    assert one.page.evaluate("document.activeElement.className") == "cl-again"
    one.page.keyboard.press("Enter")  # what can do nothing now does nothing
    one.exchange()
    assert one.page.locator(".cl-message").count() == 4
    assert one.widget.running
    one.page.focus(".cl-again")
    one.page.keyboard.press("Escape")
    one.exchange()
    assert not one.widget.running


def test_a_stop_button_that_moves_away_under_the_pointer_still_stops(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.005)
    one.page.fill(".cl-box", "Hi")
    one.page.press(".cl-box", "Enter")
    one.exchange()
    one.page.hover(".cl-stop")
    one.page.mouse.down()
    one.page.evaluate("document.querySelector('.cl-log').style.minHeight = '20em'")
    one.page.mouse.up()
    finish(one)
    assert one.widget.transcript.messages[-1].finish_reason == "cancelled"


def test_one_press_of_stop_does_not_stop_the_reply_that_begins_meanwhile(chat: Callable[..., Bare]) -> None:
    """As when the cell that waited for the first reply ends, and the next one asks."""
    one = chat("word " * 5000, delay=0.005)
    one.widget.ask("first", view=False)
    one.exchange()
    one.page.locator(".cl-stop").hover()
    one.page.mouse.down()
    one.exchange()
    assert not one.widget.running
    one.widget.ask("second", view=False)
    one.exchange()
    one.page.locator(".cl-stop").hover()
    one.page.mouse.up()
    one.exchange()
    assert one.widget.running
    one.page.focus(".cl-stop")
    one.page.keyboard.press("Enter")
    one.exchange()
    assert not one.widget.running


def test_stop_stands_beside_the_box_on_a_narrow_page(chat: Callable[..., Bare]) -> None:
    one = chat("x")
    size = one.page.viewport_size
    one.page.set_viewport_size({"width": 400, "height": 700})
    box, stop = (one.page.locator(name).bounding_box() for name in (".cl-box", ".cl-stop"))
    one.page.set_viewport_size(size)
    assert stop["x"] > box["x"] + box["width"]
    assert stop["y"] < box["y"] + box["height"]
    assert box["y"] < stop["y"] + stop["height"]


def test_keys_typed_in_the_panel_are_no_commands_to_the_notebook(chat: Callable[..., Bare]) -> None:
    one = chat("x")
    one.page.evaluate("window.heard = []; document.addEventListener('keydown', (event) => heard.push(event.key))")
    one.page.press(".cl-box", "a")
    one.page.press(".cl-box", "Shift+Enter")
    assert one.page.evaluate("heard") == []
    assert one.page.evaluate("views[0].el.dataset.lmSuppressShortcuts") == "true"


def test_regenerate_and_clear(chat: Callable[..., Bare]) -> None:
    one = chat("One.", "Two.")
    assert one.page.is_disabled(".cl-again")
    one.page.fill(".cl-box", "Hi")
    one.page.press(".cl-box", "Enter")
    finish(one)
    one.page.click(".cl-again")
    finish(one)
    assert [one.text(message=0), one.text(message=1)] == ["Hi", "Two."]
    one.page.click(".cl-clear")
    one.exchange()
    assert one.page.locator(".cl-message").count() == 0
    assert one.page.is_disabled(".cl-clear")


def test_settings_reach_the_engine_and_a_refusal_gives_the_text_back(chat: Callable[..., Bare]) -> None:
    one = chat("abcdefgh")
    one.page.click(".cl-settings summary")
    one.page.fill(".cl-system", "Be brief.")
    one.page.fill(".cl-max_new_tokens", "3")
    one.page.fill(".cl-box", "Hi")
    one.exchange()
    one.page.press(".cl-box", "Enter")
    finish(one)
    assert one.text(message=1) == "abc"
    assert one.page.text_content(".cl-status").startswith("cut at the token limit")
    assert "Be brief." in one.widget.prompt.create_prompt()
    one.page.fill(".cl-top_p", "7")
    one.page.fill(".cl-box", "again")
    one.exchange()
    one.page.press(".cl-box", "Enter")
    one.exchange()
    assert one.page.inner_text(".cl-refusals").startswith("Not sent: top_p must lie in")
    assert one.page.text_content(".cl-status").startswith("cut at the token limit")
    assert one.page.input_value(".cl-box") == "again"
    one.page.fill(".cl-top_p", "")
    one.page.press(".cl-box", "Enter")
    assert one.page.text_content(".cl-refusals") == ""
    finish(one)
    assert [message.text for message in one.widget.transcript.messages] == ["Hi", "abc", "again", "abc"]


def test_a_question_refused_while_the_next_is_typed_is_put_back_on_request(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.005)
    for question in ("first <b>\nline", "second"):
        one.page.fill(".cl-box", question)
        one.widget.ask("from a cell", view=False)  # what the view has not heard yet
        one.page.press(".cl-box", "Enter")
        one.page.type(".cl-box", "next")
        one.exchange()
        assert one.page.input_value(".cl-box") == "next"
        assert one.page.text_content(".cl-status").startswith("streaming")
        one.widget.stop()
        one.exchange()
    assert one.page.locator(".cl-refusals q").all_text_contents() == ["first <b>\nline", "second"]
    one.page.click(".cl-back >> nth=0")
    assert one.page.input_value(".cl-box") == "first <b>\nline\nnext"
    assert one.page.evaluate("document.activeElement.className") == "cl-box"
    one.page.press(".cl-box", "Enter")
    one.exchange()
    one.widget.stop()
    one.exchange()
    assert one.widget.transcript.messages[-2].text == "first <b>\nline\nnext"
    assert one.page.locator(".cl-refusals q").all_text_contents() == ["second"]  # until it is put back
    one.page.click(".cl-back")
    assert one.page.input_value(".cl-box") == "second"
    assert one.page.text_content(".cl-refusals") == ""


def test_all_that_the_panel_can_show_is_accessible(chat: Callable[..., Bare], axe: str, screenshots: Path) -> None:
    one = chat("word " * 500, delay=0.005)
    one.page.click(".cl-settings summary")
    one.page.evaluate("(source) => { (0, window.eval)(source); }", axe)
    one.page.fill(".cl-box", "refused")
    one.widget.ask("from a cell", view=False)
    one.page.press(".cl-box", "Enter")
    one.page.type(".cl-box", "next")
    one.exchange()
    assert one.page.locator(".cl-back").count() == 1
    assert one.page.evaluate(RUN_AXE, [".cl-root"]) == []
    one.widget.stop()
    one.exchange()
    assert one.page.evaluate(RUN_AXE, [".cl-root"]) == []
    one.page.screenshot(path=screenshots / "panel_refused.png")


def test_a_refusal_is_shown_by_the_view_that_asked_and_no_other(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.005)
    one.page.evaluate("addView()")
    one.exchange()
    asking, other = (one.page.locator(".cl-root").nth(number) for number in range(2))
    one.widget.ask("from a cell", view=False)
    asking.locator(".cl-box").fill("Mine")
    asking.locator(".cl-box").press("Enter")
    one.exchange()
    assert asking.locator(".cl-box").input_value() == "Mine"
    assert "a reply is streaming" in asking.locator(".cl-refusals").text_content()
    assert other.locator(".cl-box").input_value() == ""
    assert other.locator(".cl-refusals").text_content() == ""
    assert other.locator(".cl-status").text_content().startswith("streaming")


@pytest.mark.parametrize("name", SETTINGS)
def test_an_emptied_control_is_the_default_and_says_so(chat: Callable[..., Bare], name: str) -> None:
    begin = {"temperature": 0.3, "top_p": 0.5, "top_k": 3, "max_new_tokens": 5, "seed": 7}
    one = chat("Hello", **begin)
    one.page.click(".cl-settings summary")
    assert float(one.page.input_value(f".cl-{name}")) == begin[name]
    one.page.fill(f".cl-{name}", "")
    one.page.press(f".cl-{name}", "Enter")
    one.exchange()
    default = getattr(SamplingParams(), name)
    assert one.page.get_attribute(f".cl-{name}", "placeholder") == ("random" if default is None else f"{default:g}")
    assert one.widget.params.to_dict() == SamplingParams(**begin | {name: default}).to_dict()
    one.page.fill(f".cl-{name}", "1")
    one.page.press(f".cl-{name}", "Enter")
    one.exchange()
    assert getattr(one.widget.params, name) == 1


def test_letters_in_a_number_field_do_not_stay_there(chat: Callable[..., Bare]) -> None:
    one = chat("Hello", temperature=0.3)
    one.page.click(".cl-settings summary")
    one.page.fill(".cl-temperature", "")
    one.page.type(".cl-temperature", "e-")
    assert one.page.evaluate("document.querySelector('.cl-temperature').validity.badInput")
    one.page.press(".cl-temperature", "Enter")
    one.exchange()
    assert not one.page.evaluate("document.querySelector('.cl-temperature').validity.badInput")
    assert one.widget.params.temperature == SamplingParams().temperature


def test_tokens_and_buffer_show_ids_special_tokens_and_what_is_held(chat: Callable[..., Bare]) -> None:
    tokenizer = tiny_tokenizer("byte-level")
    one = chat("Hi 😀!<|tag", tokenizer=tokenizer, replacements=[("<|tag|>", "\n")])
    one.page.check("input[value=tokens]")
    one.exchange()
    one.page.fill(".cl-box", "Hi")
    one.page.press(".cl-box", "Enter")
    finish(one)
    chips = one.page.eval_on_selector_all(".cl-chip", "chips => chips.map((chip) => chip.title)")
    assert chips == [
        f"id {token_id}, logprob 0.000"
        for token_id in one.widget.transcript.messages[1].to_frame()["token_id"].dropna().astype(int)
    ]
    assert one.page.is_hidden(".cl-message[data-role=assistant] .cl-text")
    one.page.check("input[value=buffer]")
    one.exchange()
    rows = one.page.inner_text(".cl-message[data-role=assistant] .cl-steps")
    assert "part of a character" in rows
    assert "may begin <|tag|>" in rows
    assert one.page.is_visible(".cl-message[data-role=assistant] .cl-text")


def test_copy_takes_the_last_reply(chat: Callable[..., Bare]) -> None:
    one = chat("Hello\nyou")
    one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    one.page.fill(".cl-box", "Hi")
    one.page.press(".cl-box", "Enter")
    finish(one)
    one.page.click(".cl-copy")
    one.page.wait_for_function("document.querySelector('.cl-status').textContent === 'copied'")
    assert one.page.evaluate("navigator.clipboard.readText()") == "Hello\nyou"


def test_the_keyboard_goes_from_the_box_to_send_stop_and_copy(chat: Callable[..., Bare]) -> None:
    one = chat("word " * 500, delay=0.01)
    one.page.fill(".cl-box", "Hi")
    for running in (False, True):
        if running:
            one.page.click(".cl-send")
            one.exchange()
        assert one.widget.running == running
        order = []
        for _ in range(4):
            order.append(one.page.evaluate("document.activeElement.className"))
            one.page.keyboard.press("Tab")
        assert order == ["cl-box", "cl-send", "cl-stop", "cl-copy"]
