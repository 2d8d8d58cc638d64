"""A conversation of 128 turns whose last prompt has 70,000 ids, each border of which loses something."""

from __future__ import annotations

from dataclasses import replace

from chatlab.embedded import tokenizer_path
from chatlab.turns.edits import Edit
from chatlab.turns.trace import trace_turns
from chatlab.turns.turns_trace import TurnsTrace, TurnTrace

TURNS, TOKENS = 128, 70_000


def long_trace() -> TurnsTrace:
    """A real short trace, whose borders follow one another behind ever longer prompts."""
    words = "and so the road went on and on, past the mill and over the bridge, until the sea lay below. " * 4
    talk = [{"user": words, "assistant": reply} for reply in (f" {words}\n", "Yes.", words)]
    short = trace_turns(tokenizer_path("phi3-style/after"), {"turns": [*talk, {"user": "Thanks."}]}, stored="stripped")
    step = TOKENS // TURNS
    turns = tuple(_moved(short.turns[n % len(short.turns)], n + 1, n * step) for n in range(TURNS))
    assert turns[-1].kept_len + turns[-1].lost_len >= TOKENS - step
    return replace(short, turns=turns)


def _moved(turn: TurnTrace, number: int, by: int) -> TurnTrace:
    longer = {name: getattr(turn, name) + by for name in ("prompt_len", "kept_len", "cached_len")}
    return replace(turn, number=number, edits=tuple(_edit(edit, by) for edit in turn.edits), **longer)


def _edit(edit: Edit, by: int) -> Edit:
    start, stop = edit.said_span
    return replace(edit, said_span=(start + by, stop + by))
