"""trace_turns: what is kept, what is lost, why, and the law that the edits are the whole difference."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.errors import ChatlabError, DialogueError, EncodeError, GenerationError
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.tokenizers.load import as_tokenizer
from chatlab.turns.edits import KNOWN, Cause
from chatlab.turns.trace import TurnsTrace, trace_turns
from tests.support.small_tokenizers import small_tokenizers
from tests.support.templates import CHATML, GEMMA, MISTRAL, REBUILDING, THINKING, fast_tokenizer

TALK = Dialogue(
    id="talk",
    turns=[Turn(user="Hi", assistant="Yes, I do.\n"), Turn(user="Who?", assistant=" It is  him."), Turn(user="Why?")],
)
TEXT = st.text(st.sampled_from("ab \n.<|>é日Ye"), max_size=12)
TURNS = st.lists(st.builds(Turn, user=TEXT, assistant=TEXT), min_size=2, max_size=4)


def check_law(trace: TurnsTrace) -> None:
    """L9, on ids alone: edits turn one into the other, and what is kept is a common prefix that cannot be longer."""
    prompts = trace.replay()
    for turn, (prompt, after) in zip(trace.turns, pairwise(prompts), strict=True):
        said = (*prompt, *turn.reply_ids)[: len(prompt) + len(turn.reply_ids) - turn.end_len]
        assert len(prompt) == turn.prompt_len
        assert said[: turn.kept_len] == after[: turn.kept_len]
        assert turn.kept_len == len(said) or said[turn.kept_len] != (*after, None)[turn.kept_len]
        assert turn.kept_len + turn.lost_len == len(said)
        assert turn.is_kept or turn.edits
        for edit in turn.edits:
            assert (edit.evidence is None) is (edit.cause is Cause.UNEXPLAINED)


@settings(max_examples=60)
@given(
    TURNS,
    st.sampled_from(["byte bpe", "metaspace first", "legacy prepend", "unigram", "right-stripping"]),
    st.sampled_from(["chatml", "llama2", "phi3", "vicuna"]),
    st.sampled_from(["verbatim", "stripped", str.upper]),
)
def test_the_edits_are_the_whole_difference(turns: list[Turn], kind: str, form: str, stored: object) -> None:
    tokenizer = as_tokenizer(small_tokenizers()[kind])
    trace = trace_turns(tokenizer, Dialogue(id="d", turns=turns), prompt_class=form, stored=stored)
    check_law(trace)
    assert TurnsTrace.from_dict(json.loads(json.dumps(trace.to_dict()))) == trace


def test_a_kept_conversation_has_nothing_to_tell() -> None:
    trace = trace_turns(small_tokenizers()["byte bpe"], TALK, prompt_class="chatml")
    assert trace.is_kept
    assert not trace.edits
    assert [turn.reread_len - len(turn.bridge_ids) for turn in trace.turns] == [1, 1]  # the last sampled id
    assert "all 2 borders are kept" in str(trace)


def test_a_stripped_reply_is_the_programs_doing() -> None:
    trace = trace_turns(small_tokenizers()["byte bpe"], TALK, prompt_class="chatml", stored="stripped")
    assert not trace.is_kept
    assert {edit.cause for edit in trace.edits} == {Cause.REPLY_STRIPPED}
    assert {edit.layer for edit in trace.edits} == {"program"}
    assert "store the reply verbatim" in trace.sentences()[2]


@pytest.mark.parametrize(
    ("template", "content", "cause"),
    [
        (GEMMA, "Yes.\n", Cause.REPLY_TRIMMED),
        (THINKING, "<think>\nHm.\n</think>\n\nYes.", Cause.REASONING_DROPPED),
        (REBUILDING, "<think>Hm.</think>Yes.", Cause.REASONING_REWRITTEN),
    ],
)
def test_what_a_template_does_is_the_templates(template: str, content: str, cause: Cause) -> None:
    tokenizer = fast_tokenizer("byte bpe", template, bos="<s>", eos="</s>")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}]
    trace = trace_turns(tokenizer, [*messages, {"role": "user", "content": "And?"}])
    check_law(trace)
    assert cause in trace.cause_counts(), trace.to_frame()
    assert Cause.UNEXPLAINED not in trace.cause_counts()


def test_a_system_text_in_the_last_question_moves() -> None:
    tokenizer = fast_tokenizer("byte bpe", MISTRAL, bos="<s>", eos="</s>")
    trace = trace_turns(tokenizer, Dialogue(id="d", system="Be brief.", turns=TALK.turns))
    assert trace.cause_counts().keys() == {Cause.SYSTEM_MOVED}


def test_ids_that_the_text_has_not_are_the_models() -> None:
    tokenizer = as_tokenizer(small_tokenizers()["byte bpe"])
    by_letters = [tokenizer.encode(letter)[0] for letter in "Yes"]
    assert by_letters != tokenizer.encode("Yes")
    trace = trace_turns(tokenizer, TALK, prompt_class="chatml", reply_ids=[by_letters, by_letters])
    assert trace.cause_counts().keys() == {Cause.NOT_CANONICAL}
    assert {edit.same_text for edit in trace.edits} == {True}


def test_a_cut_context_is_the_programs_doing() -> None:
    trace = trace_turns(
        small_tokenizers()["byte bpe"], TALK, prompt_class="chatml", history=lambda messages: messages[-3:]
    )
    assert trace.turns[0].is_kept
    assert trace.cause_counts().keys() == {Cause.CONTEXT_CUT}


def test_the_trace_takes_what_people_hold() -> None:
    tokenizer = fast_tokenizer("byte bpe", CHATML, bos="<s>", eos="</s>")
    plain = trace_turns(tokenizer, TALK)
    assert plain == trace_turns(tokenizer, TALK.to_dict())
    assert plain.turns == trace_turns(tokenizer, list(TALK.messages)).turns
    assert plain.turns == trace_turns(tokenizer, TALK, prompt_class=ChatTemplatePrompt(tokenizer)).turns
    assert not trace_turns(tokenizer, Dialogue(id="one", turns=[Turn(user="Hi")])).turns


def test_every_cause_has_its_layer_and_cure() -> None:
    assert KNOWN.keys() == set(Cause)
    assert len(Cause) - 1 >= 14
    assert {told.layer for told in KNOWN.values()} == {"model", "tokenizer", "template", "program", "server", ""}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"stored": "sometimes"}, ChatlabError),
        ({"reply_start": "x"}, ChatlabError),
        ({"reply_ids": [[1]]}, DialogueError),
        ({"reply_ids": [[1.5], [1]]}, GenerationError),
        ({"stored": lambda text: None}, GenerationError),
        ({"stored": lambda text: 1 / 0}, GenerationError),
        ({"history": lambda messages: 1 / 0}, GenerationError),
    ],
)
def test_bad_options_are_told(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        trace_turns(small_tokenizers()["byte bpe"], TALK, prompt_class="chatml", **options)


def test_without_a_template_a_prompt_class_is_asked_for() -> None:
    with pytest.raises(EncodeError, match="prompt_class="):
        trace_turns(small_tokenizers()["byte bpe"], TALK)
    with pytest.raises(DialogueError, match="a conversation is"):
        trace_turns(small_tokenizers()["byte bpe"], 3)
