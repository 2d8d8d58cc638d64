"""Law L1 on the scanner: replacement, stop, hold-back and offsets, for every chunking."""

from __future__ import annotations

import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.buffering.reference import find_stop, longest_held, may_begin, replace_all, scan_whole
from chatlab.buffering.scanner import Scanner, _Finder
from chatlab.errors import BufferingError
from tests.buffering.strategies import cuts, law, patterns, texts


def chunkings(text: str) -> list[list[str]]:
    """Every way to cut a short text."""
    every = []
    for places in range(2 ** max(len(text) - 1, 0)):
        fragments = [""]
        for i, character in enumerate(text):
            if i and places >> (i - 1) & 1:
                fragments.append("")
            fragments[-1] += character
        every.append(fragments)
    return every


def feed(scanner: Scanner, fragments: list[str]) -> str:
    return "".join(map(scanner.put, fragments)) + scanner.flush()


def marked(searches: list[str]) -> dict[str, str]:
    """Targets that say which search string was replaced, some of them holding patterns themselves."""
    return {search: f"«{i}{search if i % 2 else ''}»" for i, search in enumerate(searches)}


@law(1_000)
@given(st.data())
def test_replacement_is_leftmost_longest_for_every_chunking(data: st.DataObject) -> None:
    searches = data.draw(patterns())
    text = data.draw(texts(searches))
    fragments = data.draw(cuts(text))
    scanner = Scanner(marked(searches))
    assert feed(scanner, fragments) == replace_all(text, marked(searches))


@law(1_000)
@given(st.data())
def test_the_stop_completes_first_for_every_chunking(data: st.DataObject) -> None:
    stops = data.draw(patterns())
    text = data.draw(texts(stops))
    fragments = data.draw(cuts(text))
    scanner = Scanner(stops=stops)
    shown = feed(scanner, fragments)
    found = find_stop(text, stops)
    assert (shown, scanner.stop, scanner.stop_offset) == (
        (text[: found[0]], found[1], found[0]) if found else (text, None, None)
    )


@law(5_000)
@given(st.data())
def test_stops_and_replacements_together_equal_the_whole_text_scan(data: st.DataObject) -> None:
    pool = data.draw(patterns())
    text = data.draw(texts(pool))
    fragments = data.draw(cuts(text))
    middle = data.draw(st.integers(0, len(pool)))
    searches, stops = pool[:middle], pool[middle:]
    scanner = Scanner(marked(searches), stops)
    shown = ""
    for fragment in fragments:
        shown += scanner.put(fragment)
        assert scanner.shown_len == len(shown)
        if scanner.stop is None:
            assert scanner.released_len + len(scanner.held) == scanner.raw_len
    shown += scanner.flush()
    assert (shown, scanner.stop) == scan_whole(text, marked(searches), stops)
    # Nothing is lost: what was shown, the stop and what was discarded are the raw text.
    assert scanner.raw_len == len(text)
    assert scanner.released_len + len(scanner.stop or "") + scanner.discarded_len == len(text)
    assert scanner.shown_len == len(shown)
    assert shown == replace_all(text[: scanner.released_len], marked(searches))


@law(1_000)
@given(st.data())
def test_stops_alone_hold_exactly_the_longest_proper_prefix(data: st.DataObject) -> None:
    stops = data.draw(patterns())
    text = data.draw(texts(stops))
    scanner = Scanner(stops=stops)
    live = [stop for stop in stops if not any(other in stop[:-1] for other in stops)]
    for end in range(len(text)):
        scanner.put(text[end])
        if scanner.stop is None:
            assert scanner.held == longest_held(text[: end + 1], live)


@law(1_000)
@given(st.data())
def test_replacements_alone_hold_exactly_the_longest_proper_prefix(data: st.DataObject) -> None:
    """Of what is not replaced yet: walking from the left, each place is held, replaced or shown."""
    searches = data.draw(patterns())
    text = data.draw(texts(searches))
    scanner = Scanner(marked(searches))
    for end in range(len(text)):
        scanner.put(text[end])
        offset = 0
        while offset <= end and not any(may_begin(text[offset : end + 1], search) for search in searches):
            offset += max((len(s) for s in searches if text.startswith(s, offset, end + 1)), default=1)
        assert scanner.held == text[offset : end + 1]


