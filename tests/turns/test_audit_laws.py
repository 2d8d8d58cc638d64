"""Laws of the parts of an audit, each beside a slow obvious reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.snapshots.recorder import Watched
from chatlab.turns.audit.conversation import SHAPES, Conversation, called, result, said, user
from chatlab.turns.audit.places import shared_len, token_start
from chatlab.turns.audit.renders import CLOSE, OPEN, Refusal, Renders, unmarked
from chatlab.turns.audit.shrink import contains, shrink
from tests.support.clean_templates import CLEAN, FAULTS
from tests.support.own_renders import SPECIALS, render

TEXTS = st.text("ab \n<>", max_size=6)


SPOKEN = st.recursive(st.text("ab", max_size=3), lambda inner: st.lists(st.tuples(st.booleans(), inner), max_size=3))
"""Texts in which some parts, and parts of those, are marked."""


def written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "".join(f"{OPEN}{written(part)}{CLOSE}" if is_marked else written(part) for is_marked, part in value)


def flat(value: Any, marked: bool = False) -> list[tuple[str, bool]]:
    if isinstance(value, str):
        return [(character, marked) for character in value]
    return [pair for is_marked, part in value for pair in flat(part, marked or is_marked)]


@given(SPOKEN)
def test_a_mask_is_where_the_marks_stood(value: Any) -> None:
    found, wanted = unmarked(written(value)), flat(value)
    assert found.text == "".join(character for character, _ in wanted)
    inside = {n for start, end in found.spans for n in range(start, end)}
    assert inside == {n for n, (_, marked) in enumerate(wanted) if marked}


@given(TEXTS, TEXTS)
def test_a_token_start_never_lies_behind_the_place(one: str, other: str) -> None:
    at = shared_len(one, other)
    assert one[:at] == other[:at]
    assert at == min(len(one), len(other)) or one[at] != other[at]
    assert token_start(one, at) <= at


@st.composite
def talks(draw: st.DrawFn) -> Conversation:
    """Conversations that somebody could have had."""
    messages: list[dict[str, Any]] = [user(draw(TEXTS) or "q")]
    for _ in range(draw(st.integers(1, 3))):
        extra = {"reasoning_content": draw(TEXTS) or "t"} if draw(st.booleans()) else {}
        if draw(st.booleans()):
            names = ["look_up", "look_at"][: draw(st.integers(1, 2))]
            messages += [called(*names, **extra), *(result("r", n) for n, _ in enumerate(names))]
        messages += [said(draw(TEXTS) or "a", **extra), user(draw(TEXTS) or "q")]
    return Conversation(tuple(messages), tools=draw(st.booleans()))


PREDICATES = {
    "a call": lambda c: any("tool_calls" in m for m in c.messages),
    "two calls": lambda c: any(len(m.get("tool_calls", ())) == 2 for m in c.messages),
    "reasoning and a question after it": lambda c: any("reasoning_content" in m for m in c.messages[:-1]),
    "a text with a blank": lambda c: any(" " in m["content"] for m in c.messages),
    "two questions": lambda c: sum(m["role"] == "user" for m in c.messages) == 2,
}


@pytest.mark.parametrize("name", PREDICATES)
@given(talk=talks())
@settings(deadline=None)
def test_a_shrunk_conversation_shows_it_still_and_is_no_bigger(name: str, talk: Conversation) -> None:
    shows = PREDICATES[name]
    if shows(talk):
        least = shrink(talk, shows)
        assert shows(least)
        assert len(str(least.messages)) <= len(str(talk.messages))
        assert shrink(least, shows).key == least.key
        assert len(least.messages) <= 3


@given(talks())
def test_a_conversation_contains_itself_and_its_parts(talk: Conversation) -> None:
    assert contains(talk, talk)
    assert all(contains(talk, talk.until(end)) for end in range(1, len(talk.messages)))
    assert not contains(talk.until(1), talk)


@pytest.mark.parametrize("template", [*CLEAN.values(), *(fault.template for fault in FAULTS)])
def test_the_template_that_can_be_changed_writes_what_the_plain_one_writes(template: str) -> None:
    """The null control of every cause: unchanged, it is the template; transformers' own environment is the judge."""
    renders = Renders({"default": template}, SPECIALS)
    for shape in SHAPES.values():
        for opened in (False, True):
            try:
                found: str | None = renders.text(shape, opened)
            except Refusal:
                found = None
            try:
                wanted: str | None = render(template, shape.messages, opened, tools=shape.tools)
            except Exception:  # the template raises what it likes
                wanted = None
            if "strftime_now" not in template:
                assert _bare(found) == _bare(wanted)
    assert Watched(template).branches == Renders({"default": template}, SPECIALS)._compiled[template].branches


def _bare(text: str | None) -> str | None:
    """A render without the tool's own description, which the two sides word otherwise."""
    return None if text is None else text.partition('{"type": "function"')[0] + text.partition("}}}")[2]
