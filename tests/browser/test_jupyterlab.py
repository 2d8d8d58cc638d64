"""The live views where people use them: a real JupyterLab, a real kernel, a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lab import KERNEL_STATUS, PROMPTS, Notebook

pytestmark = pytest.mark.slow

CHAT = """
from chatlab import ChatPromptMetaLlamaLlama2Chat, SamplingParams
from chatlab.testing import ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
words = " ".join(f"{n} こんにちは <img src=x onerror=alert(1)>" for n in range(300))
engine = ScriptedEngine([words, "Fine 世界."], delay=0.005)
chat = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), SamplingParams(max_new_tokens=100_000))
chat
"""
STATUS = ".cl-root .cl-status"
REPLY = ".cl-message[data-role=assistant] .cl-text"
IDLE = f"({KERNEL_STATUS}) === 'idle'"
LENGTH = "(selector) => document.querySelector(selector)?.textContent.length ?? 0"


def wait_for_length(book: Notebook, length: int) -> None:
    book.page.wait_for_function(
        "([s, n]) => (document.querySelector(s)?.textContent.length ?? 0) > n", arg=[REPLY, length]
    )


def test_send_watch_stop_while_the_kernel_stays_free(notebook: Callable[..., Notebook], screenshots: Path) -> None:
    book = notebook("panel", CHAT, "print('kernel is free:', 6 * 7)")
    book.run_cell(0)
    book.page.wait_for_selector(".cl-box")
    book.page.click(".cl-box")
    book.page.keyboard.type("First line")
    book.page.keyboard.press("Shift+Enter")
    book.page.keyboard.type("second line")
    book.page.keyboard.press("Enter")
    wait_for_length(book, 40)
    first = book.page.evaluate(LENGTH, REPLY)
    book.run_cell(1)
    book.page.wait_for_function("document.body.textContent.includes('kernel is free: 42')")
    assert book.page.is_enabled(".cl-stop")  # it streams on while the other cell has run
    wait_for_length(book, first + 20)
    took = book.page.evaluate(
        """async () => {
          const why = [...document.querySelectorAll(".cl-why")].at(-1);
          const started = performance.now();
          document.querySelector(".cl-stop").click();
          while (!why.textContent.includes("stopped")) {
            if (performance.now() - started > 10_000) return Infinity;
            await new Promise(requestAnimationFrame);
          }
          return performance.now() - started;
        }"""
    )
    print(f"Stop took {took:.0f} ms from the click to 'stopped' on screen")
    assert took < 5_000  # the benchmark holds it to 200 ms; here a busy machine must not fail it
    assert book.page.text_content(".cl-message[data-role=user] .cl-text") == "First line\nsecond line"
    kept = book.page.text_content(REPLY)
    book.page.click(".cl-box")
    book.page.keyboard.type("Next?")
    book.page.keyboard.press("Enter")
    book.page.wait_for_function("document.querySelectorAll('.cl-why')[3]?.textContent === 'done'")
    book.page.screenshot(path=screenshots / "panel_light.png")
    saved = book.save()
    outputs = saved["cells"][0]["outputs"]
    html = "".join(outputs[-1]["data"]["text/html"])
    assert "text/html" in outputs[0]["data"]
    assert "Transcript, 2 turns" in html
    assert "&lt;img src=x" in html
    assert html.count("こんにちは") >= kept.count("こんにちは") > 0
    assert "stopped, the text so far is kept" in html


def test_escape_stops_after_any_button(notebook: Callable[..., Notebook]) -> None:
    """JupyterLab takes the focus for itself wherever a view lets it go."""
    book = notebook("keys", CHAT.replace('[words, "Fine 世界."]', "words"))
    book.run_cell(0)
    book.page.wait_for_selector(".cl-box")
    book.page.fill(".cl-box", "Hi")
    for button in (".cl-send", ".cl-again"):
        book.page.click(button)
        book.page.wait_for_selector(".cl-stop[aria-disabled=false]")
        wait_for_length(book, 20)
        book.page.keyboard.press("Escape")
        book.wait_for_text(STATUS, "stopped")
    book.page.click(".cl-clear")
    book.page.wait_for_function("document.querySelectorAll('.cl-message').length === 0")
    assert book.page.evaluate("document.activeElement.className") == "cl-box"


def test_an_awaited_ask_is_replaced_by_its_static_form(notebook: Callable[..., Notebook]) -> None:
    book = notebook("ask", CHAT.replace("\nchat\n", ""),
                    "reply = await chat.ask('Hi')", "print(reply.finish_reason, len(reply.text))")  # fmt: skip
    book.run_all(wait=False)
    wait_for_length(book, 40)  # live while the cell waits
    book.page.click(".cl-stop")
    book.wait_done()
    book.page.wait_for_selector(".chatlab pre")
    assert book.page.locator(".cl-root").count() == 0
    assert "cancelled" in book.output(2).inner_text()
    data = book.save()["cells"][1]["outputs"][-1]["data"]
    assert set(data) == {"text/plain", "text/html"}
    assert "stopped, the text so far is kept" in "".join(data["text/html"])


def test_an_interrupt_stops_an_awaited_ask_and_keeps_the_text(notebook: Callable[..., Notebook]) -> None:
    book = notebook("interrupt", CHAT.replace("\nchat\n", ""), "reply = await chat.ask('Hi')",
                    "print(chat.running, repr(chat.transcript.messages[-1].finish_reason))")  # fmt: skip
    book.run_cell(0)
    book.page.wait_for_function("document.querySelectorAll('.jp-InputPrompt')[0].textContent.includes('1')")
    book.run_cell(1)
    wait_for_length(book, 40)
    started = time.perf_counter()
    book.interrupt()
    book.page.wait_for_selector(".chatlab pre")
    print(f"the interrupt took {1000 * (time.perf_counter() - started):.0f} ms")
    book.page.wait_for_function(f"/KeyboardInterrupt|CancelledError/.test(document.body.textContent) && {IDLE}")
    book.page.wait_for_timeout(300)  # after an error the kernel drops what was sent meanwhile
    book.run_cell(2)
    book.page.wait_for_function("document.body.textContent.includes(\"False 'cancelled'\")")


def test_a_blocking_loop_is_drawn_while_it_runs(notebook: Callable[..., Notebook]) -> None:
    book = notebook("blocking", """
