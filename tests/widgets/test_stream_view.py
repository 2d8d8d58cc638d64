"""The kernel's side of the stream view: messages, threads, the static form."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chatlab import stream
from chatlab.errors import EngineError, ViewError
from chatlab.testing import ScriptedEngine
from chatlab.widgets.stream_view import StreamView


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(StreamView, "send", lambda self, content, buffers=(): messages.append(content))
    return messages


def test_many_fragments_are_few_messages(sent: list[dict[str, Any]]) -> None:
    view = StreamView()
    for n in range(2000):
        view.put(f"{n} ")
    view.finish("eos")
    assert len(sent) <= 10
    assert view.text == "".join(f"{n} " for n in range(2000))


def test_a_slow_stream_is_sent_in_batches_and_whole_texts_now_and_then(sent: list[dict[str, Any]]) -> None:
    view = StreamView(flush_s=0.01)
    started = time.monotonic()
    while time.monotonic() - started < 1.2:
        view.put("x")
        time.sleep(0.001)
    view.finish("eos")
    kinds = [message["kind"] for message in sent]
    assert kinds.count("full") >= 3  # the first, at least one unasked, the last
    assert kinds.count("delta") > kinds.count("full")
    joined = "".join(message["text"] for message in sent if message["kind"] == "delta")
    assert len(joined) <= len(view.text)


def test_puts_from_many_threads_all_arrive(sent: list[dict[str, Any]]) -> None:
    view = StreamView(flush_s=0.001)
    threads = [threading.Thread(target=lambda: [view.put("x") for _ in range(3000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view.finish("eos")
    assert len(view.text) == 12_000


def test_the_flusher_ends_when_nothing_comes_and_starts_again(sent: list[dict[str, Any]], monkeypatch: Any) -> None:
    monkeypatch.setattr("chatlab.widgets.stream_view.IDLE_S", 0.02)
    view = StreamView(flush_s=0.005)
    for text in ("one", "two"):
        view.put(text)
        flusher = view._flusher
        assert flusher is not None
        flusher.join(5)
        assert not flusher.is_alive()
        assert sent[-1]["text"] == text


def test_follow_reads_a_stream_to_its_end_and_gives_its_result(sent: list[dict[str, Any]]) -> None:
    view = StreamView()
    result = view.follow(stream("Hi", ScriptedEngine("Hello you!"), stop=["!"])).wait()
    assert (result.text, view.text, view.finish_reason) == ("Hello you", "Hello you", "stop")


def test_stop_ends_a_followed_stream_before_its_first_token(sent: list[dict[str, Any]]) -> None:
    view = StreamView()
    playback = view.follow(stream("Hi", ScriptedEngine("Hello", delay=30)))
    view.stop()
    assert playback.finished(10)
    assert (view.text, view.finish_reason) == ("", "cancelled")


def test_stop_ends_a_plain_generator_and_closes_it(sent: list[dict[str, Any]]) -> None:
    closed = threading.Event()

    def fragments() -> Iterator[str]:
        try:
            while True:
                time.sleep(0.002)
                yield "x"
        finally:
            closed.set()

    view = StreamView()
    playback = view.follow(fragments())
    time.sleep(0.05)
    view.stop()
    text = playback.wait()
    assert closed.wait(10)
    assert view.finish_reason == "cancelled"
    assert text == view.text


def test_a_source_that_raises_ends_the_view_and_reaches_who_waits(sent: list[dict[str, Any]]) -> None:
    view = StreamView()
    playback = view.follow(stream("Hi", ScriptedEngine("Hello", fail_at=2)))
    with pytest.raises(EngineError, match="token 2"):
        playback.wait()
    assert (view.text, view.finish_reason) == ("He", "error")
    assert "token 2" in str(view.saved())


def test_the_saved_form_has_tokens_and_what_was_held() -> None:
    view = StreamView()
    view.follow(stream("Hi", ScriptedEngine("a<NL>b"), replacements=[("<NL>", "\n")])).wait()
    saved = view.saved()
    assert saved.text == "a\nb"
    html = saved.html()
    assert "6 tokens" in html
    assert "text was held back at 3 of 7 steps" in html
    assert "may begin &lt;NL&gt;" in html
    assert saved.to_frame()["held"].tolist() == ["", "<", "<N", "<NL", "", "", ""]


def test_a_long_table_is_cut_and_says_so() -> None:
    view = StreamView()
    view.follow(stream("Hi", ScriptedEngine("x" * 1000), max_new_tokens=1000)).wait()
    html = view.saved().html()
    assert "the first 300 of 1000 tokens" in html
    assert len(html) < 100_000


def test_messages_to_the_kernel_stop_or_synchronise(sent: list[dict[str, Any]]) -> None:
    view = StreamView()
    view._on_message(view, {"kind": "sync"}, [])
    assert sent[-1] == {"kind": "all"}
    view._on_message(view, {"kind": "stop"}, [])
    assert view.stopped
    view._on_message(view, {"kind": "nonsense"}, [])


def test_an_item_that_is_no_delta_is_an_error_and_no_hang() -> None:
    playback = StreamView(replace=False).follow([object()])
    assert playback.finished(20)
    with pytest.raises(ViewError, match="not object"):
        playback.wait()
