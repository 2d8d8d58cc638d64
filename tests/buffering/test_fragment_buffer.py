"""Streams wrapped in one line: sync and async, ended, stopped, left early, failing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.buffering.reference import replace_all
from chatlab.buffering.sentence_stop import SentenceStop
from chatlab.buffering.tokflow import TokFlow
from chatlab.errors import FullTextMismatch
from tests.buffering.strategies import cuts, patterns, texts

FULL = {"in_type": "full", "out_type": "full"}


class Source:
    """A generator of fragments that remembers how far it ran and whether it was closed."""

    def __init__(self, *fragments: str, fault: Exception | None = None) -> None:
        self.fragments, self.fault = fragments, fault
        self.given = 0
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        try:
            for fragment in self.fragments:
                self.given += 1
                yield fragment
            if self.fault:
                raise self.fault
        finally:
            self.closed = True

    async def __aiter__(self) -> AsyncIterator[str]:
        for fragment in self:
            await asyncio.sleep(0)
            yield fragment


def nl() -> TokFlow:
    return TokFlow([("<NL>", "\n")])


@given(st.data())
def test_a_stream_is_the_replaced_text_without_empty_pieces(data: st.DataObject) -> None:
    searches = data.draw(patterns())
    text = data.draw(texts(searches))
    rules = {search: f"[{i}]" for i, search in enumerate(searches)}
    pieces = list(TokFlow(rules).stream(data.draw(cuts(text))))
    assert "".join(pieces) == replace_all(text, rules)
    assert "" not in pieces


def test_a_generator_of_fragments_is_wrapped_in_one_line() -> None:
    assert list(nl().stream(c for c in "a<NL>b<N")) == ["a", "\n", "b", "<N"]


def test_full_streams_give_the_whole_text_when_it_grows() -> None:
    assert list(nl().stream(["a", "a<", "a<N", "a<NL", "a<NL>", "a<NL>b<"], FULL)) == ["a", "a\n", "a\nb", "a\nb<"]


def test_a_stop_ends_the_stream_and_closes_the_generator() -> None:
    source, sentence = Source("a", "<N", "L>b", "c"), SentenceStop(["<NL>"])
    fragments = iter(source)
    assert list(sentence.stream(fragments)) == ["a"]
    assert (sentence.stop_str, source.given, source.closed) == ("<NL>", 3, True)


def test_stop_streams_take_their_options() -> None:
    opts = {**FULL, "skip_existing_stop_str": True}
    assert list(SentenceStop(["<NL>"]).stream(["a<NL>", "a<NL>b<NL>"], opts)) == ["a<NL>", "a<NL>b"]


def test_a_stream_flushes_once() -> None:
    flow = nl()
    assert list(flow.stream(["a<N"])) == ["a", "<N"]
    assert flow.flush() == ""


def test_leaving_early_gives_nothing_more_and_keeps_the_held_text_for_one_flush() -> None:
    source, flow = Source("a<N", "L>b", "c"), nl()
    stream = flow.stream(iter(source))
    assert next(stream) == "a"
    stream.close()
    assert (list(stream), source.closed, source.given) == ([], True, 1)
    assert [flow.flush(), flow.flush()] == ["<N", ""]


def test_a_stream_begins_a_new_text() -> None:
    flow = nl()
    for _ in range(2):
        for piece in flow.stream(["a<N", "L>b"]):
            assert piece == "a"
            break
    flow.flush()
    flow.put("<N", FULL)
    assert list(flow.stream(["L>"])) == ["L>"]


def test_the_fragments_exception_comes_after_the_held_text() -> None:
    flow = nl()
    stream = flow.stream(iter(Source("a<N", fault=OSError("model"))))
    assert [next(stream), next(stream)] == ["a", "<N"]
    with pytest.raises(OSError, match="model"):
        next(stream)
    assert flow.flush() == ""


def test_a_fault_of_the_input_comes_out_of_the_stream() -> None:
    stream = nl().stream(["a<", "b"], FULL)
    assert [next(stream), next(stream)] == ["a", "a<"]
    with pytest.raises(FullTextMismatch):
        next(stream)


def test_a_list_of_fragments_is_left_alone() -> None:
    fragments = ["a", "b"]
    assert list(nl().stream(fragments)) == fragments == ["a", "b"]


# The same with async fragments.


def gather(stream: AsyncIterator[str]) -> list[str]:
    async def all_of_it() -> list[str]:
        return [piece async for piece in stream]

    return asyncio.run(all_of_it())


def test_async_fragments_give_an_async_stream() -> None:
    assert gather(nl().stream(aiter(Source("a<", "NL>b", "<")))) == ["a", "\nb", "<"]


def test_an_async_stream_ends_at_a_stop_and_closes_the_generator() -> None:
    source, sentence = Source("a", "<N", "L>b", "c"), SentenceStop(["<NL>"])
    assert gather(sentence.stream(aiter(source))) == ["a"]
    assert (sentence.stop_str, source.given, source.closed) == ("<NL>", 3, True)


def test_leaving_an_async_stream_early_flushes_nothing_twice() -> None:
    source, flow = Source("a<N", "L>b"), nl()

    async def first() -> str:
        stream = flow.stream(aiter(source))
        piece = await anext(stream)
        await stream.aclose()
        return piece

    assert (asyncio.run(first()), source.closed) == ("a", True)
    assert [flow.flush(), flow.flush()] == ["<N", ""]


def test_an_async_exception_comes_after_the_held_text() -> None:
    seen = []

    async def all_of_it() -> None:
        async for piece in nl().stream(aiter(Source("a<N", fault=OSError("model")))):
            seen.append(piece)

    with pytest.raises(OSError, match="model"):
        asyncio.run(all_of_it())
    assert seen == ["a", "<N"]


def test_a_cancelled_task_leaves_the_held_text_to_flush() -> None:
    flow, source = nl(), Source("a<N", *["x"] * 1000)

    async def cancelled() -> None:
        async def consume() -> None:
            async for _ in flow.stream(aiter(source)):
                await asyncio.sleep(10)

        task = asyncio.create_task(consume())
        while flow.held == "":
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert [flow.flush(), flow.flush()] == ["<N", ""]
