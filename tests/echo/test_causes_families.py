"""Causes on the embedded tokenizer families: nearly every edit explained, and the drift is the sum of its edits."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer

from chatlab.echo.edits import Cause
from chatlab.echo.trace import trace_echo
from chatlab.embedded import dialogues_path, tokenizer_names, tokenizer_path
from chatlab.prompts.dialogue import prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.load import load_tokenizer

MARK = "\u2581"
SAMPLE = {"wordpiece": 8, "unigram": 25}
"""Prompts a family; WordPiece changes every blank, so one of its prompts has a hundred edits."""


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    """The last prompt of dialogues of every kind, in an order of their own."""
    dialogues = random.Random(11).sample(list(read_dialogues(dialogues_path())), 50)
    return [[*prompts_of(d, ChatPromptMetaLlamaLlama2Chat)][-1][1].create_prompt() for d in dialogues]


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", tokenizer_names())
def test_at_most_one_edit_in_two_hundred_is_unexplained(
    name: str, add: bool, skip: bool, prompts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, counts = load_tokenizer(tokenizer_path(name)), Counter[Cause]()
    for prompt in prompts[: SAMPLE.get(name, 50)]:
        trace = trace_echo(tokenizer, prompt, add_special_tokens=add, skip_special_tokens=skip)
        counts.update(trace.cause_counts())
        assert trace.replay() == trace.echo
        assert sum(edit.drift for edit in trace.edits) == trace.drift
    with capsys.disabled():
        print(f"\n{name}, add={add}, skip={skip}: " + ", ".join(f"{c} {n}" for c, n in counts.most_common()))
    assert counts[Cause.UNEXPLAINED] <= counts.total() / 200


# -- BOS and EOS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("llama2-style/legacy", "hello", ["<s>"]),
        ("unigram", "hello", ["</s>"]),
        ("wordpiece", "hello", ["[CLS]", "[SEP]"]),
        ("byte-bpe", "hello", []),
    ],
)
def test_bos_and_eos_that_the_call_adds_are_shown_by_the_call(name: str, text: str, shown: list[str]) -> None:
    tokenizer = load_tokenizer(tokenizer_path(name))
    trace = trace_echo(tokenizer, text, add_special_tokens=True, skip_special_tokens=False)
    added = [e for e in trace.edits if e.cause is Cause.BOS_EOS_SHOWN]
    assert [edit.echo_text.strip() for edit in added if edit.echo_text.strip()] == shown
    assert [edit.piece for edit in added if edit.echo_text.strip()] == shown
    assert all(e.evidence and e.evidence.changed == "encode with add_special_tokens=False" for e in added)
    assert trace_echo(tokenizer, text, add_special_tokens=True).drift == 0


def test_an_end_token_is_told_apart_from_the_text_before_it() -> None:
    """Both stand after the last character of the prompt: one is the text's, one is the call's."""
    tokenizer = load_tokenizer(tokenizer_path("wordpiece"))
    trace = trace_echo(tokenizer, "a ]", add_special_tokens=True, skip_special_tokens=False)
    assert trace.echo == "[CLS] a ] [SEP]"
    assert [(e.echo_text, e.piece) for e in trace.edits] == [("[CLS]", "[CLS]"), (" ", "a"), (" [SEP]", "[SEP]")]
    assert {edit.cause for edit in trace.edits} == {Cause.BOS_EOS_SHOWN}


# -- the unknown token ---------------------------------------------------------------------------------------


def test_whitespace_that_no_piece_holds_is_unknown_text() -> None:
    trace = trace_echo(load_tokenizer(tokenizer_path("unigram")), "a\nb")
    assert [(e.prompt_text, e.piece, e.cause) for e in trace.edits] == [("\n", "<unk>", Cause.UNKNOWN_TOKEN)]
    assert trace.edits[0].evidence is not None


def test_the_letters_of_the_unknown_token_are_no_letters_of_the_text() -> None:
    """The ``n`` under a tilde is unknown, and is not the ``n`` of ``<unk>`` with something around it."""
    trace = trace_echo(load_tokenizer(tokenizer_path("unigram")), "Which\u006e\u0303o", skip_special_tokens=False)
    assert [(e.prompt_text, e.echo_text, e.cause) for e in trace.edits] == [
        ("n", "<unk>", Cause.UNKNOWN_TOKEN),
        ("\u0303", "", Cause.UNKNOWN_TOKEN),
    ]


# -- two causes side by side ---------------------------------------------------------------------------------


def test_a_prefix_beside_a_typed_space_mark_is_told_apart_from_it() -> None:
    trace = trace_echo(load_tokenizer(tokenizer_path("llama2-style/legacy"), loader="sentencepiece"), "a</s> \u2581b")
    assert trace.echo == "a   b"
    assert {edit.cause for edit in trace.surprises} == {Cause.DUMMY_PREFIX, Cause.SPACE_MARK}


# -- added tokens with normalized=true -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def normalized() -> FastTokenizer:
    """The first Llama-2 files of the hub: the prefix is a normalizer step, and control tokens are normalized too."""
    state = json.loads((tokenizer_path("llama2-style/legacy") / "tokenizer.json").read_text(encoding="utf-8"))
    write_mark = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    state["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, write_mark]}
    state["pre_tokenizer"] = None
    for token in state["added_tokens"]:
        token["normalized"] = True
    return FastTokenizer(RustTokenizer.from_str(json.dumps(state)))


def test_control_tokens_that_are_normalized_are_read_as_text_and_not_skipped(normalized: FastTokenizer) -> None:
    prompt = "<s>[INST] hi [/INST] Hello! </s><s>[INST] two "
    trace = trace_echo(normalized, prompt)
    assert trace.echo == prompt
    assert [(e.kind, e.echo_text, e.cause) for e in trace.edits] == [
        ("keep", text, Cause.ADDED_TOKEN_NORMALIZED) for text in ("<s>", "</s>", "<s>")
    ]
    assert trace.drift == sum(edit.drift for edit in trace.edits) == len("<s></s><s>")
    assert trace.surprises == trace.edits
    assert all(e.evidence and "{'normalized': False}" in e.evidence.changed for e in trace.edits)
    assert [edit.evidence.echo_after for edit in trace.edits if edit.evidence][0].startswith("[INST]")
    assert "{+<s>+}" in str(trace)
    assert "3 \u00d7 added-token normalized flag" in trace.summary()


def test_a_control_token_that_is_not_skipped_was_not_asked_to_be(normalized: FastTokenizer) -> None:
    assert trace_echo(normalized, "<s>hi</s>", skip_special_tokens=False).edits == ()


def test_a_control_token_read_right_in_the_same_text_stays_a_removed_one() -> None:
    state = json.loads((tokenizer_path("llama2-style/legacy") / "tokenizer.json").read_text(encoding="utf-8"))
    for token in state["added_tokens"]:
        token["single_word"] = token["content"] == "</s>"
    trace = trace_echo(FastTokenizer(RustTokenizer.from_str(json.dumps(state))), "<s>a</s>b")
    kept = {edit.prompt_text: (edit.kind, edit.cause) for edit in trace.edits}
    assert kept == {"<s>": ("delete", Cause.SPECIAL_REMOVED), "</s>": ("keep", Cause.UNEXPLAINED)}


# -- what the post-processor adds many times -----------------------------------------------------------------


def test_a_run_of_padding_is_one_edit() -> None:
    rust = AutoTokenizer.from_pretrained(tokenizer_path("wordpiece")).backend_tokenizer
    rust.enable_padding(length=40, pad_id=0, pad_token="[PAD]")
    trace = trace_echo(FastTokenizer(rust), "hello", add_special_tokens=True, skip_special_tokens=False)
    assert [(e.echo_text.split()[0], e.cause) for e in trace.edits if e.echo_text.strip()] == [
        ("[CLS]", Cause.BOS_EOS_SHOWN),
        ("[SEP]", Cause.BOS_EOS_SHOWN),
        ("[PAD]", Cause.PADDING),
    ]