import json
import time
from chatlab.widgets.stream_view import StreamView
view = StreamView(replace=False)
display(view)
for n in range(150):
    view.put(f"{n} ")
    time.sleep(0.02)
view.finish("eos")
""")  # fmt: skip
    book.run_all(wait=False)
    book.page.wait_for_function("(document.querySelector('.cl-text')?.textContent.length ?? 0) > 20", timeout=60_000)
    during = book.page.evaluate("document.querySelector('.cl-text').textContent")
    assert "149" not in during
    book.wait_done()
    book.wait_for_text(STATUS, "done")
    assert book.page.text_content(".cl-text") == "".join(f"{n} " for n in range(150))


def test_stop_reaches_a_cell_that_blocks_the_kernel(notebook: Callable[..., Notebook]) -> None:
    book = notebook("blocked", CHAT.replace("\nchat\n", ""),
                    "reply = chat.ask_sync('Hi')", "print(reply.finish_reason, len(reply.text))")  # fmt: skip
    book.run_all(wait=False)
    wait_for_length(book, 40)
    book.page.click(".cl-stop")
    book.wait_done()
    assert "cancelled" in book.output(2).inner_text()


def test_run_all_ends_each_awaiting_cell(notebook: Callable[..., Notebook]) -> None:
    """A page's message in the main shell, taken just as a cell ends, left the next cell at [*]: one in about a hundred."""
    ask = """
view = Heard(replace=False)
display(view)
await view.follow(iter("Hello"))
"""
    head = """
import threading
from chatlab import StreamView
threads = []
class Heard(StreamView):
    def _on_message(self, *args):
        threads.append(threading.current_thread().name)
        super()._on_message(*args)
"""
    book = notebook("awaiting", head, *[ask] * 20, "print(len(threads), 'heard by', set(threads[3:]))")
    book.run_all()
    heard = book.output(21).inner_text()  # the first messages may be quicker than the page's subshell
    assert "subshell" in heard
    assert "MainThread" not in heard


