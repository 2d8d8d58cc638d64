"""Causes that only Python tokenizers have, or prove another way: transformers' own classes on the embedded model."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertGenerationTokenizer, ByT5Tokenizer

from chatlab.echo.edits import Cause, Edit
from chatlab.echo.trace import trace_echo
from chatlab.embedded import tokenizer_path
from chatlab.tokenizers.slow import SlowTokenizer

MODEL = str(tokenizer_path("llama2-style/legacy") / "tokenizer.model")


class SpacedTokenizer(BertGenerationTokenizer):
    """Joins control tokens to text with spaces by default, as every class did before transformers 5."""

    def _decode(
        self,
        token_ids: list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
        **options: Any,
    ) -> str:
        segments: list[list[str]] = [[]]
        for token in self.convert_ids_to_tokens(token_ids, skip_special_tokens=skip_special_tokens):
            if token in self.all_special_tokens:
                segments += [[token], []]
            else:
                segments[-1].append(token)
        texts = ["".join(segment).replace("\u2581", " ") for segment in segments if segment]
        return (" " if spaces_between_special_tokens else "").join(texts)


def surprises(tokenizer: Any, prompt: str, **options: Any) -> list[Edit]:
    trace = trace_echo(SlowTokenizer(tokenizer), prompt, **options)
    assert trace.replay() == trace.echo
    return list(trace.surprises)


def test_spaces_between_special_tokens_are_proven_by_the_decode_option() -> None:
    tokenizer = SpacedTokenizer(MODEL, legacy=False)
    edits = surprises(tokenizer, "a</s><s>b", skip_special_tokens=False)
    assert [(e.kind, e.echo_text, e.cause) for e in edits] == [("insert", " ", Cause.SPACES_BETWEEN_SPECIALS)] * 2 + [
        ("insert", " ", Cause.SPACES_BETWEEN_SPECIALS)
    ]
    assert all(e.evidence and e.evidence.changed == "no_spaces_between_specials" for e in edits)


def test_the_option_can_be_given_as_the_program_gives_it() -> None:
    tokenizer = SpacedTokenizer(MODEL, legacy=False)
    silent = SlowTokenizer(tokenizer, spaces_between_special_tokens=False)
    assert trace_echo(silent, "a</s><s>b", skip_special_tokens=False).edits == ()


def test_clean_up_is_proven_by_its_switch() -> None:
    edits = surprises(BertGenerationTokenizer(MODEL, clean_up_tokenization_spaces=True), "no , I do n't !")
    assert [(e.prompt_text, e.cause) for e in edits] == [(" ", Cause.CLEAN_UP)] * 3
    assert surprises(BertGenerationTokenizer(MODEL), "no , I do n't !") == []


def test_the_dummy_prefix_of_every_segment_is_proven_by_a_model_without_it() -> None:
    edits = surprises(BertGenerationTokenizer(MODEL), "<s>[INST] a </s><s>[INST] b")
    assert [(e.kind, e.echo_text, e.cause) for e in edits] == [("insert", " ", Cause.DUMMY_PREFIX)]
    assert surprises(BertGenerationTokenizer(MODEL, legacy=False), "<s>[INST] a </s><s>[INST] b") == []


@pytest.mark.parametrize("legacy", [True, False])
def test_stripped_ends_are_proven_by_decoding_between_anchors(legacy: bool) -> None:
    edits = surprises(BertGenerationTokenizer(MODEL, legacy=legacy), " a [/INST] ")
    assert [(e.prompt_text, e.cause) for e in edits] == [(" ", Cause.DECODER_STRIP)] * 2


def test_whitespace_around_an_added_token_is_proven_by_its_flags() -> None:
    edits = surprises(ByT5Tokenizer(), "a </s>\n b", skip_special_tokens=False)
    assert [(e.prompt_text, e.cause) for e in edits] == [
        (" ", Cause.ADDED_TOKEN_STRIP),
        ("\n ", Cause.ADDED_TOKEN_STRIP),
    ]


def test_bytes_cut_inside_a_character_are_lost_by_byt5() -> None:
    (edit,) = surprises(ByT5Tokenizer(), "ab\u65e5", keep=slice(None, -1))
    assert (edit.prompt_text, edit.cause) == ("\u65e5", Cause.TRUNCATION)
