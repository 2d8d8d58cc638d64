"""Law L3: the exact cut is right wherever the prompt ends; the others are wrong in their known ways."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.tokenization_python import PreTrainedTokenizer

from chatlab.echo.cut import STRATEGIES, CutCase, CutStrategy, chosen_strategies, cut_exactly, judge, make_case
from chatlab.echo.cutting.case import cleans_up, marker_of
from chatlab.echo.cutting.outcome import first_difference
from chatlab.echo.replies import Continuations
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.errors import CutError, EncodeError, PromptError
from chatlab.prompts.base import RoleType
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
    """The slow, obvious answer: decode everything, and the prompt up to its last whole character.

    A token may hold a whole character and begin another; and one bad byte may spoil the good ones before it.
    """
    decode, whole = tokenizer.decoder(), split
    while whole and decode(token_ids[:whole]).endswith("\ufffd"):
        whole -= 1
    text, shown = decode(token_ids), decode(token_ids[:split]).rstrip("\ufffd")
    return text.removeprefix(max((p for p in (shown, decode(token_ids[:whole])) if text.startswith(p)), key=len))


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


# -- ways that people use ---------------------------------------------------------------------------------------


def llama2_case(name: str, turns: int, reply: str) -> CutCase:
    tokenizer, prompt = load_tokenizer(tokenizer_path(f"llama2-style/{name}")), ChatPromptMetaLlamaLlama2Chat()
    for turn in range(1, turns + 1):
        prompt.add_requester_msg("Where?")
        prompt.add_responder_msg("There." if turn < turns else None)
    text = prompt.create_prompt()
    (output,) = Continuations(tokenizer).encode([reply])
    return make_case(tokenizer, tokenizer.encode(text), output, prompt_text=text, prompt=prompt)


@pytest.mark.parametrize("turns", [1, 2, 3, 6])
def test_the_three_of_fastchats_llama2_rule_is_the_law_of_the_legacy_drift(turns: int) -> None:
    """``<s>`` has three characters and comes back as none; ``</s>`` has four and the legacy prefix comes back as one."""
    rule = STRATEGIES["fastchat_llama2"]
    legacy, fixed = (llama2_case(name, turns, "\u6771\u4eac") for name in ("legacy", "non-legacy"))
    assert len(legacy.echo) - len(legacy.plain_text) == turns - 1
    assert rule.skip_len(legacy) == len(legacy.echo)
    assert str(rule.outcome(legacy, legacy.exact_text)) == "exact"
    assert rule.skip_len(fixed) == len(fixed.echo) + turns - 1
    assert rule.outcome(fixed, fixed.exact_text).effect_len == min(turns - 1, 2)


def case_of(prompt: str, reply: str, question: str = "", echo: str | None = None, first_piece: str = "") -> CutCase:
    """A generation of a tokenizer that gives back what it gets, unless ``echo`` says otherwise."""
    echo = prompt if echo is None else echo
    return CutCase(
        prompt_text=prompt,
        plain_text=prompt,
        custom_skip_len=len(prompt),
        echo=echo,
        text=echo + reply,
        output_text=reply.strip(),
        exact_text=reply,
        question=question,
        marker=marker_of(prompt, question, echo),
        first_piece=first_piece,
    )


ALPACA = "### Instruction:\nHi\n\n### Response:\n"
CHATML = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("name", "case", "result"),
    [
        ("prompt_chars", case_of("USER: Hi ASSISTANT:", " Yes."), " Yes."),
        ("fastchat_one_more", case_of("USER: Hi ASSISTANT:", " Yes."), "Yes."),
        ("fastchat_vicuna", case_of("A: b</s>A: c B:", " Yes.", echo="A: b A: c B:"), "Yes."),
        ("fastchat_chatglm", case_of("Hi", " Yes.", question="Hi"), "Yes."),
        ("fastchat_markers", case_of(ALPACA, "Yes.", "Hi", echo="\nHi\n\n\n"), "Yes."),
        ("fastchat_markers", case_of(CHATML, "Yes.", "Hi", echo="user\nHi\nassistant\n"), "Yes."),
        ("replace_prompt", case_of("a b", " a b c"), "c"),
        ("split_prompt", case_of("a b", " a b c"), "c"),
        ("replace_prompt", case_of("a b", " c", echo="a  b"), "a  b c"),
        ("first_marker", case_of(ALPACA, "Yes.", "Hi"), "Yes."),
        ("first_marker", case_of(f"{ALPACA}Yes.\n\n{ALPACA}", "No.", "Hi"), "Yes.\n\n### Instruction:\nHi\n\n###"),
        ("last_marker", case_of(f"{ALPACA}Yes.\n\n{ALPACA}", "No.", "Hi"), "No."),
        ("output_ids_with_space", case_of("x", " Yes.", first_piece="\u2581Yes"), " Yes."),
        ("output_ids_with_space", case_of("x", "Yes.", first_piece="Yes"), "Yes."),
    ],
)
def test_a_known_way_does_what_its_program_does(name: str, case: CutCase, result: str) -> None:
    assert STRATEGIES[name].applies_to(case)
    assert STRATEGIES[name].cut(case) == STRATEGIES[name].result(case) == result


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("fastchat_llama2", case_of("USER: <s> ASSISTANT:", "Yes.", "<s>")),  # the user's own, not the format's
        ("fastchat_chatglm", case_of("USER: Hi", "Yes.", "Hi")),
        ("fastchat_chatglm", case_of("Hi", "Yes.")),
        ("fastchat_markers", case_of("USER: ### End ASSISTANT:", "Yes.", "### End")),
        ("first_marker", case_of("Hi", "Yes.", "Hi")),
        ("last_marker", case_of("USER: Hi", "Yes.", "Hi")),  # its last word is the user's
        ("last_marker", case_of("Hi [/INST] ", "Yes.", echo="hi [ / inst ]")),  # no word of the decoded text
        ("last_marker", case_of("", "Yes.")),
    ],
)
def test_where_no_program_would_use_a_way_it_is_neither_right_nor_wrong(name: str, case: CutCase) -> None:
    outcome = STRATEGIES[name].outcome(case, case.exact_text)
    assert (str(outcome), outcome.effect_len, outcome.first_wrong_offset) == ("not applicable", 0, -1)
    assert isinstance(STRATEGIES[name].cut(case), str)


class Bot(ChatPromptMetaLlamaLlama2Chat):
    """Its turns end in a control token, right before the word that begins the reply."""

    def create_prompt(self, opts: object = None) -> str:
        said = (
            f"User: {c.message}</s>" if c.role_type is RoleType.REQUESTER else f"Bot:{c.message or ''}"
            for c in self.get_contents()
        )
        return "".join(said)


@pytest.mark.parametrize("name", ["llama2-style/legacy", "llama2-style/non-legacy", "phi3-style/before"])
def test_a_marker_behind_a_control_token_is_the_word_that_is_seen(name: str) -> None:
    """Nobody searches the decoded text for ``Hi.</s>Bot:``, which is not in it."""
    tokenizer, prompt = load_tokenizer(tokenizer_path(name)), Bot()
    prompt.add_requester_msg("Hi.")
    prompt.add_responder_msg(None)
    text = prompt.create_prompt()
    case = make_case(tokenizer, tokenizer.encode(text), tokenizer.encode("Hello."), prompt_text=text, prompt=prompt)
    assert case.marker == "Bot:"
    assert str(STRATEGIES["last_marker"].outcome(case, case.exact_text)) == "exact"


# -- ways of one's own --------------------------------------------------------------------------------------------


def mine(case: CutCase) -> str:
    """Skip one more.

    Not told.
    """
    return case.text[len(case.echo) + 1 :]


def test_a_way_of_ones_own_goes_where_a_name_goes() -> None:
    object_ = CutStrategy(name="object", skip_echo_len=lambda case: len(case.echo), strips=True)
    chosen = chosen_strategies(["exact", mine, object_])
    assert [strategy.name for strategy in chosen] == ["exact", "mine", "object"]
    assert [strategy.way for strategy in chosen] == ["ids", "own", "own"]
    assert chosen[1].description == "Skip one more."
    case = case_of("a", " b ")
    assert [str(strategy.outcome(case, " b ")) for strategy in chosen] == ["exact", "eats 1", "exact"]
    for alone in ("exact", mine, object_, STRATEGIES, iter(STRATEGIES), {"x": mine}):
        assert chosen_strategies(alone)


@pytest.mark.parametrize(
    ("strategies", "told"),
    [
        (["nope"], "no cut strategy is called 'nope': choose from prompt_chars, .* or give a function"),
        ([None], "no cut strategy is called None"),
        (5, "strategies are a list, not 5: choose from"),
        (None, "strategies are a list, not None"),
        ([], "no strategy was chosen: choose from"),
        (["exact", "exact"], "two strategies are called exact: give one another name"),
        ([lambda case: "", lambda case: "x"], "two strategies are called <lambda>: .*CutStrategy"),
    ],
)
def test_what_is_no_strategy_is_told_with_the_way_out(strategies: Any, told: str) -> None:
    with pytest.raises(CutError, match=told):
        chosen_strategies(strategies)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "a CutStrategy has a name"),
        ({"name": 5, "cut": mine}, "a CutStrategy has a name, not 5"),
        ({"name": "x"}, "x needs cut or skip_echo_len"),
        ({"name": "x", "cut": "text"}, "cut of x is a function of a CutCase, not 'text'"),
        ({"name": "x", "cut": mine, "applies": True}, "applies of x is a function"),
        ({"name": "x", "cut": mine, "way": "other"}, "way of x must be one of length, search, ids, own"),
    ],
)
def test_a_strategy_is_checked_when_it_is_made(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(CutError, match=told):
        CutStrategy(**fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cut": lambda case: None}, "own gives None, not text: return the reply"),
        ({"cut": lambda case: case.nothing}, "own failed on a prompt that ends in 'a': AttributeError"),
        ({"cut": lambda: ""}, "own failed on .* TypeError"),
        ({"skip_echo_len": lambda case: None}, "skip_echo_len of own gives None, not a number"),
        ({"skip_echo_len": lambda case: 1.5}, "skip_echo_len of own gives 1.5"),
        ({"cut": mine, "applies": lambda case: 1 / 0}, "own failed on .* ZeroDivisionError"),
    ],
)
def test_a_way_that_fails_is_named(fields: dict[str, Any], told: str) -> None:
    strategy, case = CutStrategy(name="own", **fields), case_of("a", " b")
    with pytest.raises(CutError, match=told):
        strategy.outcome(case, " b")
    with pytest.raises(CutError, match=told):
        list(strategy.outcomes([case], [" b"]))


def test_a_rule_without_a_number_names_the_method() -> None:
    class Silent(ChatPromptMetaLlamaLlama2Chat):
        def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
            return None  # type: ignore[return-value]

    tokenizer = load_tokenizer(tokenizer_path("byte-bpe"))
    with pytest.raises(PromptError, match="Silent.get_custom_skip_echo_len must return an int, .* not None"):
        make_case(tokenizer, [1], [2], prompt_text="a", prompt=Silent())


def test_a_case_is_made_with_whatever_tokenizer_one_holds() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    assert make_case(tokenizer.wrapped, [1, 2], [3], prompt_text="a") == make_case(
        tokenizer, [1, 2], [3], prompt_text="a"
    )
    with pytest.raises(EncodeError, match="prompt_text is the text that was encoded, not int"):
        make_case(tokenizer, [1], [2], prompt_text=5)  # type: ignore[arg-type]
