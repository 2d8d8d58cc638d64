"""One prompt explained: the seed's story, the result's faces, and bad input."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from chatlab.echo.edits import Cause
from chatlab.echo.trace import EchoTrace, trace_echo, trace_echoes
from chatlab.embedded import tokenizer_path
from chatlab.errors import EncodeError, TokenIdError, TokenizerLoadError
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.load import load_tokenizer

TWO_TURNS = "<s>[INST] hi [/INST] Hello! </s><s>[INST] two [/INST] "
PHI3 = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"


@pytest.fixture(scope="module")
def legacy() -> EchoTrace:
    return trace_echo(tokenizer_path("llama2-style/legacy"), TWO_TURNS)


def test_the_one_space_of_the_seed_is_the_dummy_prefix(legacy: EchoTrace) -> None:
    (space,) = legacy.surprises
    assert (space.kind, space.echo_text, space.cause) == ("insert", " ", Cause.DUMMY_PREFIX)
    assert space.piece.startswith("\u2581[")
    assert space.evidence is not None
    assert legacy.drift == space.drift == 1
    assert "non-legacy" in space.evidence.changed


def test_the_non_legacy_tokenizer_has_no_surprise() -> None:
    trace = trace_echo(tokenizer_path("llama2-style/non-legacy"), TWO_TURNS)
    assert trace.surprises == ()
    assert trace.drift == 0


@pytest.mark.parametrize("spaces", [0, 1, 2, 3])
def test_two_spaces_in_three_spaces_out(spaces: int) -> None:
    """The seed's second observation: whatever the segment begins with, one space is added in front."""
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"), loader="sentencepiece")
    trace = trace_echo(tokenizer, f"come from </s><s>{' ' * spaces}[INST] Who")
    assert trace.echo == f"come from {' ' * (spaces + 1)}[INST] Who"
    assert [e.cause for e in trace.surprises] == [Cause.DUMMY_PREFIX]


def test_the_phi3_pair_keeps_and_loses_its_newlines() -> None:
    before, after = (
        trace_echo(tokenizer_path(f"phi3-style/{side}"), PHI3, skip_special_tokens=False)
        for side in ("before", "after")
    )
    assert (before.drift, after.drift) == (7, -4)
    assert before.cause_counts() == {Cause.DUMMY_PREFIX: 7}
    assert after.cause_counts() == {Cause.ADDED_TOKEN_STRIP: 7, Cause.DUMMY_PREFIX: 3}
    assert {e.prompt_text for e in after.edits if e.cause is Cause.ADDED_TOKEN_STRIP} == {"\n"}


def test_a_typed_space_mark_changes_text_without_changing_length() -> None:
    trace = trace_echo(tokenizer_path("llama2-style/legacy"), "a\u2581b")
    assert [e.cause for e in trace.edits] == [Cause.SPACE_MARK]
    assert trace.drift == 0
    assert trace.echo == "a b"


def test_a_leading_space_is_lost_in_transformers_5() -> None:
    trace = trace_echo(tokenizer_path("llama2-style/legacy"), " Hello")
    assert [(e.cause, e.prompt_text) for e in trace.edits] == [(Cause.LEADING_SPACE, " ")]


def test_ids_cut_inside_a_character_are_told_apart_from_ids_cut_elsewhere() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    fire = trace_echo(tokenizer, "x\U0001f9a9", keep=slice(None, -2))
    assert [e.cause for e in fire.edits] == [Cause.BYTE_FALLBACK]
    tail = trace_echo(tokenizer, "Hello there you", keep=slice(None, 1))
    assert {e.cause for e in tail.edits} == {Cause.TRUNCATION}


def test_every_kind_of_tokenizer_object_is_taken() -> None:
    folder = tokenizer_path("llama2-style/legacy")
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    kinds = [
        AutoTokenizer.from_pretrained(folder),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        SentencePieceProcessor(model_file=str(folder / "tokenizer.model")),
        folder,
        str(folder),
        load_tokenizer(folder),
    ]
    assert {trace_echo(kind, TWO_TURNS).drift for kind in kinds} == {1}


def test_a_prompt_object_is_traced_by_its_text() -> None:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    prompt.add_responder_msg(None)
    assert trace_echo(tokenizer_path("llama2-style/legacy"), prompt).prompt == prompt.create_prompt()


def test_it_goes_through_json_and_back(legacy: EchoTrace) -> None:
    assert EchoTrace.from_dict(json.loads(json.dumps(legacy.to_dict()))) == legacy


def test_its_text_shows_the_edit_without_colour(legacy: EchoTrace) -> None:
    assert "[-<s>-]{+\u00b7+}[INST]" in str(legacy)
    assert "drift +1" in legacy.summary()


def test_its_html_escapes_the_prompt() -> None:
    trace = trace_echo(tokenizer_path("llama2-style/legacy"), "<img src=x onerror=alert(1)>\u2581<script>")
    html = trace._repr_html_()
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;img" in html
    assert "<del" in html


def test_its_frame_has_a_row_an_edit(legacy: EchoTrace) -> None:
    frame = legacy.to_frame()
    assert len(frame) == len(legacy.edits)
    assert frame["drift"].sum() == legacy.drift
    assert trace_echo(tokenizer_path("llama2-style/legacy"), "").to_frame().empty


def test_many_prompts_share_one_tokenizer() -> None:
    traces = list(trace_echoes(tokenizer_path("llama2-style/legacy"), [TWO_TURNS, "", "x"]))
    assert [t.drift for t in traces] == [1, 0, 0]


def test_bad_input_is_a_typed_error() -> None:
    folder = tokenizer_path("llama2-style/legacy")
    with pytest.raises(EncodeError, match="lone surrogate U\\+D83D at offset 1"):
        trace_echo(folder, "a\ud83d")
    with pytest.raises(EncodeError, match="not int"):
        trace_echo(folder, 3)
    for keep in (slice(None, None, -1), 5):
        with pytest.raises(TokenIdError, match=r"is a slice\(start, end\), not"):
            trace_echo(folder, "x", keep=keep)  # type: ignore[arg-type]
    with pytest.raises(TokenizerLoadError, match="no tokenizer that chatlab knows"):
        trace_echo(object(), "x")
