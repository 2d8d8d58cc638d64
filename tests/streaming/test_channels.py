"""Law L10: however a reply is cut, each character has one channel, and nothing waits without need."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.errors import ChannelError, ChatlabError, FragmentTypeError
from chatlab.streaming.channel_formats.pairs import Pair, paired
from chatlab.streaming.channel_formats.reference import held_of, read_characters
from chatlab.streaming.channel_formats.registry import FORMATS
from chatlab.streaming.channels import (
    CHANNELS,
    Channels,
    ChannelSplitter,
    Crossing,
    Passage,
    State,
    join_passages,
    split_channels,
)

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CASES = 100_000 if NIGHTLY else 5_000
SEARCHED = 20_000 if NIGHTLY else 200
"""Hypothesis takes ten times as long a case, and finds what is small; the seeded cases are many."""

LETTERS = "ab<>"
ALPHABETS = {
    name: sorted({*channels.delimiters, "a", "<", '"', "\\", "\n", "{", " ", "|", "th"})
    for name, channels in FORMATS.items()
}


def characters(passages: list[Passage]) -> list[tuple[str, bool, str]]:
    return [(p.channel, p.delimiter, character) for p in passages for character in p.text]


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]


@st.composite
def machines(draw: st.DrawFn) -> Channels:
    """Any states with any crossings of few letters, so that they overlap, begin each other and hold each other."""
    names = ["0", "1", "2", "3"]
    texts = st.text(LETTERS, min_size=1, max_size=4)
    channel = st.sampled_from(["content", "reasoning", "tool_call"])
    states = []
    for name in names:
        crossings = tuple(
            Crossing(text, draw(st.sampled_from(names)), draw(st.booleans()))
            for text in draw(st.lists(texts, max_size=3, unique=True))
        )
        if name == "3" and crossings:
            states.append((name, State(channel=draw(channel), at_once=crossings, otherwise="0")))
        else:
            states.append((name, State(channel=draw(channel), crossings=crossings, silent=draw(st.booleans()))))
    return Channels(states=tuple(states), start=draw(st.sampled_from(names)))


@st.composite
def replies(draw: st.DrawFn) -> tuple[Channels, str]:
    if draw(st.booleans()):
        return draw(machines()), draw(st.text(LETTERS, max_size=24))
    name = draw(st.sampled_from(sorted(FORMATS)))
    return FORMATS[name], "".join(draw(st.lists(st.sampled_from(ALPHABETS[name]), max_size=12)))


def random_machine(draw: random.Random) -> Channels:
    """As :func:`machines`, some thirty times as fast."""
    states = []
    for name in "0123":
        texts = {"".join(draw.choices(LETTERS, k=draw.randint(1, 4))) for _ in range(draw.randint(0, 3))}
        crossings = tuple(Crossing(text, draw.choice("0123"), draw.random() < 0.5) for text in sorted(texts))
        channel = draw.choice(CHANNELS)
        if name == "3" and crossings:
            states.append((name, State(channel=channel, at_once=crossings, otherwise="0")))
        else:
            states.append((name, State(channel=channel, crossings=crossings, silent=draw.random() < 0.5)))
    return Channels(states=tuple(states), start=draw.choice("0123"))


@pytest.mark.timeout(1800)
def test_replies_cut_anywhere() -> None:
    draw = random.Random(10)
    for case in range(CASES):
        name = draw.choice(sorted(FORMATS))
        channels, letters = (FORMATS[name], ALPHABETS[name]) if case % 5 else (random_machine(draw), LETTERS)
        text = "".join(draw.choices(letters, k=draw.randint(0, 12)))
        check_law(channels, text, [draw.randint(0, len(text)) for _ in range(draw.randint(0, 6))])


@pytest.mark.timeout(1800)
@settings(max_examples=SEARCHED)
@given(replies(), st.lists(st.integers(0, 40), max_size=8))
def test_any_cutting_gives_the_same_and_nothing_waits_without_need(
    reply: tuple[Channels, str], places: list[int]
) -> None:
    check_law(*reply, places)


def check_law(channels: Channels, text: str, places: list[int]) -> None:
    splitter = ChannelSplitter(channels)
    given_out: list[Passage] = []
    put = ""
    for fragment in cut(text, places):
        given_out += splitter.put(fragment)
        put += fragment
        assert splitter.held == held_of(put, channels)
        assert "".join(p.text for p in given_out) + splitter.held == put
    given_out += splitter.flush()
    assert characters(given_out) == read_characters(text, channels)
    assert "".join(p.text for p in given_out) == text
    assert splitter.held == ""


def test_a_second_reply_begins_where_the_first_began() -> None:
    splitter = ChannelSplitter(FORMATS["qwen3"])
    first = join_passages([*splitter.put("<think>a"), *splitter.flush()])
    splitter.clear()
    assert join_passages([*splitter.put("<think>a"), *splitter.flush()]) == first


def said(text: str, channels: Channels) -> list[tuple[str, str]]:
    return [(p.channel, p.text) for p in split_channels(text, channels) if not p.delimiter]


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("qwen3", "<think>\nHm\n</think>\n\nHi", [("reasoning", "Hm"), ("content", "Hi")]),
        ("qwen3", "a <thin b", [("content", "a <thin b")]),
        ("think", "<think>a <think> b</think>c", [("reasoning", "a <think> b"), ("content", "c")]),
        ("mistral", 'Hi[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]"}[TOOL_CALLS]g{}',
         [("content", "Hi"), ("tool_call", 'f[ARGS]{"a": "[TOOL_CALLS]"}'), ("tool_call", "g{}")]),
        ("hermes", '<tool_call>\n{"name": "f", "arguments": {"s": "</tool_call> \\" </tool_call>"}}\n</tool_call>',
         [("tool_call", '{"name": "f", "arguments": {"s": "</tool_call> \\" </tool_call>"}}')]),
        ("hermes", '<tool_call>{"name": "f\n</tool_call> on', [("tool_call", '{"name": "f\n'), ("content", " on")]),
        ("qwen3.5", "<tool_call>\n<function=f>\n<parameter=s>\n</tool_call>\n</parameter>\n</function>\n</tool_call>",
         [("tool_call", "<function=f>\n<parameter=s>\n</tool_call>\n</parameter>\n</function>")]),
        ("harmony", "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>",
         [("reasoning", "Hm"), ("content", "Hi")]),
        ("harmony", "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
         [("tool_call", "functions.f <|constrain|>json<|message|>{}")]),
        ("harmony", "<|channel|>commentary<|message|>Wait.<|end|>", [("content", "Wait.")]),
        ("harmony", "Hi <|channel|>", [("content", "Hi <|channel|>")]),
        ("llama3", '{"name": "f", "parameters": {}}', [("tool_call", '{"name": "f", "parameters": {}}')]),
        ("llama3", 'A {"name": "f"}', [("content", 'A {"name": "f"}')]),
        ("deepseek", "Hm</think>Hi", [("content", "Hm</think>Hi")]),
        ("kimi-k2", "<think>Hm<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}"
         "<|tool_call_end|><|tool_calls_section_end|>",
         [("reasoning", "Hm"), ("tool_call", "functions.f:0<|tool_call_argument_begin|>{}")]),
    ],
)  # fmt: skip
def test_families(name: str, text: str, parts: list[tuple[str, str]]) -> None:
    assert said(text, FORMATS[name]) == parts


def test_a_prompt_that_wrote_the_opening_begins_the_reply_in_the_reasoning() -> None:
    """And the model may write it again."""
    begun = FORMATS["deepseek"].after("<｜User｜>Hi<｜Assistant｜><think>\n")
    assert said("Hm\n</think>\n\nHi", begun) == [("reasoning", "Hm"), ("content", "Hi")]
    assert said("<think>\nHm</think>Hi", begun) == [("reasoning", "Hm"), ("content", "Hi")]
    assert said("use <think> so</think>Hi", begun) == [("reasoning", "use <think> so"), ("content", "Hi")]


@pytest.mark.parametrize(
    "prompt",
    ["<|im_start|>user\nwhat is <think><|im_end|>\n<|im_start|>assistant\n", "…<think>\n\n</think>\n\n", ""],
    ids=["in a message", "closed", "empty"],
)
def test_an_opening_elsewhere_in_the_prompt_opens_nothing(prompt: str) -> None:
    assert said("Hi", FORMATS["qwen3"].after(prompt)) == [("content", "Hi")]


def test_a_header_that_the_prompt_wrote_is_not_needed() -> None:
    begun = FORMATS["harmony"].after("<|start|>assistant<|channel|>analysis<|message|>")
    assert said("Hm<|end|>", begun) == [("reasoning", "Hm")]
    assert said("<|channel|>final<|message|>Hi", FORMATS["harmony"].after("<|end|><|start|>assistant")) == [
        ("content", "Hi")
    ]


def test_a_closing_alone_ends_a_channel_that_the_reply_begins_in() -> None:
    assert said("Hm</think>Hi", paired(("reasoning", "", "</think>"))) == [("reasoning", "Hm"), ("content", "Hi")]


def test_a_special_token_is_no_text_that_looks_like_it() -> None:
    r"""By id: the text ``<|end|>``, spelled by other tokens, ends nothing; also not inside a string."""
    mark = "\ud800"
    marked = paired(Pair(channel="tool_call", opening="[C]", closing="[/C]", quote='"')).with_marks(
        {"[C]": mark, "[/C]": "\ud801"}
    )
    assert said(f'[C] {mark}"[/C] \ud801 on', marked) == [
        ("content", "[C] "),
        ("tool_call", '"[/C] '),
        ("content", " on"),
    ]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: paired(("thought", "<", ">")), "'thought' is no channel"),
        (lambda: paired(("reasoning", "", "")), "neither an opening nor a closing"),
        (lambda: paired("abc"), "is no \\(channel, opening, closing\\)"),
        (lambda: paired(("reasoning", "<", ">"), ("tool_call", "<", "]")), "must be different texts"),
        (lambda: Channels(states=(("content", State(channel="content", crossings=(Crossing("<", "x"),))),)), "leads to 'x'"),
        (lambda: Channels(states=(), start="s"), "no state 's'"),
        (lambda: Channels(states=(("content", State(channel="content", at_once=(Crossing("<", "content"),))),)), "choice"),
    ],
)  # fmt: skip
def test_channels_that_cannot_be_followed_are_refused(make, told: str) -> None:
    with pytest.raises(ChannelError, match=told) as raised:
        make()
    assert isinstance(raised.value, ChatlabError)


def test_a_fragment_is_a_text() -> None:
    with pytest.raises(FragmentTypeError):
        ChannelSplitter(FORMATS["qwen3"]).put(b"x")  # type: ignore[arg-type]