def test_a_reload_in_mid_stream_catches_up_and_two_views_agree(notebook: Callable[..., Notebook]) -> None:
    book = notebook("reload", CHAT, "chat")
    book.run_all()
    book.page.wait_for_function("document.querySelectorAll('.cl-box').length === 2")
    book.save()
    book.page.locator(".cl-box").first.fill("Hi")
    book.page.locator(".cl-box").first.press("Enter")
    wait_for_length(book, 40)
    book.load()
    book.page.wait_for_function("document.querySelectorAll('.cl-root').length === 2")
    wait_for_length(book, 100)
    assert book.page.locator(".cl-stop").first.is_enabled()  # it still streams
    texts = "[...document.querySelectorAll('.cl-message[data-role=assistant] .cl-text')].map((e) => e.textContent)"
    for _ in range(5):
        one, two = book.page.evaluate(texts)
        assert one.startswith(two) or two.startswith(one)  # each draws a message in its own turn of the event loop
    book.page.locator(".cl-stop").last.click()
    book.page.wait_for_function(
        "[...document.querySelectorAll('.cl-status')].every((e) => e.textContent.includes('stopped'))"
    )
    one, two = book.page.evaluate(texts)
    assert one == two
    assert one.startswith("0 こんにちは <img src=x onerror=alert(1)> 1 ")


KEPT = (
    """
from chatlab import ChatPromptMetaLlamaLlama2Chat, DriftExplorer, RevisionView, StreamView, load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from chatlab.revisions.compare import compare_revisions
tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
""",
    """
dialogues = list(read_dialogues(dialogues_path()))[:60]
explorer = DriftExplorer(measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, tokenizer))
explorer
""",
    "RevisionView(compare_revisions(tokenizer_path('phi3-style/before'), tokenizer_path('phi3-style/after'))).explore()",
    "view = StreamView(replace=False)\ndisplay(view)\ntext = await view.follow(['All of ', 'the <b>text</b>'])",
    "print(explorer.summary())",
)


def test_a_saved_notebook_tells_what_its_live_views_showed_last(
    notebook: Callable[..., Notebook], screenshots: Path
) -> None:
    """JupyterLab shows an error where a widget stood, and never the HTML beside it in the same output."""
    book = notebook("kept", *KEPT)
    book.page.set_viewport_size({"width": 1280, "height": 1800})
    for number in range(4):
        book.run_cell(number)
        book.page.wait_for_function(f"{PROMPTS}[{number}] === '[{number + 1}]:'", timeout=60_000)
    explorer, picker, stream = (book.output(number) for number in (1, 2, 3))
    first = explorer.locator("summary").inner_text()
    explorer.locator("select").nth(2).select_option("1")
    picker.locator("select").select_option(index=1)
    probe = picker.locator("select").input_value()
    explorer.locator("summary").filter(has_not_text=first).wait_for()
    picker.locator("summary").get_by_text(probe).wait_for()
    book.run_cell(4)
    book.page.wait_for_function(f"{PROMPTS}[4] === '[5]:'")
    said = book.output(4).inner_text().strip()
    assert said in explorer.locator("summary").inner_text()
    assert said not in first

    book.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    saved = book.save()
    assert max(len(json.dumps(output)) for cell in saved["cells"] for output in cell["outputs"]) < 200_000
    book.load()
    book.page.get_by_text("Error displaying widget: model not found").nth(2).wait_for()
    stills = (
        ("explorer", explorer, said),
        ("picker", picker, f"Probe {probe}"),
        ("stream", stream, "All of the <b>text</b>"),
    )
    for name, view, words in stills:
        assert not view.locator("details :is(p, h4, pre)").get_by_text(words).first.is_visible()
        view.locator("details > summary").first.focus()
        book.page.keyboard.press("Space")
        view.locator("details :is(p, h4, pre)").get_by_text(words).first.wait_for()
        view.screenshot(path=screenshots / f"kept_{name}.png")
    explorer.locator("figure img").nth(1).wait_for()
