"""The page of ``chatlab serve`` in a real browser, over a real server on loopback."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatlab.prompts.base import AbstractChatPrompt
from chatlab.server.chat_stream import ChatStream
from chatlab.server.limits import LOOPBACK_HOSTS
from chatlab.server.serving import Serving
from chatlab.server.site.app import create_app
from chatlab.server.site.chat import add_chat
from chatlab.server.site.page import page_routes
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from tests.browser.axe import RUN_AXE
from tests.support.payloads import PAYLOADS
from tests.support.templates import THINKING

FOREIGN = (
    "document.querySelectorAll('main :is(script, img, svg, a, iframe, style, object, form, base, link, b)').length"
)
TEXTS = "[...document.querySelectorAll('.cl-text')].map((element) => element.textContent)"


class Served:
    """A page over a server of this process, and all that went wrong in it."""

    def __init__(self, page: Any, url: str, engine: Any, serving: Any) -> None:
        self.page, self.url, self.engine, self.serving = page, url, engine, serving
        self.problems: list[str] = []
        self.allowed: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._asked(request.url))
        self.open()

    def _asked(self, url: str) -> None:
        if not url.startswith(self.url):
            self.problems.append(f"request: {url}")

    def open(self) -> None:
        self.page.goto(self.url)
        self.page.wait_for_selector(".cl-box:focus")

    def type(self, question: str) -> None:
        self.page.fill(".cl-box", question)
        self.page.press(".cl-box", "Enter")

    def ask(self, question: str) -> None:
        self.type(question)
        self.ended()

    def ended(self) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(".cl-stop")).to_have_attribute("aria-disabled", "true")
        expect(self.page.locator(".cl-message").last).not_to_have_attribute("data-finish", "")

    def shows(self, selector: str, text: str) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_be_visible()
        expect(self.page.locator(selector)).to_have_text(text)

    def texts(self) -> list[str]:
        return self.page.evaluate(TEXTS)

    def idle(self) -> bool:
        deadline = time.monotonic() + 5
        while self.serving.admission.load().running and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.serving.admission.load().running


@pytest.fixture
def served(chromium: Any) -> Iterator[Callable[..., Served]]:
    """Serve an engine's chat, open its page; what went wrong in the page fails the test."""
    made: list[tuple[Served, Any, Any, Any]] = []

    def serve(
        *replies: Any,
        width: int = 1400,
        scheme: str = "light",
        tokenizer: Any = None,
        delay: float = 0,
        bypass_csp: bool = False,
        **options: Any,
    ) -> Served:
        engine = ScriptedEngine(list(replies), tokenizer or CodePointTokenizer(), delay=delay)
        app, serving = app_of(engine, **options)
        server, thread, url = start(app)
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=bypass_csp
        )
        page = context.new_page()
        page.set_default_timeout(10_000)
        made.append((Served(page, url, engine, serving), context, server, thread))
        return made[-1][0]

    yield serve
    for _, context, server, thread in made:
        context.close()
        server.should_exit = True
        thread.join(10)
    assert [problem for one, *_ in made for problem in one.problems if problem not in one.allowed] == []


def start(app: Any) -> tuple[Any, threading.Thread, str]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    return server, thread, f"http://127.0.0.1:{port}/"


class Bare(AbstractChatPrompt):
    """A format without a system text or marks of its own."""

    def create_prompt(self, opts: Any = None) -> str:
        return "".join(f"[{c.get_message() or ''}" for c in self.get_contents(opts))


def app_of(engine: Any, *, fault: str = "", context_len: int = 100_000) -> tuple[Any, Any]:
    serving = Serving(engine)
    chat_stream = ChatStream(
        serving=serving,
        chat_prompt_clazz=Bare,
        context_len=context_len,
        max_new_tokens=9_000,
        allowed_hosts=LOOPBACK_HOSTS,
    )
    app = create_app(serving, page_routes(serving, name="tiny-llama2-chat", fault=fault), name="tiny")
    add_chat(app, chat_stream)
    return app, serving


def test_enter_sends_and_the_reply_streams(served: Callable[..., Served]) -> None:
    one = served("Hello 世界! " * 10, delay=0.01)
    one.type("Where is\nTokyo?")
    seen = set()
    while one.page.locator(".cl-stop").get_attribute("aria-disabled") == "false":
        seen.add(len(one.texts()[-1]) if len(one.texts()) > 1 else 0)
    one.ended()
    assert len(seen) > 3, "it grew on the screen"
    assert one.texts() == ["Where is\nTokyo?", "Hello 世界! " * 10]
    assert re.match(r"done, 100 tokens, \d", one.page.text_content(".cl-status"))
    assert one.page.input_value(".cl-box") == ""


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_stop_ends_the_answer_on_the_server_too_and_the_next_question_comes(
    served: Callable[..., Served], how: str
) -> None:
    one = served("x" * 5000, "Yes.", delay=0.01)
    one.type("Go on")
    one.page.wait_for_selector(".cl-message[data-role=assistant] .cl-block")
    one.page.keyboard.press("Escape") if how == "Escape" else one.page.click(".cl-stop")
    one.ended()
    assert one.page.locator(".cl-why").last.inner_text() == "stopped, the text so far is kept"
    assert one.idle()
    before = one.texts()[1]
    assert 0 < len(before) < 1000
    one.ask("And now?")
    assert one.texts() == ["Go on", before, "And now?", "Yes."]


