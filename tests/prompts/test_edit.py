"""Whole turns are edited, branched and cut; what is left fits the budget, and one turn more would not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.errors import DialogueError
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.edit import branch, count_tokens, edit_turn, fill_prompt, truncate
from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from tests.support.small_tokenizers import small_tokenizers
from tests.support.templates import fast_tokenizer

TWO = Dialogue(id="d", turns=(Turn(user="a", assistant="b"), Turn(user="c", assistant="d")), system="S")


def test_a_turn_is_edited_and_the_others_stay():
    edited = edit_turn(TWO, 1, user="x")
    assert edited.turns == (Turn(user="x", assistant="b"), TWO.turns[1])
    assert edit_turn(TWO, 2, assistant="y").turns == (TWO.turns[0], Turn(user="c", assistant="y"))
    assert TWO.turns[0].user == "a"
    assert edited.system == "S"


def test_a_branch_asks_again():
    assert branch(TWO, 2).turns == (TWO.turns[0], Turn(user="c"))
    other = branch(TWO, 1, user="x")
    assert (other.id, other.turns) == ("d/1", (Turn(user="x"),))


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_turn_that_is_not_there_is_a_typed_error(number):
    for act in (edit_turn, branch):
        with pytest.raises(DialogueError, match="has turns 1 to 2"):
            act(TWO, number)


@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=8),
    st.integers(1, 400),
    st.sampled_from(["chatml", "mistral-v3", "vicuna"]),
)
def test_the_newest_turns_that_fit_are_kept(texts, max_tokens, style):
    """Against the slow reference: drop one turn after the other until the prompt fits."""
    tokenizer, cls = small_tokenizers()["byte bpe"], prompt_class(style)
    dialogue = Dialogue(id="d", turns=tuple(Turn(user=t, assistant=t[::-1]) for t in texts), system="S")
    fitting = [
        kept
        for dropped in range(len(texts))
        if count_tokens(kept := Dialogue(id="d", turns=dialogue.turns[dropped:], system="S"), cls, tokenizer)
        <= max_tokens
    ]
    if fitting:
        assert truncate(dialogue, cls, tokenizer, max_tokens=max_tokens) == fitting[0]
    else:
        with pytest.raises(DialogueError, match="its last turn alone is"):
            truncate(dialogue, cls, tokenizer, max_tokens=max_tokens)


def test_a_last_turn_without_an_answer_opens_its_reply():
    prompt = fill_prompt(branch(TWO, 2), prompt_class("chatml"))
    assert prompt.create_prompt().endswith("c<|im_end|>\n<|im_start|>assistant\n")


def test_a_turn_is_cut_off_with_its_calls_and_results():
    tokenizer = fast_tokenizer("byte bpe", "{% for m in messages %}{{ m | tojson }}{% endfor %}")
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    loop = [
        {"role": "user", "content": "f?"},
        call,
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "1"},
    ]
    greeting, system = {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "S"}
    last = [{"role": "user", "content": "again"}, {"role": "user", "content": "and again"}]
    dialogue = Dialogue(id="d", messages=[system, greeting, *loop, *last], tools=[{"name": "f"}])

    def fit(messages):
        kept = dialogue.replace(messages=messages)
        budget = count_tokens(kept, lambda: ChatTemplatePrompt(tokenizer), tokenizer)
        return truncate(dialogue, lambda: ChatTemplatePrompt(tokenizer), tokenizer, max_tokens=budget), kept

    for messages in (dialogue.messages, [system, *last]):
        found, kept = fit(messages)
        assert found == kept
    with pytest.raises(DialogueError, match="is not plain: message 2 has role 'assistant'"):
        branch(dialogue, 1)
