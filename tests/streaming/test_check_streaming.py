"""Somebody else's parser is held to our law: which cuttings change its answer, and the smallest of them."""

from __future__ import annotations

from typing import Any

import pytest

from chatlab.buffering.tokflow import TokFlow
from chatlab.errors import FragmentTypeError
from chatlab.streaming.channel_formats.registry import FORMATS
from chatlab.streaming.channels import ChannelSplitter
from chatlab.testing import check_streaming

SAMPLES = ["<think>\nHm <b>\n</think>\n\nHi", "no tags < at all", ""]


class Splitter:
    """Sees ``<think>`` only where it comes whole; a bug of many."""

    def __init__(self) -> None:
        self.channel = "content"

    def feed(self, text: str) -> tuple[str, str]:
        if text.startswith("<think>"):
            self.channel, text = "reasoning", text.removeprefix("<think>")
        return self.channel, text


class Lossy:
    """Keeps what may begin a tag, and loses it at the end."""

    held = ""

    def put(self, text: str) -> str:
        text, self.held = self.held + text, ""
        if text.endswith("<"):
            text, self.held = text[:-1], "<"
        return text

    def flush(self) -> str:
        return ""


@pytest.mark.parametrize(
    "parser",
    [
        TokFlow([("<b>", "B"), ("Hi", "Ho")]),
        lambda: ChannelSplitter(FORMATS["qwen3"]),
        ChannelSplitter(FORMATS["harmony"]),
        lambda fragments: "".join(fragments).upper(),
        lambda fragments: ({"content": fragment, "n": None} for fragment in fragments),
    ],
    ids=["object", "factory", "slots", "function", "generator of mappings"],
)
def test_a_parser_that_keeps_the_law_is_found_to(parser: Any) -> None:
    told = check_streaming(parser, SAMPLES)
    assert told.holds
    assert (told.changed_len, told.sample_len) == (0, 3)
    assert told.cutting_len > 50


@pytest.mark.parametrize("parser", [Splitter, Splitter()], ids=["class", "object"])
def test_the_smallest_example_comes_first(parser: Any) -> None:
    told = check_streaming(parser, ["a longer text", "<think>Hm", "<think>\nHm </think> and a great deal more"])
    assert not told.holds
    assert len(told.changed) == 2
    first = told.changed[0]
    assert first.text.startswith("<think>")
    assert len(first.fragments) == 2
    assert len(first.text) <= 9
    assert first.answer != first.whole_answer


def test_what_a_parser_raises_is_its_answer() -> None:
    class Fussy:
        def feed(self, text: str) -> str:
            if text == "<":
                raise ValueError("half a tag")
            return text

    first = check_streaming(Fussy, ["a<b"]).changed[0]
    assert first.fragments in {("<", "b"), ("a", "<")}
    assert first.answer == "ValueError: half a tag"
    assert first.whole_answer == first.text


def test_text_lost_at_the_end_is_no_matter_of_cutting() -> None:
    """It is lost in one piece, too; so the law holds, and another one is broken."""
    assert check_streaming(Lossy, ["a<"]).holds


def test_the_result_shows_itself_and_escapes_what_it_shows() -> None:
    told = check_streaming(Splitter, ["<think><script>"])
    assert "cuttings of 1 samples change the answer" in str(told)
    assert "<script>" not in told._repr_html_()


def test_an_answer_of_ones_own() -> None:
    def words(outputs: list[Any]) -> int:
        return len("".join(outputs[0]).split())

    assert check_streaming(lambda fragments: [f + " " for f in fragments], ["ab"], join=words).changed[0].answer == 2


@pytest.mark.parametrize(
    ("parser", "samples", "error"), [(3, ["a"], TypeError), (TokFlow([]), [b"a"], FragmentTypeError)]
)
def test_what_cannot_be_checked_is_refused(parser: Any, samples: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_streaming(parser, samples)