def test_reload_keeps_the_history_and_new_chat_forgets_it(served: Callable[..., Served]) -> None:
    one = served("One.", "Two.")
    one.ask("a")
    one.ask("b")
    one.open()
    assert one.texts() == ["a", "One.", "b", "Two."]
    one.page.click(".cl-new")
    one.page.wait_for_selector(".cl-message", state="detached")
    one.open()
    assert one.texts() == []


def test_fifty_payloads_stay_text(served: Callable[..., Served]) -> None:
    """As questions and as replies, while they stream and after a reload, as text and as tokens."""
    some = [payload.replace("\0", "").replace("\r", "") for payload in PAYLOADS[-70:-20]]
    assert len(some) == 50
    turns = ["\n".join(some[n : n + 10]) for n in range(0, 50, 10)]
    one = served(*turns)
    for turn in turns:
        one.ask(turn)
    expected = [text for turn in turns for text in (turn, turn)]
    assert one.texts() == expected
    one.page.check("input[value=tokens]")
    for summary in one.page.locator(".cl-read summary").all():
        summary.click()
    one.page.wait_for_selector(".cl-ids .cl-chip")
    one.page.wait_for_timeout(200)
    assert one.page.evaluate(FOREIGN) == 0
    one.open()
    assert one.texts() == expected
    assert one.page.evaluate(FOREIGN) == 0


def thinking_tokenizer() -> CodePointTokenizer:
    """One whose template tells that replies think."""
    tokenizer = CodePointTokenizer()
    tokenizer.wrapped = SimpleNamespace(chat_template=THINKING)
    return tokenizer


def test_reasoning_is_folded_and_the_answer_is_not(served: Callable[..., Served]) -> None:
    one = served("<think>\nHm, b.\n</think>\n\nAn <b>answer</b>.", tokenizer=thinking_tokenizer())
    one.ask("Why?")
    folded = one.page.locator("details:has(.cl-reasoning)")
    assert folded.get_attribute("open") is None
    assert one.page.locator(".cl-content").inner_text() == "An <b>answer</b>."
    folded.locator("summary").click()
    one.shows(".cl-reasoning", "Hm, b.")


def test_the_glass_shows_the_ids_that_the_engine_read(served: Callable[..., Served]) -> None:
    one = served("One.", "Two.")
    one.ask("a")
    one.ask("b<")
    for number, read in enumerate(one.engine.prompts):
        glass = one.page.locator(".cl-read").nth(number)
        assert glass.locator("summary").inner_text().startswith(f"Read {len(read)} ids")
        glass.locator("summary").click()
        chips = glass.locator(".cl-chip small")
        chips.first.wait_for()
        assert [int(text) for text in chips.all_inner_texts()][: len(read)] == list(read)
    one.page.check("input[value=tokens]")
    shown = one.page.locator(".cl-chips").last.locator(".cl-chip small").all_inner_texts()
    assert [int(text) for text in shown] == list(map(ord, "Two."))


def test_shift_enter_breaks_the_line_and_nothing_is_not_sent(served: Callable[..., Served]) -> None:
    one = served("x")
    one.type("  ")
    one.page.fill(".cl-box", "ab")
    one.page.press(".cl-box", "Shift+Enter")
    assert one.page.input_value(".cl-box") == "ab\n"
    assert one.texts() == []


def test_a_refused_question_comes_back_into_the_box(served: Callable[..., Served]) -> None:
    one = served("x")
    one.page.route(
        "**/chat_stream",
        lambda route: route.fulfill(
            status=429,
            headers={"Retry-After": "3"},
            json={"error": "too_many_requests", "detail": "full, place 6"},
        ),
    )
    one.allowed.append("Failed to load resource: the server responded with a status of 429 (Too Many Requests)")
    one.type("Hello?")
    one.page.wait_for_selector(".cl-refusals p")
    assert one.page.inner_text(".cl-refusals") == "Not sent: full, place 6: ask again in 3 s"
    assert one.page.input_value(".cl-box") == "Hello?"
    assert one.texts() == []
    one.page.unroute("**/chat_stream")
    one.page.press(".cl-box", "Enter")
    one.ended()
    assert one.texts() == ["Hello?", "x"]
    assert one.page.inner_text(".cl-refusals") == ""


def test_regenerate_answers_the_last_question_again(served: Callable[..., Served]) -> None:
    one = served("One.", "Two.")
    one.ask("a")
    one.page.click(".cl-again")
    one.ended()
    assert one.texts() == ["a", "Two."]
    one.open()
    assert one.texts() == ["a", "Two."]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 700), ("light", 360)])
def test_it_is_accessible_and_fits(
    served: Callable[..., Served], axe: str, screenshots: Path, scheme: str, width: int
) -> None:
    replies = ["<think>\nHm.\n</think>\n\nIn Japan. 日本です。", "No."]
    one = served(
        *replies, width=width, scheme=scheme, tokenizer=thinking_tokenizer(), fault="writes BOS twice", bypass_csp=True
    )
    one.ask("Where is Tokyo?\n" + "w" * 200)
    one.ask("Sure?")
    one.page.screenshot(path=screenshots / f"page_{scheme}_{width}.png")
    one.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    one.page.locator(".cl-ids .cl-chip").first.wait_for()
    one.page.check("input[value=tokens]")
    one.page.screenshot(path=screenshots / f"page_tokens_{scheme}_{width}.png")
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    one.page.evaluate("(source) => { (0, window.eval)(source); }", axe)
    assert one.page.evaluate(RUN_AXE, ["main"]) == []
