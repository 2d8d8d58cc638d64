"""Stop, Clear and the next question while the model is in the midst of a step that hears nothing: none of them waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from chatlab import ChatPanel, ChatPromptMetaLlamaLlama2Chat, StreamView
from chatlab.engines.engine import Emitter, Engine, TokenStream
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatBusy, EngineError, RoleOrderError
from chatlab.testing import CodePointTokenizer
from chatlab.widgets.playback import Playback

LATE = " late words"


class Templated(CodePointTokenizer):
    """A tokenizer with a chat template."""

    wrapped = SimpleNamespace(chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")


class StuckEngine(Engine):
    """Says "now", then is deaf until the test lets it go; what it says after that comes too late.

    One that is asynchronous waits in a task of an event loop, as an engine before a server does.
    """

    def __init__(self, *, asynchronous: bool = False, end: BaseException | None = None) -> None:
        self.tokenizer = Templated()
        self.asked: list[str] = []
        self.stuck = threading.Event()
        self.go = threading.Event()
        self._work = self._wait_in_a_task if asynchronous else self._wait
        self._end = end
        self._threads: list[threading.Thread] = []

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        self.asked.append("".join(map(chr, prompt_ids)))
        emitter = Emitter()
        self._threads.append(threading.Thread(target=self._say, args=(emitter,), daemon=True))
        self._threads[-1].start()
        return TokenStream(emitter, prompt_len=len(prompt_ids), seed=seed)

    def _say(self, emitter: Emitter) -> None:
        for character in "now":
            emitter.token(ord(character))
        self._work()
        for character in LATE:
            emitter.token(ord(character))
        emitter.end("eos" if self._end is None else "error", self._end)

    def _wait(self) -> None:
        self.stuck.set()
        self.go.wait(60)

    def _wait_in_a_task(self) -> None:
        asyncio.run(asyncio.wait_for(asyncio.to_thread(self._wait), 60))

    @property
    def active_len(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Let every step end, and see what comes of it."""
        self.go.set()
        for thread in self._threads:
            thread.join(20)


class Panel:
    """A panel whose messages and playbacks the test sees, and an engine that is stuck in a step."""

    def __init__(self, chat: ChatPanel, engine: StuckEngine, sent: list[Any]) -> None:
        self.chat, self.engine, self.sent = chat, engine, sent

    def press(self, kind: str, text: str = "") -> None:
        self.chat._on_message(self.chat, {"kind": kind, "text": text}, [])

    def ask(self, text: str) -> Playback:
        """Ask by the button, and come back when all that the engine says at once is drawn."""
        self.engine.stuck.clear()
        self.press("send", text)
        playback = self.chat._playback
        assert playback is not None
        assert self.engine.stuck.wait(20)
        for _ in range(2000):
            if playback.text == "now":
                return playback
            threading.Event().wait(0.005)
        raise AssertionError("the first words did not come")

    def let_the_late_words_come(self) -> None:
        self.engine.close()
        for thread in threading.enumerate():
            if thread.name == "chatlab-playback":
                thread.join(20)
        self.chat.flush()

    @property
    def said(self) -> list[tuple[str, str, str | None]]:
        return [(m.role, m.text, m.finish_reason) for m in self.chat.transcript.messages]

    @property
    def history(self) -> list[str | None]:
        return [content.message for content in self.chat.prompt.get_history()]


PROMPTS = {"prompt class": ChatPromptMetaLlamaLlama2Chat, "the engine's template": lambda: None}


@pytest.fixture(params=PROMPTS)
def prompt(request: pytest.FixtureRequest) -> Any:
    return PROMPTS[request.param]()