@pytest.mark.parametrize(
    ("searches", "stops"),
    [
        (["aab"], []), (["aa", "aaab"], []), (["a", "ab"], []), (["ab", "ba", "bab"], []), (["abab"], []),
        ([], ["aab"]), ([], ["ab", "ba"]), ([], ["abb", "b"]), ([], ["aba", "bb"]),
        (["ab"], ["ba"]), (["ab"], ["b"]), (["aba"], ["bab"]), (["a"], ["aab"]), (["ab", "aba"], ["bb"]), (["bb"], ["abba"]),
    ],
)  # fmt: skip
def test_released_text_is_all_that_every_continuation_agrees_on(searches: list[str], stops: list[str]) -> None:
    """The least hold there can be: one character more, and some continuation would have to take it back."""
    targets = {search: chr(ord("①") + i) for i, search in enumerate(searches)}
    continuations = ["".join(c) + end for n in range(4) for c in product("ab", repeat=n) for end in ("", "z")]
    for text in ("".join(c) for n in range(8) for c in product("ab", repeat=n)):
        scanner = Scanner(targets, stops)
        shown = "".join(map(scanner.put, text))
        outcomes = [scan_whole(text + more, targets, stops)[0] for more in continuations]
        first, last = min(outcomes), max(outcomes)
        agreed = next(
            (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
        )
        assert shown == first[:agreed]


@pytest.mark.parametrize("text", ["aaab<NL", "###\n\nHu", "<<NL>NL", "abcdabx", "🔥🔥停止\r\n"])
def test_every_chunking_of_a_short_text_gives_the_same(text: str) -> None:
    replacements = {"aab": "1", "<NL>": "\n", "###": "h", "cd": "2", "🔥🔥": "🔥", "\r\n": "\n"}
    stops = ["\n\nHuman:", "bx", "止\r\n"]
    for fragments in chunkings(text):
        scanner = Scanner(replacements, stops)
        assert (feed(scanner, fragments), scanner.stop) == scan_whole(text, replacements, stops)


def test_a_replacement_does_not_eat_the_beginning_of_a_stop() -> None:
    scanner = Scanner({"ab": "X"}, ["bc"])
    assert [scanner.put("ab"), scanner.held, scanner.waiting_for] == ["", "ab", ("bc",)]
    assert [scanner.put("c"), scanner.stop] == ["a", "bc"]


def test_a_replacement_neither_makes_nor_hides_a_stop() -> None:
    scanner = Scanner({"x": "###", "#": "-"}, ["###"])
    assert [scanner.put("x #"), scanner.put("##")] == ["### ", ""]
    assert scanner.stop == "###"


def test_offsets_tell_which_raw_text_each_shown_text_stands_for() -> None:
    scanner = Scanner({"<NL>": "\n"}, ["###"])
    seen = [
        (scanner.put(f), scanner.released_len, scanner.shown_len, scanner.held) for f in ["a<N", "L>b#", "#c", "###d"]
    ]
    assert seen == [("a", 1, 1, "<N"), ("\nb", 6, 3, "#"), ("##c", 9, 6, ""), ("", 9, 6, "")]
    assert (scanner.stop_offset, scanner.raw_len, scanner.discarded_len) == (9, 13, 1)


def test_waiting_for_names_the_patterns_that_keep_text_held() -> None:
    scanner = Scanner({"<NL>": "\n"}, ["<", "</s>", "<|end|>"][1:])
    scanner.put("a<")
    assert scanner.waiting_for == ("</s>", "<NL>", "<|end|>")
    scanner.put("/")
    assert scanner.waiting_for == ("</s>",)
    scanner.put(" ")
    assert (scanner.held, scanner.waiting_for) == ("", ())


def test_flush_is_a_barrier_and_gives_held_text_once() -> None:
    scanner = Scanner({"<NL>": "\n"})
    assert [scanner.put("a<N"), scanner.flush(), scanner.flush(), scanner.put("L>")] == ["a", "<N", "", "L>"]


def test_flush_replaces_in_the_held_text() -> None:
    scanner = Scanner({"aa": "X", "aaab": "Y"})
    assert [scanner.put("aaa"), scanner.flush()] == ["", "Xa"]


def test_skipped_text_is_not_searched_and_touches_nothing() -> None:
    scanner = Scanner(stops=["<NL>"])
    assert [scanner.put("a<N"), scanner.skip("L><NL><N"), scanner.put("L>")] == ["a", "<NL><NL><N", "L>"]
    assert (scanner.stop, scanner.raw_len, scanner.released_len) == (None, 13, 13)


def test_after_a_stop_everything_is_discarded_until_clear() -> None:
    scanner = Scanner(stops=["."])
    assert [scanner.put("a.b"), scanner.put("c"), scanner.skip("d"), scanner.flush()] == ["a", "", "", ""]
    assert scanner.discarded_len == 3
    scanner.clear()
    assert [scanner.put("b"), scanner.stop, scanner.raw_len] == ["b", None, 1]


def test_no_patterns_pass_everything() -> None:
    scanner = Scanner()
    assert [scanner.put("<"), scanner.put(""), scanner.flush()] == ["<", "", ""]


def test_an_input_that_is_no_text_changes_nothing() -> None:
    scanner = Scanner({"<NL>": "\n"})
    scanner.put("a<")
    with pytest.raises(TypeError):
        scanner.put(None)  # type: ignore[arg-type]
    assert (scanner.held, scanner.raw_len) == ("<", 2)


def test_a_pattern_of_ten_thousand_characters_is_held_and_found() -> None:
    long = "ab" * 5_000 + "c"
    scanner = Scanner(stops=[long, "x" * 3_000])
    assert "".join(map(scanner.put, ["-" + long[:9_999], long[9_999:]])) == "-"
    assert scanner.stop == long


@pytest.mark.parametrize(
    ("replacements", "told"),
    [
        ([("", "x")], "empty"),
        ([("a", "x"), ("a", "y")], "two targets"),
        (["ab"], "pair"),
        (("<NL>", "\n"), "pair"),
        ([("a", "b", "c")], "pair"),
        ([("a", None)], "pair"),
        ({"a": 1}, "pair"),
    ],
)
def test_bad_replacements_are_refused(replacements: object, told: str) -> None:
    with pytest.raises(BufferingError, match=told):
        Scanner(replacements)  # type: ignore[arg-type]


@pytest.mark.parametrize("stops", ["<NL>", [""], [None], ["a", 3]])
def test_bad_stops_are_refused(stops: object) -> None:
    with pytest.raises(BufferingError):
        Scanner(stops=stops)  # type: ignore[arg-type]


def test_the_same_rule_twice_is_one_rule() -> None:
    assert Scanner([("a", "x"), ("a", "x")], ["b", "b"]).put("ca") == "cx"


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=5), st.text("abc", max_size=8))
def test_whether_a_text_holds_a_pattern_is_what_a_search_for_each_says(patterns: list[str], text: str) -> None:
    assert _Finder(patterns).finds(text) == any(pattern in text for pattern in patterns)


def test_the_cost_of_many_stop_strings_grows_with_their_number() -> None:
    """9.4 s were spent on 10,000 of them, most of it on comparing each with each."""

    def seconds(count: int) -> float:
        stops = [f"<{number:05}|{number % 7}>" for number in range(count)]
        start = time.process_time()
        scanner = Scanner([("<NL>", "\n")], stops)
        assert scanner.put("text <NL> text <00") == "text \n text "
        assert scanner.put("042|0>") == ""
        assert scanner.stop == "<00042|0>"
        return time.process_time() - start

    few, many = min(seconds(1_000) for _ in range(3)), min(seconds(10_000) for _ in range(2))
    assert many < 40 * few
