"""Law L3: the exact cut is right wherever the prompt ends; the others are wrong in their known ways."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.tokenization_python import PreTrainedTokenizer

from chatlab.echo.cut import STRATEGIES, cleans_up, cut_exactly, first_difference, judge, make_case
from chatlab.echo.replies import Continuations
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer


@pytest.fixture(
    scope="module", params=["llama2-style/legacy", "llama2-style/non-legacy", "phi3-style/before", "byte-bpe"]
)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(tokenizer_path(request.param))


def whole_text_after(tokenizer: Tokenizer, token_ids: list[int], split: int) -> str:
    """The slow, obvious answer: decode everything, and the prompt up to its last whole character."""
    whole = split
    while whole and tokenizer.decoder()(token_ids[:whole]).endswith("\ufffd"):
        whole -= 1
    return tokenizer.decoder()(token_ids).removeprefix(tokenizer.decoder()(token_ids[:whole]))


@given(data=st.data())
@settings(max_examples=300)
def test_the_exact_cut_is_right_at_every_split(tokenizer: Tokenizer, data: st.DataObject) -> None:
    text = data.draw(st.text(st.sampled_from(list("ab \n\u65e5\u672c\U0001f525\U0001f468\u200d\u00e9")), max_size=24))
    token_ids = tokenizer.encode(text)
    split = data.draw(st.integers(0, len(token_ids)))
    assert cut_exactly(tokenizer, token_ids[:split], token_ids[split:]) == whole_text_after(tokenizer, token_ids, split)


def test_prompts_that_end_inside_a_character_spoil_every_cut_by_length() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    token_ids = tokenizer.encode("Hi \U0001f9a9!")  # four byte ids: the vocabulary has no flamingo
    split = len(token_ids) - 3
    case = make_case(tokenizer, token_ids[:split], token_ids[split:], prompt_text="Hi \U0001f9a9!")
    assert STRATEGIES["exact"].cut(case) == "\U0001f9a9!"
    assert STRATEGIES["decoded_prompt_len"].cut(case) != "\U0001f9a9!"


def test_the_workaround_eats_the_first_character_of_a_japanese_reply_from_turn_two_on() -> None:
    """ChatStream's rule skips one character more than the drift; a space may go, a 東 may not."""
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    dialogue = next(d for d in read_dialogues(dialogues_path()) if len(d.turns) >= 3)
    newline = tokenizer.encode("\n")
    for turn, prompt in prompts_of(dialogue, ChatPromptMetaLlamaLlama2Chat):
        text = prompt.create_prompt()
        for reply, kept in (("\u6771\u4eac", turn == 1), (" Tokyo", True)):
            output = tokenizer.encode("\n" + reply)[len(newline) :]
            case = make_case(tokenizer, tokenizer.encode(text), output, prompt_text=text, prompt=prompt)
            result = STRATEGIES["prompt_class_rule"].cut(case)
            assert result == (reply.strip() if kept else reply[1:])
            assert STRATEGIES["exact"].cut(case) == reply


class Cleaning(PreTrainedTokenizer):
    """One id a code point, and transformers' clean-up of the decoded text."""

    def __init__(self) -> None:
        super().__init__(clean_up_tokenization_spaces=True)

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def vocab_size(self) -> int:
        return 0x110000

    def get_vocab(self) -> dict[str, int]:
        return dict(self.added_tokens_encoder)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index)


@pytest.mark.parametrize("make", [Cleaning, lambda: tokenizer_path("wordpiece")], ids=["slow", "fast"])
@pytest.mark.parametrize("reply", ["Yes , it is .", "she 's here , is n't she ?", ". !", "a ' b '"])
def test_every_cut_is_measured_on_the_same_side_of_clean_up(make: Callable[[], object], reply: str) -> None:
    """A stream cannot rewrite what it showed, ``decode`` does: the two are compared as ``decode`` shows them."""
    tokenizer = as_tokenizer(make())
    prompt_ids, output_ids = tokenizer.encode("is it so ?"), tokenizer.encode(f"a {reply}")[1:]
    case = make_case(tokenizer, prompt_ids, output_ids, prompt_text="is it so ?")
    assert cleans_up(tokenizer)
    assert STRATEGIES["decoded_prompt_len"].cut(case) == STRATEGIES["exact"].cut(case)
    assert Continuations(tokenizer).decode([output_ids]) == [case.exact_text]
    if tokenizer.loader == "slow":  # the Rust decoder takes most blanks out by itself, piece by piece
        assert case.exact_text != cut_exactly(tokenizer, prompt_ids, output_ids)


def test_strategies_are_named_documented_and_end_with_the_right_one() -> None:
    assert list(STRATEGIES)[-1] == "exact"
    assert all(name == s.name and s.description for name, s in STRATEGIES.items())


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_an_outcome_says_what_happened(result: str, reply: str) -> None:
    outcome = judge(result, reply)
    assert (outcome.effect == "exact") == (result == reply) == (outcome.effect_len == 0)
    if outcome.effect == "eats":
        assert reply[outcome.effect_len :] == result
    if outcome.effect == "leaks":
        assert result[outcome.effect_len :] == reply
    assert outcome.first_wrong_offset <= max(len(result), len(reply))


@given(st.text("ab", max_size=5), st.text("ab", max_size=5))
def test_the_first_difference_is_the_first(a: str, b: str) -> None:
    offset = first_difference(a, b)
    if offset < 0:
        assert a == b
    else:
        assert a[:offset] == b[:offset]
        assert a[offset : offset + 1] != b[offset : offset + 1]


def test_the_reference_itself_is_not_fooled() -> None:
    tokenizer, rng = load_tokenizer(tokenizer_path("byte-bpe")), random.Random(1)
    text = "".join(rng.choice("ab \u65e5\U0001f525") for _ in range(40))
    token_ids = tokenizer.encode(text)
    assert whole_text_after(tokenizer, token_ids, 0) == text
