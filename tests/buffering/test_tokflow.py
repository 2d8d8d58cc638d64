"""Law L1 on TokFlow, its four modes, and what upstream documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.buffering.reference import replace_all
from chatlab.buffering.tokflow import TokFlow
from chatlab.errors import BufferingError, FragmentTypeError, FullTextMismatch
from tests.buffering.modes import MODES
from tests.buffering.strategies import cuts, law, patterns, texts


def run(flow: TokFlow, fragments: list[str], opts: dict[str, str]) -> list[str]:
    """Everything the calls returned, the flush last."""
    inputs = fragments
    if opts["in_type"] == "full":
        inputs = ["".join(fragments[: i + 1]) for i in range(len(fragments))]
    return [*(flow.put(text, opts) for text in inputs), flow.flush(opts)]


@law(1_000)
@given(st.data())
def test_all_four_modes_give_the_replaced_whole_text(data: st.DataObject) -> None:
    searches = data.draw(patterns())
    text = data.draw(texts(searches))
    fragments = data.draw(cuts(text))
    rules = {search: f"[{i}]" for i, search in enumerate(searches)}
    expected = replace_all(text, rules)
    flow = TokFlow(rules)
    pieces = run(flow, fragments, MODES[0])
    assert "".join(pieces) == expected
    assert run(flow, fragments, MODES[2]) == pieces
    wholes = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
    assert run(flow, fragments, MODES[1]) == wholes
    assert run(flow, fragments, MODES[3]) == wholes


@law(500)
@given(st.data())
def test_one_rule_is_str_replace(data: st.DataObject) -> None:
    (search,) = data.draw(patterns(max_size=1))
    text = data.draw(texts([search]))
    flow = TokFlow([(search, "\n")])
    assert "".join(run(flow, data.draw(cuts(text)), MODES[0])) == text.replace(search, "\n")


def test_held_text_waits_and_other_text_does_not() -> None:
    flow = TokFlow([("<NL>", "\n")])
    assert [flow.put(t) for t in ["there!<", "N", "L>m", "a <3 "]] == ["there!", "", "\nm", "a <3 "]
    assert (flow.held, flow.flush()) == ("", "")


def test_several_rules_work_at_once() -> None:
    flow = TokFlow([("<NL>", "\n"), ("</s>", ""), ("[EOT]", "end")])
    assert "".join([*(flow.put(c) for c in "a<NL>b</s>[EOT]c<N"), flow.flush()]) == "a\nbendc<N"


def test_replaced_text_is_never_scanned_again() -> None:
    flow = TokFlow([("a", "b"), ("b", "a"), ("<NL>", "<NL><NL>")])
    assert "".join([*(flow.put(c) for c in "ab<NL>"), flow.flush()]) == "ba<NL><NL>"


def test_an_empty_target_removes() -> None:
    assert TokFlow([("<s>", "")]).put("a<s>b") == "ab"


def test_no_rules_pass_everything() -> None:
    assert TokFlow([]).put("a<") == "a<"


def test_rules_may_be_a_mapping() -> None:
    assert TokFlow({"<NL>": "\n"}).put("a<NL>") == "a\n"


# End of text: flush, clear, and what comes after.


@pytest.mark.parametrize("opts", MODES)
def test_flush_gives_the_held_text_once(opts: dict[str, str]) -> None:
    flow = TokFlow([("<NL>", "\n")])
    assert flow.put("a<N", opts) == "a"
    assert flow.flush(opts) == ("a<N" if opts["out_type"] == "full" else "<N")
    assert flow.flush(opts) == ""


@pytest.mark.parametrize("opts", MODES)
def test_flush_without_options_keeps_the_modes_of_the_text(opts: dict[str, str]) -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("a<N", opts)
    assert flow.flush() == ("a<N" if opts["out_type"] == "full" else "<N")


def test_a_put_after_flush_begins_a_new_text_with_its_own_options() -> None:
    flow = TokFlow([("<NL>", "\n")])
    assert [flow.put("one<", MODES[3]), flow.flush(MODES[3])] == ["one", "one<"]
    assert [flow.put("NL>", MODES[0]), flow.flush()] == ["NL>", ""]


def test_the_fast_path_of_one_text_does_not_leak_into_the_next() -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("a")
    flow.put("b")
    flow.flush()
    assert [flow.put("c", MODES[3]), flow.put("cd")] == ["c", "cd"]


def test_clear_forgets_held_text_modes_and_former_input() -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("long text<N", MODES[3])
    flow.clear()
    assert flow.held == ""
    assert [flow.put("L>", MODES[1]), flow.flush()] == ["L>", "L>"]


def test_flush_before_any_put_is_empty() -> None:
    assert TokFlow([("a", "b")]).flush(MODES[3]) == ""


# Typed errors.


def test_a_full_input_that_does_not_extend_the_former_shows_where_they_part() -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("Hello th", MODES[2])
    with pytest.raises(FullTextMismatch, match="part at offset 6.*'Hello '.*'th'.*'wo'") as caught:
        flow.put("Hello wo", MODES[2])
    assert caught.value.offset == 6
    assert flow.put("Hello there<", MODES[2]) == "ere"


def test_a_shorter_full_input_does_not_extend_the_former() -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("Hello", MODES[3])
    with pytest.raises(FullTextMismatch, match="offset 4"):
        flow.put("Hell", MODES[3])


def test_the_same_full_input_again_adds_nothing() -> None:
    flow = TokFlow([("<NL>", "\n")])
    assert [flow.put("a<", MODES[2]), flow.put("a<", MODES[2]), flow.put("a<b", MODES[2])] == ["a", "", "<b"]


@pytest.mark.parametrize(
    "opts",
    [{"in_typ": "spot"}, {"in_type": "whole"}, {"out_type": None}, {"out_type": []}, "full", ["in_type"],
     {"skip_existing_stop_str": True}],
)  # fmt: skip
def test_unknown_options_are_refused(opts: object) -> None:
    flow = TokFlow([("<NL>", "\n")])
    with pytest.raises(BufferingError):
        flow.put("a", opts)  # type: ignore[arg-type]
    flow.put("a")
    with pytest.raises(BufferingError):
        flow.put("a", opts)  # type: ignore[arg-type]
    with pytest.raises(BufferingError):
        flow.flush(opts)  # type: ignore[arg-type]
    assert flow.put("b") == "b"


@pytest.mark.parametrize("later", MODES[1:])
def test_modes_cannot_change_within_a_text(later: dict[str, str]) -> None:
    flow = TokFlow([("<NL>", "\n")])
    flow.put("a<")
    with pytest.raises(BufferingError, match="began with"):
        flow.put("b", later)
    with pytest.raises(BufferingError, match="began with"):
        flow.flush(later)
    assert flow.flush() == "<"


def test_options_are_never_written_to_and_may_be_reused() -> None:
    opts = {"out_type": "full"}
    flow = TokFlow([("<NL>", "\n")])
    flow.put("a", opts)
    opts["out_type"] = "spot"
    with pytest.raises(BufferingError):
        flow.put("b", opts)
    assert opts == {"out_type": "spot"}


@pytest.mark.parametrize("opts", MODES)
def test_an_input_that_is_no_text_is_a_type_error(opts: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        TokFlow([("<NL>", "\n")]).put(3, opts)  # type: ignore[arg-type]


@pytest.mark.parametrize("rules", [[("", "x")], [("a", "x"), ("a", "y")], ["ab"], ("<NL>", "\n"), [("a", 1)]])
def test_bad_rules_are_refused(rules: object) -> None:
    with pytest.raises(BufferingError):
        TokFlow(rules)  # type: ignore[arg-type]


# Cost: what is kept does not grow in spot modes.


def test_spot_modes_keep_nothing_of_a_long_text() -> None:
    from tracemalloc import get_traced_memory, start, stop

    flow = TokFlow([("<NL>", "\n")])
    piece = "four <NL> b<"
    for _ in range(100):
        flow.put(piece)
    start()
    try:
        for _ in range(20_000):
            flow.put(piece)
        assert get_traced_memory()[1] < 10_000
    finally:
        stop()


@pytest.mark.parametrize("wrong", [3, None, b"x", ["x"]])
@pytest.mark.parametrize("in_type", ["spot", "full"])
@pytest.mark.parametrize("before", ["", "ab <", "a"])
def test_a_fragment_that_is_no_text_is_refused_by_its_kind_and_nothing_is_lost(
    wrong, in_type: str, before: str
) -> None:
    flow = TokFlow([("<NL>", "\n")])
    opts = {"in_type": in_type}
    shown = flow.put(before, opts)
    with pytest.raises(FragmentTypeError, match=f"a fragment of text is a str, not {type(wrong).__name__}: "):
        flow.put(wrong, opts)
    assert shown + flow.flush() == before
