"""SentenceStop: the text before the stop that completes first, for every chunking and mode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.buffering.reference import find_stop
from chatlab.buffering.sentence_stop import SentenceStop, StopResult
from chatlab.errors import BufferingError, FullTextMismatch
from tests.buffering.modes import MODES
from tests.buffering.strategies import cuts, law, patterns, texts


def run(sentence: SentenceStop, fragments: list[str], opts: dict[str, object]) -> tuple[list[str], StopResult]:
    """What every call gave (the flush last, also after a stop) and the result of the last put."""
    full = opts["in_type"] == "full"
    inputs = ["".join(fragments[: i + 1]) for i in range(len(fragments))] if full else fragments
    results = [sentence.put(text, opts) for text in inputs]
    return [*(result["text"] for result in results), sentence.flush(opts)], results[-1]


@law(1_000)
@given(st.data())
def test_all_four_modes_give_the_text_before_the_earliest_stop(data: st.DataObject) -> None:
    stops = data.draw(patterns())
    text = data.draw(texts(stops))
    fragments = data.draw(cuts(text))
    found = find_stop(text, stops)
    sentence = SentenceStop(stops)
    pieces, last = run(sentence, fragments, MODES[0])
    assert "".join(pieces) == (text[: found[0]] if found else text)
    assert (last["stop_str"], last["stop_str_found"]) == ((found[1], True) if found else (None, False))
    wholes = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
    assert run(sentence, fragments, MODES[2])[0] == pieces
    assert run(sentence, fragments, MODES[1])[0] == wholes
    assert run(sentence, fragments, MODES[3])[0] == wholes


@law(500)
@given(st.data())
def test_existing_stops_of_the_first_text_are_passed_by_position(data: st.DataObject) -> None:
    stops = data.draw(patterns())
    first = data.draw(texts(stops))
    text = data.draw(texts(stops))
    fragments = data.draw(cuts(text))
    passed = offset = 0
    while offset < len(first):
        longest = max((len(stop) for stop in stops if first.startswith(stop, offset)), default=0)
        offset += longest or 1
        passed = offset if longest else passed
    found = find_stop((first + text)[passed:], stops)
    expected = (first + text)[: passed + found[0]] if found else first + text
    for modes in MODES:
        opts = {**modes, "skip_existing_stop_str": True}
        given_out, last = run(SentenceStop(stops), [first, *fragments], opts)
        assert (given_out[-1] if modes["out_type"] == "full" else "".join(given_out)) == expected
        assert last["stop_str"] == (found[1] if found else None)


def test_possible_says_that_a_stop_might_be_beginning() -> None:
    sentence = SentenceStop(["<NL>"])
    seen = [sentence.put(t) for t in ["a", "<", "N", "o", "<NL>b"]]
    assert [r["possible"] for r in seen] == [False, True, True, False, False]
    assert [r["text"] for r in seen] == ["a", "", "", "<No", ""]


def test_put_returns_the_four_documented_keys() -> None:
    assert list(SentenceStop(["<NL>"]).put("a<NL>b")) == ["text", "stop_str_found", "possible", "stop_str"]


def test_after_a_stop_everything_is_discarded_and_put_says_so() -> None:
    sentence = SentenceStop(["<NL>", "###"])
    assert sentence.put("a<NL>b#")["text"] == "a"
    late = sentence.put("##c")
    assert late == {"text": "", "stop_str_found": True, "possible": False, "stop_str": "<NL>"}
    assert (sentence.stop_str, sentence.held, sentence.flush()) == ("<NL>", "", "")


def test_after_a_stop_full_output_stays_the_text_before_it() -> None:
    sentence = SentenceStop(["<NL>"])
    assert [sentence.put(t, MODES[3])["text"] for t in ["a", "a<NL>", "a<NL>b", "rewritten"]] == ["a"] * 4
    assert sentence.flush(MODES[3]) == "a"


def test_flush_and_clear_begin_a_new_text() -> None:
    sentence = SentenceStop(["<NL>"])
    sentence.put("a<NL>")
    sentence.flush()
    assert (sentence.stop_str, sentence.put("b<")["text"], sentence.flush()) == (None, "b", "<")
    sentence.put("a<NL>")
    sentence.clear()
    assert sentence.put("c", MODES[3])["text"] == "c"


def test_flush_gives_held_text_if_no_stop_came() -> None:
    sentence = SentenceStop(["<NL>"])
    assert [sentence.put("a<N")["text"], sentence.flush(), sentence.flush()] == ["a", "<N", ""]


# skip_existing_stop_str

SKIP = {"skip_existing_stop_str": True}


def test_a_stop_that_only_begins_in_the_first_text_stops() -> None:
    sentence = SentenceStop(["<NL>"])
    assert sentence.put("a<NL>b<N", SKIP)["text"] == "a<NL>b"
    assert sentence.put("L>", SKIP) == {"text": "", "stop_str_found": True, "possible": False, "stop_str": "<NL>"}


def test_characters_of_an_existing_stop_take_no_part_in_a_later_one() -> None:
    sentence = SentenceStop(["##"])
    assert [sentence.put(t, SKIP)["text"] for t in ["a##", "#", "b"]] == ["a##", "", "#b"]


@pytest.mark.parametrize("stop", ["*", "**", "*_*"])
def test_no_mask_character_can_collide(stop: str) -> None:
    sentence = SentenceStop([stop, "<NL>"])
    opts = {**SKIP, "mask_char": "*"}
    assert sentence.put(f"a<NL>b{stop}c", opts) == {
        "text": f"a<NL>b{stop}c", "stop_str_found": False, "possible": False, "stop_str": None
    }  # fmt: skip
    assert sentence.put(f"d{stop}e", opts)["text"] == "d"
    assert sentence.stop_str == stop


def test_a_mask_character_changes_nothing() -> None:
    for masked in (SentenceStop(["<NL>"], mask_char="<"), SentenceStop(["<NL>"])):
        assert masked.put("a<NL>b", {**SKIP, "mask_char": "N"})["text"] == "a<NL>b"
        assert masked.put("c<NL>d")["text"] == "c"


def test_without_the_option_the_first_text_is_searched() -> None:
    assert SentenceStop(["<NL>"]).put("a<NL>b", {"skip_existing_stop_str": False})["text"] == "a"


def test_the_option_may_be_left_out_later_but_not_come_late() -> None:
    sentence = SentenceStop(["<NL>"])
    sentence.put("<NL>", SKIP)
    assert sentence.put("a", {"skip_existing_stop_str": False})["text"] == "a"
    assert sentence.put("<NL>")["stop_str_found"]
    sentence.clear()
    sentence.put("a")
    with pytest.raises(BufferingError, match="first put"):
        sentence.put("b", SKIP)


def test_each_text_skips_in_its_own_first_text() -> None:
    sentence = SentenceStop(["<NL>"])
    for _ in range(2):
        assert sentence.put("<NL>", SKIP)["text"] == "<NL>"
        assert sentence.put("a<NL>", SKIP)["stop_str"] == "<NL>"
        sentence.clear()


def test_a_first_put_that_fails_does_not_use_up_the_skipping() -> None:
    sentence = SentenceStop(["<NL>"])
    with pytest.raises(TypeError):
        sentence.put(None, SKIP)  # type: ignore[arg-type]
    assert sentence.put("<NL>a", SKIP)["text"] == "<NL>a"


# Typed errors.


@pytest.mark.parametrize(
    "opts",
    [{"stop": "x"}, {"skip_existing_stop_str": 1}, {"mask_char": None}, {"in_type": "all"}, "spot"],
)
def test_unknown_options_are_refused(opts: object) -> None:
    with pytest.raises(BufferingError):
        SentenceStop(["<NL>"]).put("a", opts)  # type: ignore[arg-type]


@pytest.mark.parametrize("stops", ["<NL>", [""], [None]])
def test_bad_stop_strings_are_refused(stops: object) -> None:
    with pytest.raises(BufferingError):
        SentenceStop(stops)  # type: ignore[arg-type]


def test_a_full_input_that_does_not_extend_the_former_is_refused() -> None:
    sentence = SentenceStop(["<NL>"])
    sentence.put("はい、こ", MODES[3])
    with pytest.raises(FullTextMismatch, match="offset 2.*'はい'.*'、こ'.*'。'"):
        sentence.put("はい。", MODES[3])


def test_no_stop_strings_pass_everything() -> None:
    assert SentenceStop([]).put("a<")["text"] == "a<"
