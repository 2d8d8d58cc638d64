"""The chat in a terminal: turns, interrupts, errors, and tokens shown."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from chatlab.engines.sampling import SamplingParams
from chatlab.streaming.terminal import _drawn, chat_in_terminal
from chatlab.testing import ScriptedEngine
from tests.streaming.asked import asked


def talk(engine, lines: Iterable[str | BaseException], prompt=None, **options):
    screen = io.StringIO()
    lines = iter(lines)
    prompt = prompt or new_prompt()

    def ask(_: str) -> str:
        line = next(lines, None)
        if line is None:
            raise EOFError
        if isinstance(line, BaseException):
            raise line
        return line

    console = Console(file=screen, width=80)
    results = chat_in_terminal(engine, prompt, console=console, ask=ask, **options)
    return prompt, results, screen.getvalue()


def new_prompt():
    prompt = asked("x")
    prompt.clear_history()
    return prompt


def test_turns_build_one_dialogue() -> None:
    prompt, results, screen = talk(ScriptedEngine(["Hello!", "Fine."]), ["Hi", "", "How are you?", "/quit", "never"])
    assert [c.message for c in prompt.get_history()] == ["Hi", "Hello!", "How are you?", "Fine."]
    assert [result.text for result in results] == ["Hello!", "Fine."]
    assert "Hello!\n" in screen


def test_an_interrupt_stops_the_answer_and_not_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(["a" * 200, "second"], delay=0.01)
    interrupt = threading.Thread(target=signal.pthread_kill, args=(threading.main_thread().ident, signal.SIGINT))

    def drawn(*args: Any) -> Text:
        if interrupt.ident is None:
            engine.delay = 60  # the first words are out, and the next ones do not come before the interrupt
            interrupt.start()
        return _drawn(*args)

    def lines() -> Iterator[str | BaseException]:
        yield "Hi"
        engine.delay = 0
        yield KeyboardInterrupt()
        yield "More"

    monkeypatch.setattr("chatlab.streaming.terminal._drawn", drawn)
    prompt, results, screen = talk(engine, lines())
    assert [result.finish_reason for result in results] == ["cancelled", "eos"]
    assert 0 < len(results[0].text) < 200
    assert [c.message for c in prompt.get_history()] == ["Hi", results[0].text, "More", "second"]
    assert "(cancelled, " in screen
    assert "Ctrl-D leaves" in screen


def test_an_error_is_told_and_its_turn_taken_back() -> None:
    engine = ScriptedEngine(["Hello", "fails", "again"], fail_at=None)

    def lines():
        yield "Hi"
        engine.fail_at = 2
        yield "Break"
        engine.fail_at = None
        yield "Go on"

    prompt, results, screen = talk(engine, lines())
    assert "error: the script says to fail" in screen
    assert [c.message for c in prompt.get_history()] == ["Hi", "Hello", "Go on", "again"]
    assert len(results) == 2


def test_a_message_that_does_not_fit_is_told() -> None:
    prompt, results, screen = talk(ScriptedEngine("ok"), ["x" * 2000, "Hi"])
    assert "no room for a reply" in " ".join(screen.split())
    assert [c.message for c in prompt.get_history()] == ["Hi", "ok"]


def test_commands_clear_and_retry() -> None:
    prompt, results, screen = talk(
        ScriptedEngine(["one", "two", "three"]), ["/retry", "Hi", "/retry", "/what", "/clear", "Ho"]
    )
    assert "no answer yet" in screen
    assert [result.text for result in results] == ["one", "two", "three"]
    assert [c.message for c in prompt.get_history()] == ["Ho", "three"]


def test_tokens_are_shown_with_their_ids() -> None:
    _, _, screen = talk(ScriptedEngine("hi"), ["x"], show_tokens=True, params=SamplingParams(max_new_tokens=5))
    assert "h104 i105 " in screen
    assert "(eos, 2 tokens, first after " in screen


def test_a_model_cannot_steer_the_terminal_or_its_markup() -> None:
    _, _, screen = talk(ScriptedEngine("\x1b[2J[red]x[/red]\u202e\r!"), ["x"])
    assert "\x1b" not in screen
    assert "[2J[red]x[/red]" in screen
    assert not {"\u202e", "\r"} & set(screen)
