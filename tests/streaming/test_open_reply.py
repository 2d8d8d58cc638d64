"""One owner of a reply's life: what a stream, a batch and a server do with a prompt's open reply."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.errors import ChatBusy, ContextLengthError, RoleOrderError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.streaming.open_reply import OpenReply
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine


class Counting(AbstractChatPrompt):
    """One character a message, and a count of how often it was written out."""

    rendered = 0

    def create_prompt(self, opts=None):
        Counting.rendered += 1
        return "".join(f"{c.get_message() or ''}|" for c in self.get_contents(opts))


def dialogue(*messages: str) -> Counting:
    prompt = Counting()
    for number, message in enumerate(messages):
        (prompt.add_responder_msg if number % 2 else prompt.add_requester_msg)(message)
    return prompt


def said(prompt: AbstractChatPrompt) -> list[str | None]:
    return [content.message for content in prompt.get_history()]


def test_it_is_opened_filled_and_left() -> None:
    prompt = dialogue("Hi")
    reply = OpenReply(prompt)
    assert said(prompt) == ["Hi", None]
    reply.fill("Hel")
    reply.fill("Hello")
    reply.end()
    reply.fill("late")
    reply.withdraw()
    assert said(prompt) == ["Hi", "Hello"]


@pytest.mark.parametrize("opened_before", [False, True])
def test_what_it_opened_it_takes_back_and_nothing_else(opened_before: bool) -> None:
    prompt = dialogue("Hi")
    if opened_before:
        prompt.add_responder_msg(None)
    before = said(prompt)
    with pytest.raises(KeyboardInterrupt), OpenReply(prompt):
        raise KeyboardInterrupt
    assert said(prompt) == before
    OpenReply(prompt).end()


def test_one_prompt_has_one_open_reply_until_it_ends_is_withdrawn_or_dropped() -> None:
    prompt = dialogue("Hi")
    for leave in (OpenReply.end, OpenReply.withdraw, lambda reply: None):
        reply = OpenReply(prompt)
        with pytest.raises(ChatBusy, match="close"):
            OpenReply(prompt)
        leave(reply)
        del reply
    assert said(prompt) == ["Hi", None]
    refused = pytest.raises(RoleOrderError, OpenReply, dialogue("Hi", "Ho"))  # kept, with its traceback
    assert "no question" in str(refused.value)


def test_a_prompt_that_was_refused_for_want_of_a_question_is_free_again() -> None:
    prompt = Counting()
    refused = pytest.raises(RoleOrderError, OpenReply, prompt)
    prompt.add_requester_msg("Hi")
    OpenReply(prompt).end()
    assert refused


def test_without_its_oldest_turn_a_dialogue_begins_with_the_next_question() -> None:
    prompt = dialogue("a", "b", "c", "d", "e")
    assert said(prompt.without_oldest_turn()) == ["c", "d", "e"]
    assert said(prompt.without_oldest_turn(2)) == ["e"]
    assert prompt.without_oldest_turn(3) is None
    assert prompt.without_oldest_turn(0) is None
    assert said(prompt) == ["a", "b", "c", "d", "e"]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(4, 60))
def test_the_fewest_turns_are_left_out(turns: int, context_len: int) -> None:
    """The number that dropping one turn after another gives: slow, obvious."""
    messages = [f"{n % 10}" * (1 + n % 4) for n in range(2 * turns - 1)]
    prompt, room = dialogue(*messages), context_len - min(2, context_len // 2)
    wanted = next((n for n in range(turns) if len("|".join(messages[2 * n :])) + 2 <= room), None)
    engine = ScriptedEngine("x")
    options = {"context_len": context_len, "max_new_tokens": 2, "overflow": "drop_turns"}
    if wanted is None:
        with pytest.raises(ContextLengthError, match="only its last turn"):
            stream(prompt, engine, **options)
    else:
        result = stream(prompt, engine, **options).result()
        assert result.dropped_turns == wanted
        assert "".join(map(chr, engine.prompts[0])) == "|".join(messages[2 * wanted :]) + "||"


def test_a_long_dialogue_is_written_out_a_few_times_only() -> None:
    prompt = dialogue(*("x" * 9 for _ in range(201)))
    Counting.rendered = 0
    stream(prompt, ScriptedEngine("x"), context_len=100, max_new_tokens=10, overflow="drop_turns").result()
    assert Counting.rendered <= 2 * (1 + 7)  # a text and its marked twin, for the whole and for each halving
