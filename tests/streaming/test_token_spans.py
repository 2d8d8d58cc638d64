"""Which token wrote which characters: law of the ledger, under hold-back, replacements and stops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine
from tests.streaming.pieces import Llama


def told(deltas) -> list[list[tuple[int, int]]]:
    """The spans of each token, gathered from all deltas."""
    spans: list[list[tuple[int, int]]] = []
    for delta in deltas:
        for number, span in enumerate(delta.token_spans, delta.first_token):
            spans += [[] for _ in range(number + 1 - len(spans))]
            spans[number].append(span)
    return spans


def test_text_that_was_held_back_is_told_token_by_token() -> None:
    llama = Llama("Hello", "▁!", "x")
    reply = stream(llama.ids("x"), ScriptedEngine(llama.ids("Hello", "▁!"), llama.tokenizer), stop=["Helloxxx"])
    deltas = list(reply)
    assert [(d.text, d.text_start, d.text_end, d.token_spans) for d in deltas] == [
        ("", 0, 0, ()),
        ("Hello !", 0, 7, ((0, 5), (5, 7))),
        ("", 7, 7, ()),
    ]
    assert deltas[1].first_token == 0


def test_a_token_that_is_shown_in_parts_is_told_in_parts() -> None:
    llama = Llama("ab<", "c", "x")
    engine = ScriptedEngine(llama.ids("ab<", "c"), llama.tokenizer)
    assert told(stream(llama.ids("x"), engine, stop=["<s"])) == [[(0, 2), (2, 3)], [(3, 4)]]


def test_a_replacement_belongs_to_the_token_that_completes_it_and_a_stop_to_none() -> None:
    llama = Llama("a<", "NL", ">b", "#", "##", "x")
    engine = ScriptedEngine(llama.ids("a<", "NL", ">b", "#", "##"), llama.tokenizer)
    reply = stream(llama.ids("x"), engine, stop=["###"], replacements={"<NL>": "--"})
    assert told(reply) == [[(0, 1), (1, 1)], [(1, 1)], [(1, 4)], [(4, 4)], [(4, 4)]]
    assert reply.text == "a--b"


def test_a_character_of_several_tokens_belongs_to_the_one_that_completes_it() -> None:
    llama = Llama("x")
    engine = ScriptedEngine([*llama.hex_ids("é"), *llama.hex_ids("é")[:1]], llama.tokenizer)
    assert told(stream(llama.ids("x"), engine)) == [[(0, 0)], [(0, 1)], [(1, 1), (1, 2)]]


patterns = st.lists(st.text("ab#", min_size=1, max_size=3), max_size=3, unique=True)


@given(
    st.text("ab#", max_size=20),
    st.dictionaries(st.text("ab#", min_size=1, max_size=3), st.text("xyz", max_size=3), max_size=2),
    patterns,
)
def test_the_spans_of_a_step_cover_what_it_showed(text: str, replacements: dict[str, str], stops: list[str]) -> None:
    reply = stream("x", ScriptedEngine(text), replacements=replacements, stop=stops)
    deltas = list(reply)
    for delta in deltas:
        ends = [delta.text_start, *(end for _, end in delta.token_spans)]
        assert [start for start, _ in delta.token_spans] == ends[:-1]
        assert ends[-1] == delta.text_end
    spans = told(deltas)
    assert len(spans) == len(reply.token_ids)
    assert all(spans)
    if not replacements:
        shown = ["".join(reply.text[a:b] for a, b in parts) for parts in spans]
        assert shown == [c if i < len(reply.text) else "" for i, c in enumerate(text[: len(spans)])]
