"""The adapter of Python tokenizers: transformers' own classes that need no download."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertGenerationTokenizer, ByT5Tokenizer, SpeechT5Tokenizer

from chatlab.tokenizers.slow import SlowTokenizer
from tests.tokenizers.samples import chat_texts

pytestmark = pytest.mark.filterwarnings("ignore:This sequence already has </s>:UserWarning")


@pytest.fixture(scope="module", params=["bytes", "sentencepiece", "sentencepiece non-legacy", "speech"])
def slow(request: pytest.FixtureRequest, model_file: str) -> ByT5Tokenizer | BertGenerationTokenizer:
    match request.param:
        case "bytes":
            return ByT5Tokenizer()
        case "speech":
            return SpeechT5Tokenizer(model_file)
        case kind:
            return BertGenerationTokenizer(model_file, legacy=kind == "sentencepiece")


@given(text=chat_texts("<s>", "</s>", "<extra_id_0>", "<unk>"), add=st.booleans(), skip=st.booleans())
@settings(max_examples=80)
def test_it_is_the_class_called_directly(slow: ByT5Tokenizer, text: str, add: bool, skip: bool) -> None:
    ours = SlowTokenizer(slow)
    token_ids = slow(text, add_special_tokens=add)["input_ids"]
    assert ours.encode(text, add_special_tokens=add) == token_ids
    assert ours.encode_spans(text).spans is None
    assert ours.decode(token_ids, skip_special_tokens=skip) == slow.decode(token_ids, skip_special_tokens=skip)


def test_its_control_tokens_and_size_are_those_of_the_class(slow: ByT5Tokenizer) -> None:
    ours = SlowTokenizer(slow)
    assert ours.vocab_len == len(slow)
    assert list(ours.special_strs) == slow.all_special_tokens
    assert ours.unk_id == slow.unk_token_id
    assert ours.name == type(slow).__name__


def test_the_change_that_takes_the_dummy_prefix_is_the_non_legacy_class(model_file: str) -> None:
    legacy, non_legacy = (BertGenerationTokenizer(model_file, legacy=switch) for switch in (True, False))
    changed = SlowTokenizer(legacy).change("prefix_never")
    assert changed is not None
    for text in ("a </s><s>[INST] b", "b", "\u65e5\u672c"):
        assert changed.encode(text) == SlowTokenizer(non_legacy).encode(text)
    assert SlowTokenizer(legacy).encode("b") != changed.encode("b")


def test_a_change_leaves_the_users_object_alone(model_file: str) -> None:
    slow = BertGenerationTokenizer(model_file, clean_up_tokenization_spaces=True)
    ours = SlowTokenizer(slow)
    ids, text = ours.encode("a , b </s> b"), ours.decode(ours.encode("a , b </s> b"))
    for name, argument in (
        ("clean_up_off", None),
        ("prefix_never", None),
        ("decoder_keeps_ends", None),
        ("added_token_flags", {"rstrip": True}),
    ):
        changed = ours.change(name, argument)
        assert changed is not None
        assert changed.name == f"{ours.name} + {name}"
        assert (changed.encode("a , b </s> b"), changed.decode(ids)) != (ids, text) or name == "decoder_keeps_ends"
        assert (ours.encode("a , b </s> b"), ours.decode(ids)) == (ids, text)


def test_a_switch_that_is_off_is_not_there_to_change(model_file: str) -> None:
    ours = SlowTokenizer(BertGenerationTokenizer(model_file))
    assert ours.change("clean_up_off") is None
    assert ours.change("no_spaces_between_specials") is None
    assert ours.change("added_token_flags", {"lstrip": False}) is None
    assert SlowTokenizer(ByT5Tokenizer()).change("prefix_never") is None


def test_ends_kept_are_the_ends_of_the_text(model_file: str) -> None:
    ours = SlowTokenizer(BertGenerationTokenizer(model_file))
    kept = ours.change("decoder_keeps_ends")
    assert kept is not None
    token_ids = ours.encode("a [/INST] ")
    assert (ours.decode(token_ids), kept.decode(token_ids)) == ("a [/INST]", " a [/INST] ")
    assert kept.decode([]) == ""


def test_flags_of_added_tokens_can_be_switched_off() -> None:
    ours = SlowTokenizer(ByT5Tokenizer())
    changed = ours.change("added_token_flags", {"lstrip": False, "rstrip": False})
    assert changed is not None
    echoes = [t.decode(t.encode("a </s> b"), skip_special_tokens=False) for t in (ours, changed)]
    assert echoes == ["a</s>b", "a </s> b"]


@pytest.mark.parametrize("spaces", [True, False])
def test_the_spacing_option_reaches_decode(spaces: bool, model_file: str) -> None:
    seen = []

    class Spy(BertGenerationTokenizer):
        def _decode(self, token_ids, **options):
            seen.append(options["spaces_between_special_tokens"])
            return super()._decode(token_ids, **options)

    ours = SlowTokenizer(Spy(model_file), spaces_between_special_tokens=spaces)
    ours.decode(ours.encode("a"))
    assert seen == [spaces]
    assert (ours.change("no_spaces_between_specials") is None) == (not spaces)
