"""Kinds of wrong answers that were met outside, each with the right one: null controls, equal ids, minimal causes."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from chatlab.echo.edits import Cause
from chatlab.echo.trace import EchoTrace, trace_echo
from chatlab.embedded import tokenizer_path
from chatlab.errors import EncodeError
from chatlab.prompts.dialogue import Dialogue
from chatlab.tokenizers.slow import _with_flags

MARK = "\u2581"
SPACES = [decoders.Replace(MARK, " "), decoders.Fuse()]


def special(content: str, **flags: bool) -> AddedToken:
    return AddedToken(content, special=True, normalized=False, **flags)


def named(tokenizer: RustTokenizer, prompt: str, **options: bool) -> list[tuple[str, str, Cause, tuple[Cause, ...]]]:
    trace = trace_echo(tokenizer, prompt, **options)  # type: ignore[arg-type]
    assert trace.replay() == trace.echo
    assert sum(edit.drift for edit in trace.edits) == trace.drift
    return [(e.prompt_text, e.echo_text, e.cause, e.also) for e in trace.edits]


def prefixed(prefix: normalizers.Normalizer | None, *strip: decoders.Decoder) -> RustTokenizer:
    """A few letters behind a dummy prefix, with ``</s>`` beside them."""
    vocab = {"a": 0, "b": 1, MARK: 2, f"{MARK}a": 3, f"{MARK}b": 4}
    tokenizer = RustTokenizer(models.BPE(vocab, [(MARK, "a"), (MARK, "b")]))
    parts = [normalizers.Replace(" ", MARK)]
    tokenizer.normalizer = normalizers.Sequence([*([prefix] if prefix else []), *parts])
    tokenizer.decoder = decoders.Sequence([*SPACES, *strip])
    tokenizer.add_special_tokens([special("</s>")])
    return tokenizer


# -- null controls -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice() -> EchoTrace:
    """A token added first as special and then not: it is skipped, and its file says that it is not."""
    tokenizer = prefixed(normalizers.Prepend(MARK), decoders.Strip(" ", 1, 0))
    tokenizer.add_tokens([AddedToken("</s>", special=False, normalized=False)])
    return trace_echo(tokenizer, "a</s>b")


def test_no_experiment_counts_on_a_copy_that_echoes_otherwise(twice: EchoTrace) -> None:
    assert [(e.prompt_text, e.echo_text, e.cause) for e in twice.edits] == [
        ("</s>", "", Cause.SPECIAL_REMOVED),
        ("", " ", Cause.UNEXPLAINED),
    ]
    assert twice.drift == 1


def test_the_trace_says_that_experiments_do_not_count(twice: EchoTrace) -> None:
    assert all("the same copy with nothing changed shows something else" in why for why in twice.uncounted)
    assert "Experiments that do not count" in twice.summary()
    assert EchoTrace.from_dict(twice.to_dict()) == twice


def test_a_true_copy_leaves_nothing_uncounted() -> None:
    assert trace_echo(prefixed(normalizers.Prepend(MARK), decoders.Strip(" ", 1, 0)), "a</s>b").uncounted == ()


# -- equal ids: no way of decoding is to blame ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "split",
    [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(r"\s+"), "removed"),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits()]),
    ],
    ids=["whitespace", "regex", "nested"],
)
@pytest.mark.parametrize("prompt", [" a", "  a", "a  b", "a ", "\na"])
def test_where_the_ids_are_equal_decoding_is_not_to_blame(split: pre_tokenizers.PreTokenizer, prompt: str) -> None:
    tokenizer = RustTokenizer(models.BPE({"a": 0, "b": 1, MARK: 2, f"{MARK}a": 3}, [(MARK, "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    assert {cause for _, _, cause, _ in named(tokenizer, prompt)} == {Cause.PRE_TOKENIZER}


def test_where_the_ids_differ_a_strip_is_the_decoders() -> None:
    tokenizer = prefixed(None, decoders.Strip(" ", 1, 0))
    assert named(tokenizer, " a") == [(" ", "", Cause.DECODER_STRIP, ())]
    tokenizer.decoder = decoders.Sequence([*SPACES, decoders.Replace(Regex("^ "), "")])
    assert named(tokenizer, " a") == [(" ", "", Cause.DECODER_STRIP, ())]


# -- one rule, many spellings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(?<!\\n)^", "^", "^(?=[ab])"])
def test_a_prefix_rule_is_a_prefix_however_it_is_written(pattern: str) -> None:
    tokenizer = prefixed(normalizers.Replace(Regex(pattern), MARK), decoders.Strip(" ", 1, 0))
    assert named(tokenizer, "a</s>b") == [
        ("</s>", "", Cause.SPECIAL_REMOVED, ()),
        ("", " ", Cause.DUMMY_PREFIX, ()),
    ]


def test_white_space_that_a_normalizer_replaces_is_the_normalizers() -> None:
    tokenizer = RustTokenizer(models.BPE({"a": 0, "b": 1, " ": 2, "\n": 3}, []))
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace(Regex(r"\s"), " "), decoders.Fuse()
    assert named(tokenizer, "a\nb") == [("\n", " ", Cause.NORMALIZER, ())]


# -- no more causes than needed ------------------------------------------------------------------------------------


def test_an_unknown_letter_behind_a_prefix_is_unknown_and_nothing_else() -> None:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), (MARK, -1.0), ("a", -1.0), (f"{MARK}a", -1.0)]
    tokenizer = RustTokenizer(models.Unigram(pieces, 0, False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.add_special_tokens([special("<s>")])
    last = named(tokenizer, "a<s>\u8a9e")[-1]
    assert last[2:] == (Cause.UNKNOWN_TOKEN, ())


def test_the_blank_and_the_letter_of_one_difference_have_causes_of_their_own() -> None:
    tokenizer = RustTokenizer(models.WordPiece({"[UNK]": 0, "you": 1, "a": 2}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    found = named(tokenizer, "a\nYou")
    assert [(lost, gained, cause) for lost, gained, cause, _ in found] == [
        ("\n", " ", Cause.PRE_TOKENIZER),
        ("Y", "y", Cause.NORMALIZER),
    ]


# -- added tokens that the decoder reads ---------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["\u00f6", "\u0120", "\u010a", "\u00e9\u00e9"])
def test_an_added_token_in_byte_letters_is_read_as_bytes(letter: str) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = RustTokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(letter, normalized=False)])
    trace = trace_echo(tokenizer, f"sch{letter}n")
    assert {(e.cause, e.also) for e in trace.edits} == {(Cause.ADDED_TOKEN_DECODED, ())}
    (edit, *_) = trace.edits
    assert edit.evidence is not None
    assert "without_added_token" in edit.evidence.changed
    assert letter in edit.evidence.echo_after
    assert "added_tokens" in edit.cure


def test_an_added_token_in_byte_pieces_is_read_as_a_byte() -> None:
    vocab = {letter: number for number, letter in enumerate("ab<0x41>")}
    tokenizer = RustTokenizer(models.BPE(vocab, []))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens([AddedToken("<0x41>", normalized=False)])
    assert {cause for _, _, cause, _ in named(tokenizer, "a<0x41>b")} == {Cause.ADDED_TOKEN_DECODED}


# -- a decoder that is not there -----------------------------------------------------------------------------------


def test_pieces_shown_as_they_are_spelled_lack_their_decoder() -> None:
    tokenizer = RustTokenizer.from_file(str(tokenizer_path("byte-bpe") / "tokenizer.json"))
    tokenizer.decoder = None
    assert {cause for _, _, cause, _ in named(tokenizer, "hello there, you")} == {Cause.DECODER_JOIN}


# -- errors --------------------------------------------------------------------------------------------------------


def test_a_pattern_that_backtracks_without_end_is_a_typed_error() -> None:
    tokenizer = prefixed(None)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    with pytest.raises(EncodeError, match="retry-limit-in-match over"):
        trace_echo(tokenizer, "a" * 40 + "b")


def test_an_experiment_that_panics_is_not_the_end_of_the_trace() -> None:
    """With the prefix gone, the pattern no longer fails at once."""
    tokenizer = prefixed(normalizers.Prepend(MARK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"^(?!{MARK})(a+)+$"), "isolated")
    trace = trace_echo(tokenizer, "a" * 40 + "b")
    assert [edit.echo_text for edit in trace.edits] == [" "]
    assert any("EncodeError" in why for why in trace.uncounted)


def test_a_dialogue_is_written_by_the_chat_template_and_without_one_the_way_is_named() -> None:
    dialogue = Dialogue.from_dict({"turns": [{"user": "Hi", "assistant": "Hello!"}, {"user": "Who?"}]})
    folder = tokenizer_path("llama2-style/legacy")
    shown = trace_echo(folder, dialogue).prompt
    assert shown.startswith("<s>[INST] Hi [/INST]")
    assert "Who?" in shown
    assert (
        trace_echo(folder, [{"role": "user", "content": "Hi"}]).prompt
        == trace_echo(folder, Dialogue.from_dict({"turns": [{"user": "Hi"}]})).prompt
    )
    with pytest.raises(EncodeError, match=r"no chat template .*prompts_of\(dialogue, PromptClass\)"):
        trace_echo(prefixed(None), dialogue)
    with pytest.raises(EncodeError, match=r"prompt_of_messages\(messages, PromptClass\)"):
        trace_echo(prefixed(None), [{"role": "user", "content": "Hi"}])


def test_a_back_end_whose_added_tokens_are_a_method_has_no_flags_to_change() -> None:
    class MistralLike:
        def added_tokens_decoder(self) -> dict[int, AddedToken]:
            raise NotImplementedError

    assert _with_flags(MistralLike(), {"lstrip": False}) is None