@pytest.fixture(params=[False, True], ids=["thread", "asyncio"])
def panel(request: pytest.FixtureRequest, prompt: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    sent: list[Any] = []
    monkeypatch.setattr(ChatPanel, "send", lambda self, content, buffers=(): sent.append(content))
    # A handler may not wait, however short: what it would wait on is not there.
    monkeypatch.setattr(Playback, "finished", None)
    engine = StuckEngine(asynchronous=request.param)
    yield Panel(ChatPanel(engine, prompt, flush_s=1e6), engine, sent)
    engine.close()


def test_clear_forgets_at_once_and_the_late_words_do_not_come_back(panel: Panel) -> None:
    playback = panel.ask("Hi")
    panel.press("clear")
    assert playback.done
    assert not panel.chat.running
    assert (panel.said, panel.history) == ([], [])
    drawn = len(panel.sent)
    panel.let_the_late_words_come()
    assert panel.sent[drawn:] == []
    assert (panel.said, panel.history) == ([], [])
    assert playback.result().text == "now"
    assert playback.error is None


def test_a_question_right_after_clear_is_asked_and_stands_alone(panel: Panel) -> None:
    panel.ask("first")
    panel.press("clear")
    second = panel.ask("second")
    assert panel.chat.running
    assert [message for message in panel.sent if message["kind"] == "refused"] == []
    panel.let_the_late_words_come()
    assert second.wait().text == "now" + LATE
    assert panel.said == [("user", "second", ""), ("assistant", "now" + LATE, "eos")]
    assert panel.history == ["second", "now" + LATE]
    assert "first" not in panel.engine.asked[1]


def test_stop_keeps_the_words_so_far_at_once_and_the_next_question_may_come(panel: Panel) -> None:
    first = panel.ask("first")
    panel.press("stop")
    assert first.done
    assert panel.said[-1] == ("assistant", "now", "cancelled")
    assert panel.history == ["first", "now"]
    panel.ask("second")
    panel.let_the_late_words_come()
    assert panel.chat._playback is not None
    panel.chat._playback.wait()
    assert first.result().result.text == "now"
    assert [text for _, text, _ in panel.said] == ["first", "now", "second", "now" + LATE]
    assert panel.history == ["first", "now", "second", "now" + LATE]
    assert "now" in panel.engine.asked[1]


def test_regenerate_right_after_stop_answers_anew(panel: Panel) -> None:
    panel.ask("Hi")
    panel.press("stop")
    panel.press("regenerate")
    assert [message for message in panel.sent if message["kind"] == "refused"] == []
    panel.let_the_late_words_come()
    assert panel.chat._playback is not None
    panel.chat._playback.wait()
    assert panel.said == [("user", "Hi", ""), ("assistant", "now" + LATE, "eos")]
    assert panel.history == ["Hi", "now" + LATE]


def test_every_handler_returns_while_the_model_is_deaf(panel: Panel) -> None:
    panel.ask("Hi")
    panel.chat.settings = {**panel.chat.settings, "temperature": 0.5}
    for kind in ("send", "regenerate", "sync", "stop", "regenerate", "clear", "send", "stop", "clear"):
        panel.press(kind, "again")
    assert (panel.said, panel.history) == ([], [])
    assert not panel.engine.go.is_set()
    assert panel.engine.active_len == 3  # none of the three steps is over


class SlowPrompt(ChatPromptMetaLlamaLlama2Chat):
    """Its first question waits while the text is made, as a long one does."""

    made, entered, go = 0, threading.Event(), threading.Event()

    def create_prompt(self, opts: Any = None) -> str:
        type(self).made += 1
        if type(self).made == 1:
            self.entered.set()
            self.go.wait(20)
        return super().create_prompt(opts)


def test_of_two_who_ask_at_the_same_instant_one_is_answered_and_one_is_told() -> None:
    engine = StuckEngine()
    chat = ChatPanel(engine, SlowPrompt(), flush_s=1e6)
    refused: list[str] = []

    def ask(question: str) -> None:
        try:
            chat.ask(question, view=False)
        except ChatBusy:
            refused.append(question)

    pages = [threading.Thread(target=ask, args=(question,)) for question in ("first", "second")]
    pages[0].start()
    assert SlowPrompt.entered.wait(20)
    pages[1].start()
    pages[1].join(0.2)
    SlowPrompt.go.set()
    for page in pages:
        page.join(20)
    chat.stop()
    engine.close()
    assert refused == ["second"]
    assert [m.text for m in chat.transcript.messages if m.role == "user"] == ["first"]
    assert chat.prompt.get_history()[0].message == "first"
    assert len(engine.asked) == 1


def test_an_awaited_ask_ends_with_the_press_of_stop(panel: Panel) -> None:
    async def cell() -> Any:
        asking = panel.chat.ask("Hi", view=False)
        stopping = threading.Thread(target=lambda: (panel.engine.stuck.wait(20), panel.press("stop")))
        stopping.start()
        return await asyncio.wait_for(asking._wait(), 20)

    reply = asyncio.run(cell())
    assert (reply.finish_reason, reply.result.finish_reason) == ("cancelled", "cancelled")
    assert "now".startswith(reply.text)
    assert not panel.engine.go.is_set()


def test_the_view_has_its_end_though_the_history_was_taken_away() -> None:
    engine = StuckEngine()
    chat = ChatPanel(engine, flush_s=1e6)
    playback = chat.ask("Hi", view=False)
    assert engine.stuck.wait(20)
    chat.prompt.clear_history()  # by hand, where chat.clear() would have stopped the reply
    chat.stop()
    with pytest.raises(RoleOrderError):
        playback.wait()
    assert chat.transcript.messages[-1].finish_reason == "cancelled"
    engine.close()


def test_what_a_buffer_held_back_is_shown_when_it_is_stopped() -> None:
    engine = StuckEngine()
    chat = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), replacements=[("w!", "?")], flush_s=1e6)
    playback = chat.ask("Hi", view=False)
    try:
        while playback.text != "no":
            threading.Event().wait(0.005)
        chat.stop()
        assert playback.wait().text == "now"
        assert chat.prompt.get_responder_last_msg() == "now"
    finally:
        engine.close()


