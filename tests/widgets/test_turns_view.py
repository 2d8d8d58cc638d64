"""The view of a conversation: ribbons that tell every id's fate, differences with their proof, size and safety."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import TurnsView, load_tokenizer, trace_turns
from chatlab.embedded import tokenizer_path
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.render import escaped
from chatlab.testing import CodePointTokenizer
from chatlab.turns.edits import Cause, Edit
from chatlab.turns.turns_trace import TurnsTrace, TurnTrace
from chatlab.widgets.turns.ribbon import CELL_CAP, SIGNS, Fate, cells_of, runs_of, said_len
from tests.support.payloads import PAYLOADS

TALK = Dialogue(
    id="talk",
    turns=(
        Turn(user="Where is Tokyo?", assistant=" In Japan. "),
        Turn(user="And Kyoto?", assistant="In Japan, too.\n"),
        Turn(user="Thanks."),
    ),
)


@pytest.fixture(scope="module")
def lost() -> TurnsTrace:
    return trace_turns(tokenizer_path("phi3-style/after"), TALK, stored="stripped")


def edit(start: int, stop: int, *, same: bool) -> Edit:
    return Edit(
        said_span=(start, stop), next_span=(start, stop), said_ids=(), next_ids=(), said_pieces=(), next_pieces=(),
        said_offset=0, next_offset=0, said_text="", next_text="", same_text=same, cause=Cause.UNEXPLAINED,
    )  # fmt: skip


@st.composite
def turns(draw: Any) -> TurnTrace:
    """A border whose edits lie in a row, the first one where the kept ids end."""
    length = draw(st.integers(1, 400))
    places = sorted(draw(st.lists(st.integers(0, length), max_size=8, unique=True)))
    spans = list(zip(places[::2], places[1::2], strict=False))
    edits = tuple(edit(*span, same=draw(st.booleans())) for span in spans)
    kept = spans[0][0] if spans else length
    return TurnTrace(
        number=1, prompt_len=length, reply_ids=(), reply="", end_len=0, kept_len=kept, lost_len=length - kept,
        cached_len=kept, reread_len=0, edits=edits, bridge_ids=(),
    )  # fmt: skip


def fates(turn: TurnTrace) -> list[Fate]:
    """The fate of each id, one by one."""
    found = [Fate.KEPT if at < turn.kept_len else Fate.BEHIND for at in range(said_len(turn))]
    for one in turn.edits:
        for at in range(*one.said_span):
            found[at] = Fate.SAME_TEXT if one.same_text else Fate.OTHER_TEXT
    return found


@given(turns())
def test_the_runs_cover_what_was_said_and_tell_each_ids_fate(turn: TurnTrace) -> None:
    drawn = [fate for (start, stop), fate in runs_of(turn) for _ in range(start, stop)]
    assert drawn == fates(turn)


@given(turns(), st.integers(1, 5))
def test_a_cell_shows_the_worst_of_the_ids_that_it_stands_for(turn: TurnTrace, times: int) -> None:
    cells, each = cells_of(turn, times * said_len(turn)), fates(turn)
    assert len(cells) == max(1, round(CELL_CAP / times))
    for at, fate in enumerate(cells):
        start, stop = at * len(each) / len(cells), (at + 1) * len(each) / len(cells)
        assert fate == max(f for n, f in enumerate(each) if n < stop and n + 1 > start)


def test_an_edit_that_only_puts_ids_in_is_seen() -> None:
    turn = TurnTrace(
        number=1, prompt_len=500, reply_ids=(), reply="", end_len=0, kept_len=250, lost_len=250, cached_len=250,
        reread_len=0, edits=(edit(250, 250, same=False),), bridge_ids=(),
    )  # fmt: skip
    assert cells_of(turn, 500).count(Fate.OTHER_TEXT) == 1
    end = replace(turn, kept_len=500, lost_len=0, edits=(edit(500, 500, same=False),))
    assert cells_of(end, 500)[-1] is Fate.OTHER_TEXT


def test_a_ribbon_tells_kept_and_lost_of_a_real_border(lost: TurnsTrace) -> None:
    for turn, ribbon in zip(lost.turns, TurnsView(lost).ribbons(), strict=True):
        assert ribbon.lstrip(SIGNS[Fate.KEPT])[0] in (SIGNS[Fate.SAME_TEXT], SIGNS[Fate.OTHER_TEXT])
        kept = len(ribbon) - len(ribbon.lstrip(SIGNS[Fate.KEPT]))
        assert kept == turn.kept_len * len(ribbon) // said_len(turn)


def test_each_difference_has_both_sides_its_proof_its_cure_and_whom_it_hurts(lost: TurnsTrace) -> None:
    html = TurnsView(lost).html()
    assert len(lost.edits) > 1
    for one in lost.edits:
        assert one.evidence is not None
        for words in (one.cause, one.evidence.changed, one.cure, ", ".join(one.hurts), one.layer):
            assert escaped(words) in html
        for token_id in (*one.said_ids, *one.next_ids):
            assert f"<sub>{token_id}</sub>" in html
    assert html.count("<details>") == len(lost.turns)
    assert html.count('<code aria-hidden="true">') == len(lost.turns)


def test_colour_is_never_the_only_sign(lost: TurnsTrace) -> None:
    html = TurnsView(lost).body()
    assert "<mark>≈" in html
    assert "<del><strong>×" in html
    assert len(set(SIGNS.values())) == len(Fate)
    assert all(sign in html for sign in SIGNS.values())


def test_a_kept_conversation_is_grey_and_says_so() -> None:
    view = TurnsView(trace_turns(tokenizer_path("phi3-style/before"), TALK))
    assert set("".join(view.ribbons())) == {"="}
    assert "all kept" in view.html()
    assert "<mark>" not in view.body()


def test_one_call_has_no_border_to_draw() -> None:
    view = TurnsView(trace_turns(CodePointTokenizer(), {"turns": [{"user": "Hi"}]}, prompt_class="chatml"))
    assert view.ribbons() == []
    assert "no border" in view.html()
    assert "no border" in str(view)


def test_a_trace_that_was_read_again_gives_the_same_page(lost: TurnsTrace) -> None:
    assert TurnsView(TurnsTrace.from_dict(lost.to_dict())).page() == TurnsView(lost).page()


def test_no_payload_becomes_markup() -> None:
    said = [Turn(user="Hi", assistant=f" {payload} ") for payload in PAYLOADS[::8]]
    trace = trace_turns(
        load_tokenizer(tokenizer_path("byte-bpe")), Dialogue(id="x", turns=(*said, Turn(user="Bye"))),
        prompt_class="chatml", stored="stripped",
    )  # fmt: skip
    body = TurnsView(trace).body()
    for forbidden in ("<script", "<img", "<svg", "<a ", "<iframe", "onerror=alert(1)>"):
        assert forbidden not in body.lower()


def test_many_differences_of_many_turns_stay_below_a_megabyte(lost: TurnsTrace) -> None:
    (one, *_) = lost.turns
    many = replace(one, edits=one.edits * 100)
    view = TurnsView(replace(lost, turns=(many,) * 700))
    assert len(view.page().encode()) < 1_000_000
    assert "more differences: to_frame() has them all" in view.body()
    assert "Too much to draw" in view.body()
    assert "Only the first 600 of 700 borders are drawn" in view.body()
