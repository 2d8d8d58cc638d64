"""Each named change does the one thing it says, on a copy, or says that there is nothing to change."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer as RustTokenizer

from chatlab.embedded import tokenizer_names, tokenizer_path
from chatlab.tokenizers.changes import CHANGES
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.pipeline.steps import (
    Json,
    edit_steps,
    sequence,
    steps,
    strips_ends,
    with_steps,
    writes_prefix,
    writes_space_mark,
)
from tests.support.echo_injection import SPECIALS, clean_state

MARK = "\u2581"
PREPEND = {"type": "Prepend", "prepend": MARK}
WRITE_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
METASPACE = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": False}


def state(**parts: Any) -> Json:
    """The clean tokenizer with some parts replaced; specials keep their flags."""
    return {**clean_state(), **copy.deepcopy(parts)}


def tokenizer(of: Json) -> FastTokenizer:
    return FastTokenizer(RustTokenizer.from_str(json.dumps(of)))


def echo(of: Json, text: str, *, skip: bool = False) -> str:
    reader = tokenizer(of)
    return reader.decode(reader.encode(text), skip_special_tokens=skip)


def flag(token: str, **flags: bool) -> list[Json]:
    return [{**t, **flags} if t["content"] == token else t for t in clean_state()["added_tokens"]]


def decoder_with(step: Json) -> Json:
    return sequence("decoder", [*steps(clean_state()["decoder"]), step]) or {}


NO_BYTES = {**clean_state()["model"], "byte_fallback": False}
NO_BYTE_DECODER = sequence("decoder", [s for s in steps(clean_state()["decoder"]) if s["type"] != "ByteFallback"])
NFKC = {"type": "NFKC"}

CASES: dict[str, list[tuple[Json, object, str, str, str]]] = {
    # name: (state, argument, text, echo before, echo after)
    "unchanged": [(state(pre_tokenizer=METASPACE), None, "a</s>b", " a</s> b", " a</s> b")],
    "prefix_every_segment": [
        (state(normalizer={"type": "Sequence", "normalizers": [PREPEND, WRITE_MARK]}), None, "a</s>b", " a</s> b", " a</s> b"),
        (state(pre_tokenizer=METASPACE), None, "a</s>b", " a</s> b", " a</s> b"),
    ],
    "keep_split_off": [
        (state(normalizer=None, pre_tokenizer={"type": "WhitespaceSplit"}), None, "a b", "ab", "a b"),
        (state(normalizer=None, pre_tokenizer={"type": "Whitespace"}), None, "a, b", "a,b", "a, b"),
        (state(normalizer=None, pre_tokenizer={"type": "BertPreTokenizer"}), None, "a, b", "a,b", "a, b"),
        (state(normalizer=None, pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "|"}), None, "a|b", "ab", "a|b"),
        (state(normalizer=None, pre_tokenizer={"type": "Split", "pattern": {"String": "|"}, "behavior": "Removed", "invert": False}), None, "a|b", "ab", "a|b"),
        (state(normalizer=None, pre_tokenizer={"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": True}), None, "a|b", "ab", "a|b"),
    ],
    "prefix_first_only": [
        (state(pre_tokenizer=METASPACE), None, "a</s>b", " a</s> b", " a</s>b"),
        (state(normalizer={"type": "Sequence", "normalizers": [PREPEND, WRITE_MARK]}), None, "a</s>b", " a</s> b", " a</s>b"),
    ],
    "prefix_never": [
        (state(pre_tokenizer=METASPACE), None, "a</s>b", " a</s> b", "a</s>b"),
        (state(normalizer={"type": "Sequence", "normalizers": [PREPEND, WRITE_MARK]}), None, "a</s>b", " a</s> b", "a</s>b"),
        (state(pre_tokenizer={**METASPACE, "prepend_scheme": "first"}), None, "a</s>b", " a</s>b", "a</s>b"),
    ],
    "prefix_always_added": [
        (state(normalizer=None, pre_tokenizer=METASPACE), None, " a", " a", "  a"),
        (state(normalizer={"type": "Replace", "pattern": {"Regex": "^ ?"}, "content": MARK}), None, " a", " a", "  a"),
    ],
    "drop_normalizer_step": [
        (state(normalizer={"type": "Sequence", "normalizers": [NFKC, {"type": "Lowercase"}]}), 0, "\uff21", "a", "\uff41"),
        (state(normalizer={"type": "Sequence", "normalizers": [NFKC, {"type": "Lowercase"}]}), 1, "\uff21", "a", "A"),
    ],
    "keep_text": [
        (state(normalizer={"type": "Sequence", "normalizers": [NFKC, PREPEND, WRITE_MARK]}), None, "\uff21 b", " A b", " \uff21 b"),
    ],
    "decoder_keeps_ends": [
        (state(decoder=decoder_with({"type": "Strip", "content": " ", "start": 2, "stop": 0})), None, "  a", "a", "  a"),
        (state(decoder={**METASPACE}), None, " a", "a", " a"),
    ],
    "add_byte_fallback_decoder": [(state(decoder=NO_BYTE_DECODER), None, "\u65e5", "<0xE6><0x97><0xA5>", "\u65e5")],
    "join_without_spaces": [(state(decoder=None, normalizer=None), None, "abc", "a b c", "abc")],
    "wordpiece_cleanup_off": [
        (state(normalizer=None, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}), None, "a.", "a.", "a ."),
    ],
    "added_token_flags": [
        (state(added_tokens=flag("</s>", rstrip=True)), {"rstrip": False}, "</s> b", "</s>b", "</s> b"),
        (state(added_tokens=flag("</s>", rstrip=True)), {"content": "</s>", "rstrip": False}, "</s> b", "</s>b", "</s> b"),
    ],
    "decoder_of_its_model": [
        (state(decoder=None), None, "a b", "a ▁ b", "a b"),
        (state(normalizer=None, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, decoder=None), None, "ab", "a b", "ab"),
    ],
    "without_added_token": [
        (state(added_tokens=flag("<|user|>", special=False), decoder=decoder_with({"type": "Replace", "pattern": {"String": "<|user|>"}, "content": "?"})), "<|user|>", "a<|user|>", "a?", "a?"),
    ],
    "know_the_unknown": [(state(model=NO_BYTES), ["\u65e5"], "a\u65e5", "a<unk>", "a\u65e5")],
    "no_truncation": [
        (state(truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}), None, "abc", "ab", "abc"),
    ],
    "no_padding": [
        (state(padding={"strategy": {"Fixed": 3}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": SPECIALS.index("<pad>"), "pad_type_id": 0, "pad_token": "<pad>"}), None, "a", "a<pad><pad>", "a"),
    ],
}  # fmt: skip


def test_every_change_has_a_case() -> None:
    assert set(CASES) == set(CHANGES)
    assert all(name == change.__name__ for name, change in CHANGES.items())
    assert all(change.__doc__ for change in CHANGES.values()), "the evidence of an edit is worded with it"


LISTED = [
    pytest.param(CHANGES[name], *case, id=f"{name} {number}")
    for name, listed in CASES.items()
    for number, case in enumerate(listed)
]


@pytest.mark.parametrize(("change", "before", "argument", "text", "echo_before", "echo_after"), LISTED)
def test_a_change_does_what_it_says(
    change: Callable[[Json, Any], Json | None], before: Json, argument: object, text: str, echo_before: str, echo_after: str
) -> None:  # fmt: skip
    kept = copy.deepcopy(before)
    after = change(before, argument)
    assert before == kept, "a pure function"
    assert after is not None
    assert echo(before, text) == echo_before
    assert echo(after, text) == echo_after


@pytest.mark.parametrize(("change", "before", "argument", "text", "echo_before", "echo_after"), LISTED)
def test_a_change_made_twice_finds_nothing_more_to_change(
    change: Callable[[Json, Any], Json | None], before: Json, argument: object, text: str, echo_before: str, echo_after: str
) -> None:  # fmt: skip
    if change.__name__ == "drop_normalizer_step":
        return  # it drops by number, and there is another step of that number
    after = change(before, argument)
    assert after is not None
    again = change(after, argument)
    assert again is None or again == after


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("know_the_unknown",)])
def test_a_clean_tokenizer_has_nothing_to_change(name: str) -> None:
    argument = {"drop_normalizer_step": 7, "added_token_flags": {"rstrip": False}}.get(name)
    changed = tokenizer(state(decoder=clean_state()["decoder"])).change(name, argument)
    # keep_text keeps a normalizer that only writes the mark, so it may say so by an equal copy
    assert changed is None or changed.state == tokenizer(state()).state


@pytest.mark.parametrize("name", tokenizer_names())
def test_every_change_of_every_embedded_tokenizer_loads(name: str) -> None:
    """The edited JSON is a tokenizer.json that the library reads, and says the same of plain text."""
    reader = FastTokenizer(RustTokenizer.from_file(str(tokenizer_path(name) / "tokenizer.json")))
    arguments = {"drop_normalizer_step": 0, "added_token_flags": {"rstrip": True}, "know_the_unknown": ["\U00029e3d"]}
    made = 0
    for change in CHANGES:
        changed = reader.change(change, arguments.get(change))
        made += changed is not None
        if changed is not None and change in ("know_the_unknown", "added_token_flags", "no_truncation", "no_padding"):
            assert changed.encode("hello") == reader.encode("hello")
    assert made >= 2


def test_one_token_is_changed_by_its_text_and_no_other() -> None:
    before = state(added_tokens=flag("</s>", rstrip=True))
    after = CHANGES["added_token_flags"](before, {"content": "<s>", "lstrip": True})
    assert after is not None
    differing = [a["content"] for a, b in zip(before["added_tokens"], after["added_tokens"], strict=True) if a != b]
    assert differing == ["<s>"]
    assert CHANGES["added_token_flags"](before, {"content": "no such", "lstrip": True}) is None


def test_known_texts_are_not_made_known_again() -> None:
    assert CHANGES["know_the_unknown"](state(), ["</s>", ""]) is None
    after = CHANGES["know_the_unknown"](state(), ["\u65e5", "\u65e5", "\u672c"])
    assert after is not None
    new = after["added_tokens"][len(SPECIALS) :]
    assert [token["content"] for token in new] == ["\u65e5", "\u672c"]
    assert min(token["id"] for token in new) > max(clean_state()["model"]["vocab"].values())


def test_a_unigram_vocabulary_is_a_list_and_gets_new_ids_after_its_end() -> None:
    reader = FastTokenizer(RustTokenizer.from_file(str(tokenizer_path("unigram") / "tokenizer.json")))
    knowing = reader.change("know_the_unknown", ["\U00029e3d"])
    assert knowing is not None
    assert knowing.vocab_len == reader.vocab_len + 1
    assert knowing.decode(knowing.encode("the\U00029e3d")) == "the\U00029e3d"


def test_steps_and_sequence_are_inverse() -> None:
    one, two = {"type": "NFC"}, {"type": "Lowercase"}
    assert steps(None) == []
    assert steps(one) == [one]
    assert steps({"type": "Sequence", "normalizers": [one, {"type": "Sequence", "normalizers": [two]}]}) == [one, two]
    for parts in ([], [one], [one, two]):
        for kind in ("normalizer", "decoder", "pre_tokenizer"):
            assert steps(sequence(kind, parts)) == parts
    assert with_steps({"normalizer": one}, "normalizer", []) == {"normalizer": None}


def test_an_edit_of_no_step_is_no_edit() -> None:
    assert edit_steps({"normalizer": {"type": "NFC"}}, "normalizer", lambda step: None) is None
    assert edit_steps({"normalizer": None}, "normalizer", lambda step: []) is None
    assert edit_steps({"normalizer": {"type": "NFC"}}, "normalizer", lambda step: []) == {"normalizer": None}


def test_only_a_space_becomes_the_space_mark() -> None:
    assert writes_space_mark(PREPEND)
    assert writes_space_mark(WRITE_MARK)
    assert not writes_space_mark({**WRITE_MARK, "content": "_"})
    assert not writes_space_mark({**WRITE_MARK, "pattern": {"Regex": " +"}})
    assert not writes_space_mark({"type": "NFC"})


@pytest.mark.parametrize(
    "pattern", [{"Regex": "^"}, {"Regex": "(?<!\\n)^"}, {"Regex": "^(?=[a-zA-Z])"}, {"Regex": "^ ?"}], ids=str
)
def test_a_dummy_prefix_is_known_by_what_it_writes_and_not_by_its_type(pattern: dict[str, str]) -> None:
    assert writes_prefix({"type": "Replace", "pattern": pattern, "content": MARK})
    assert writes_prefix(PREPEND)
    assert not writes_prefix(WRITE_MARK)
    assert not writes_prefix({"type": "Prepend", "prepend": "x"})


def test_a_step_that_strips_ends_is_known_by_what_it_takes_away() -> None:
    assert strips_ends({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    assert strips_ends({"type": "Strip", "content": MARK, "start": 2, "stop": 0})
    assert strips_ends({"type": "Replace", "pattern": {"Regex": "^ "}, "content": ""})
    for step in ({"type": "Fuse"}, {"type": "ByteFallback"}, {"type": "Strip", "content": "x", "start": 1, "stop": 0}):
        assert not strips_ends(step)
    assert not strips_ends({"type": "Replace", "pattern": {"String": " "}, "content": ""})