def test_a_step_that_fails_after_stop_is_nobodys_error() -> None:
    engine = StuckEngine(end=EngineError("too late"))
    chat = ChatPanel(engine, ChatPromptMetaLlamaLlama2Chat(), flush_s=1e6)
    playback = chat.ask("Hi", view=False)
    assert engine.stuck.wait(20)
    chat.stop()
    engine.close()
    assert playback.wait().finish_reason == "cancelled"


def test_a_plain_source_that_hangs_is_stopped_at_once_and_closed_when_it_wakes() -> None:
    stuck, go, closed = threading.Event(), threading.Event(), threading.Event()

    def fragments() -> Iterator[str]:
        try:
            yield "now"
            stuck.set()
            go.wait(60)
            yield LATE
        finally:
            closed.set()

    view = StreamView()
    playback = view.follow(fragments())
    assert stuck.wait(20)
    view.stop()
    assert (view.text, view.finish_reason, playback.wait()) == ("now", "cancelled", "now")
    go.set()
    assert closed.wait(20)
    assert (view.text, playback.text) == ("now", "now")


class Recorder:
    """A sink that notes what it gets, and may fail."""

    def __init__(self, fail: bool = False, on_put: Callable[[], None] = lambda: None) -> None:
        self.got: list[str] = []
        self._fail, self._on_put = fail, on_put

    def put(self, new: Any) -> None:
        self.got.append(new)
        self._on_put()

    def finish(self, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        self.got.append(finish_reason)
        if self._fail:
            raise OSError("the screen is gone")


def test_a_sink_that_fails_at_the_end_keeps_it_from_no_other_and_whoever_waits_hears_of_it() -> None:
    first, second = Recorder(fail=True), Recorder()
    playback = Playback(["a"], first, second)
    with pytest.raises(OSError, match="the screen is gone"):
        playback.wait()
    assert first.got == second.got == ["a", "eos"]


def test_a_sink_may_stop_the_stream_that_feeds_it_and_has_one_end() -> None:
    begin = threading.Event()

    def fragments() -> Iterator[str]:
        begin.wait(20)
        yield from "abc"

    sink, other = Recorder(on_put=lambda: playback.stop()), Recorder()
    playback = Playback(fragments(), sink, other)
    begin.set()
    assert playback.wait() == "a"
    assert (sink.got, other.got) == (["a", "cancelled"], ["cancelled"])


def test_many_who_stop_make_one_end() -> None:
    sink = Recorder()
    playback = Playback(iter(lambda: "x", None), sink)
    stoppers = [threading.Thread(target=playback.stop) for _ in range(8)]
    for thread in stoppers:
        thread.start()
    for thread in stoppers:
        thread.join(20)
    assert sink.got.count("cancelled") == 1
    assert sink.got[-1] == "cancelled"
