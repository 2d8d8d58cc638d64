"""Every view in the light and the dark theme: no violation that axe-core finds, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatlab import ChatPromptMetaLlamaLlama2Chat, DriftExplorer, EchoView, load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from tests.browser.axe import RUN_AXE
from tests.support.lab import Notebook

pytestmark = pytest.mark.slow

CELLS = (
    """
from chatlab import ChatPanel, ChatPromptMetaLlamaLlama2Chat, EchoView, RevisionView, load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from chatlab.testing import ScriptedEngine
from chatlab.widgets.drift_explorer import DriftExplorer
tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
prompt = ChatPromptMetaLlamaLlama2Chat()
for question, answer in (("Where is Tokyo?", "In Japan."), ("東京は?", None)):
    prompt.add_requester_msg(question)
    prompt.add_responder_msg(answer)
""",
    """
engine = ScriptedEngine("日本です。 <NL>Yes, 3 < 5 &\\t🦩!</s>", tokenizer)
chat = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), show="tokens", replacements=[("<NL>", "\\n")])
display(chat)
reply = await chat.ask("Where?", view=False)
""",
    """
from chatlab import StreamView, stream
view = StreamView(show="buffer", replace=False)
display(view)
reply = await view.follow(stream("x", ScriptedEngine("Hello <NL>", tokenizer), replacements=[("<NL>", "|")]))
""",
    "EchoView.of_reply(tokenizer, prompt, '日本です。')",
    """
from chatlab.revisions.compare import compare_revisions
RevisionView(compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))).explore()
""",
    """
from chatlab import TurnsView, trace_turns
turns = [{"user": q, "assistant": a} for q, a in (("Where is Tokyo?", " In Japan. "), ("And Kyoto?", "Japan, too.\\n"))]
TurnsView(trace_turns(tokenizer_path("phi3-style/after"), {"turns": [*turns, {"user": "Bye"}]}, stored="stripped"))
""",
    """
frame = measure_drift(list(read_dialogues(dialogues_path()))[:60], ChatPromptMetaLlamaLlama2Chat, tokenizer)
DriftExplorer(frame)
""",
)
VIEWS = (".cl-root", ".chatlab")
RIBBON_LINES = """[...document.querySelectorAll(".chatlab summary > code")].map(
  (ribbon) => Math.round(ribbon.offsetHeight / parseFloat(getComputedStyle(ribbon).lineHeight)))"""


def test_light_and_dark(notebook: Callable[..., Notebook], axe: str, screenshots: Path) -> None:
    book = notebook("views", *CELLS)
    book.page.set_viewport_size({"width": 1280, "height": 2600})
    book.run_all()
    book.page.wait_for_selector(".cl-chip")
    book.page.wait_for_selector(".chatlab del")
    book.page.wait_for_selector(".chatlab figure img")
    assert book.page.locator(".jupyter-widgets-error-widget").count() == 0
    errors = book.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()
    assert errors == []
    assert book.page.evaluate(RIBBON_LINES) == [1, 1]
    book.page.evaluate("(source) => { (0, window.eval)(source); }", axe)
    problems: list[Any] = []
    for theme in ("Dark", "Light"):  # JupyterLab keeps the last one for the tests that follow
        book.page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})")
        book.page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached")
        book.page.wait_for_timeout(500)
        for number in range(1, len(CELLS)):
            cell = book.page.locator(".jp-CodeCell").nth(number)
            cell.scroll_into_view_if_needed()
            cell.screenshot(path=screenshots / f"view{number}_{theme.lower()}.png")
        book.page.evaluate("document.querySelectorAll('.chatlab details').forEach((part) => { part.open = true; })")
        problems += [(theme, violation) for violation in book.page.evaluate(RUN_AXE, list(VIEWS))]
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_page_fits_its_window_and_reads_in_both_schemes(page: Any, axe: str, scheme: str) -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    view = EchoView.of_reply(tokenizer, "<s>one</s><s> two", "日本です。" + "w" * 200)
    page.goto("about:blank")
    page.emulate_media(color_scheme=scheme)
    page.set_content(view.page().replace("default-src 'none'; ", "script-src 'unsafe-eval'; "))
    page.evaluate("(source) => { (0, window.eval)(source); }", axe)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(RUN_AXE, ["main"]) == []
    page.emulate_media(color_scheme="light")


def test_pictures_fit_a_narrow_pane(page: Any) -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    dialogues = list(read_dialogues(dialogues_path()))[:10]
    explorer = DriftExplorer(measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, tokenizer))
    page.goto("about:blank")
    pane = f'<div style="width: 400px; overflow: hidden">{explorer.html()}</div>'
    page.set_content(f"{pane}<div style='width: 2000px'>{explorer.html()}</div>")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    boxes = page.evaluate(
        "[...document.images].map((i) => [i.offsetWidth, i.offsetHeight, i.naturalWidth, i.naturalHeight])"
    )
    assert len(boxes) == 4
    for width, height, natural_width, natural_height in boxes[:2]:
        assert 390 < width <= 400 < natural_width
        assert height == pytest.approx(natural_height * width / natural_width, abs=1)
    assert all(box[:2] == box[2:] for box in boxes[2:])
