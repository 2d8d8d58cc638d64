"""The SentencePiece adapter: SentencePiece itself between control tokens, the Llama classes around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from chatlab.embedded import tokenizer_path
from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer, without_dummy_prefix
from tests.tokenizers.samples import TEXT, chat_texts, train

LINES = chat_texts("<s>", "</s>", "<unk>", "</s><s>")


@pytest.fixture(scope="module")
def processor(model_file: str) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=model_file)


@pytest.fixture(scope="module")
def legacy(processor: SentencePieceProcessor) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(processor)


@pytest.fixture(scope="module")
def non_legacy(processor: SentencePieceProcessor) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(processor, legacy=False)


@given(text=TEXT.filter(lambda text: "<" not in text))
def test_text_without_control_tokens_is_sentencepiece_itself(
    processor: SentencePieceProcessor, legacy: SentencePieceTokenizer, text: str
) -> None:
    token_ids = processor.encode(text)
    assert legacy.encode(text) == token_ids
    assert (
        legacy.decode(token_ids) == legacy.decode(token_ids, skip_special_tokens=False) == processor.decode(token_ids)
    )


@given(text=LINES)
def test_legacy_encodes_every_segment_as_a_text_of_its_own(
    processor: SentencePieceProcessor, legacy: SentencePieceTokenizer, text: str
) -> None:
    expected = []
    for part in legacy._splitter.split(text):
        expected += [processor.piece_to_id(part)] if part in ("<s>", "</s>", "<unk>") else processor.encode(part)
    assert legacy.encode(text) == expected


@given(text=LINES)
def test_non_legacy_gives_the_dummy_prefix_to_the_first_segment_only(
    processor: SentencePieceProcessor, non_legacy: SentencePieceTokenizer, text: str
) -> None:
    bare = without_dummy_prefix(processor)
    expected: list[int] = []
    for number, part in enumerate(non_legacy._splitter.split(text)):
        if part in ("<s>", "</s>", "<unk>"):
            expected.append(processor.piece_to_id(part))
        elif part:
            expected += (bare if number else processor).encode(part)
    assert non_legacy.encode(text) == expected


@given(messages=st.lists(st.text("ab \u65e5[]/INST", min_size=1), min_size=1, max_size=5))
def test_legacy_drift_is_the_number_of_borders_and_non_legacy_drift_is_none(
    legacy: SentencePieceTokenizer, non_legacy: SentencePieceTokenizer, messages: list[str]
) -> None:
    messages[0] = "x" + messages[0]  # a text's own leading space is another cause
    prompt = "<s>" + "</s><s>".join(messages)
    plain_len = sum(map(len, messages))
    drifts = [len(t.decode(t.encode(prompt))) - plain_len for t in (legacy, non_legacy)]
    assert drifts == [len(messages) - 1, 0]


@pytest.fixture(scope="module", params=["legacy", "non-legacy"])
def pair(request: pytest.FixtureRequest) -> tuple[SentencePieceTokenizer, PreTrainedTokenizerFast]:
    """The same model read by us and by transformers."""
    folder = tokenizer_path(f"llama2-style/{request.param}")
    model = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return SentencePieceTokenizer(model, legacy=request.param == "legacy"), AutoTokenizer.from_pretrained(folder)


# transformers 5 gives no dummy prefix to a segment that begins blank.
SEGMENTS = st.text("abHe.,!\u65e5\u672c[INST] ", min_size=1).filter(lambda text: text[0] != " ")


@given(text=st.lists(st.one_of(SEGMENTS, st.just("</s><s>"), st.just("<unk>"))).map("".join), skip=st.booleans())
def test_it_gives_the_ids_and_text_of_autotokenizer_on_the_same_model(
    pair: tuple[SentencePieceTokenizer, PreTrainedTokenizerFast], text: str, skip: bool
) -> None:
    ours, auto = pair
    token_ids = auto.encode(text, add_special_tokens=False)
    assert ours.encode(text) == token_ids
    assert ours.decode(token_ids, skip_special_tokens=skip) == auto.decode(token_ids, skip_special_tokens=skip)


def test_the_bos_is_added_where_it_is_asked_for(legacy: SentencePieceTokenizer) -> None:
    assert legacy.encode("a", add_special_tokens=True) == [1, *legacy.encode("a")]
    encoding = legacy.encode_spans("a", add_special_tokens=True)
    assert encoding.spans == [(0, 0), (0, 1)]
    no_bos = SentencePieceTokenizer(train(bos_id=-1))
    assert no_bos.encode("rain", add_special_tokens=True) == no_bos.encode("rain")


def test_control_and_unknown_pieces_are_its_control_tokens(legacy: SentencePieceTokenizer) -> None:
    assert legacy.special_strs == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert legacy.unk_id == 0
    own = SentencePieceTokenizer(train(control_symbols=["<turn>"], user_defined_symbols=["<note>"]))
    assert "<turn>" in own.special_strs
    assert "<note>" not in own.special_strs
    assert own.decode(own.encode("rain<turn><note>")) == "rain <note>"


def test_what_is_not_skipped_is_spelled_out(legacy: SentencePieceTokenizer) -> None:
    token_ids = legacy.encode("<s>a</s><unk> b")
    assert legacy.decode(token_ids, skip_special_tokens=False) == "<s> a</s><unk>  b"


# -- changes -------------------------------------------------------------------------------------------------


def spec_of(tokenizer: SentencePieceTokenizer) -> sentencepiece_model_pb2.ModelProto:
    return sentencepiece_model_pb2.ModelProto.FromString(tokenizer._first.serialized_model_proto())


@pytest.fixture(scope="module")
def nfkc() -> SentencePieceTokenizer:
    """A model that normalizes, collapses spaces and adds the dummy prefix: everything there is to switch off."""
    return SentencePieceTokenizer(train(byte_fallback=True))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("prefix_never", "add_dummy_prefix", False),
        ("keep_extra_whitespace", "remove_extra_whitespaces", False),
        ("keep_text", "precompiled_charsmap", b""),
    ],
)
def test_an_override_changes_that_field_and_no_other(
    nfkc: SentencePieceTokenizer, name: str, field: str, value: object
) -> None:
    changed = nfkc.change(name)
    assert changed is not None
    before, after = spec_of(nfkc), spec_of(changed)
    assert getattr(before.normalizer_spec, field) != value
    assert getattr(after.normalizer_spec, field) == value
    setattr(before.normalizer_spec, field, value)
    assert after == before


@pytest.mark.parametrize(
    ("name", "text", "echo", "changed_echo"),
    [
        ("keep_extra_whitespace", "the  rain", "the rain", "the  rain"),
        ("keep_text", "\uff54\uff48\uff45 rain", "the rain", "\uff54\uff48\uff45 rain"),
        ("prefix_never", "the</s>rain", "the rain", "therain"),
        ("prefix_first_only", "the</s>rain", "the rain", "therain"),
    ],
)
def test_an_override_does_what_it_says(
    nfkc: SentencePieceTokenizer, name: str, text: str, echo: str, changed_echo: str
) -> None:
    changed = nfkc.change(name)
    assert changed is not None
    assert nfkc.decode(nfkc.encode(text)) == echo
    assert changed.decode(changed.encode(text)) == changed_echo


def test_the_legacy_switch_is_there_to_change_only_when_it_is_on(
    legacy: SentencePieceTokenizer, non_legacy: SentencePieceTokenizer
) -> None:
    changed = legacy.change("prefix_first_only")
    assert changed is not None
    assert changed.encode("a</s>b") == non_legacy.encode("a</s>b")
    assert non_legacy.change("prefix_first_only") is None


def test_unknown_text_can_be_made_known(no_bytes: SentencePieceProcessor) -> None:
    tokenizer = SentencePieceTokenizer(no_bytes)
    text = "the \u6771\u4eac rain"
    assert tokenizer.unk_id in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == "the  rain"
    knowing = tokenizer.change("know_the_unknown", ["\u6771\u4eac"])
    assert knowing is not None
    assert knowing.decode(knowing.encode(text)) == text
    assert knowing.vocab_len == tokenizer.vocab_len + 1
    before, after = spec_of(tokenizer), spec_of(knowing)
    assert after.pieces[-1].piece == "\u6771\u4eac"
    del after.pieces[-1]
    assert after == before


def test_a_long_text_is_made_known_too(no_bytes: SentencePieceProcessor) -> None:
    """Its length takes more than one byte of the model file."""
    text = "\u6771" * 100
    knowing = SentencePieceTokenizer(no_bytes).change("know_the_unknown", [text])
    assert knowing is not None
    assert knowing.decode(knowing.encode(text)) == text


def test_known_text_is_not_made_known_twice(no_bytes: SentencePieceProcessor) -> None:
    tokenizer = SentencePieceTokenizer(no_bytes)
    assert tokenizer.change("know_the_unknown", ["a", ""]) is None
    twice = tokenizer.change("know_the_unknown", ["\u6771", "\u6771", "a"])
    assert twice is not None
    assert twice.vocab_len == tokenizer.vocab_len + 1
