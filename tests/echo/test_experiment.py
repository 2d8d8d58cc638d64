"""The drift table: its rows, its law, and what happens to bad dialogues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from chatlab.echo.cut import STRATEGIES
from chatlab.echo.edits import Cause
from chatlab.echo.experiment import BATCH_LEN, concat_frames, iter_drift, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_names, tokenizer_path
from chatlab.errors import ChatlabError, DialogueError, PromptError, TemplateError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.dialogue import Dialogue, Turn, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return list(read_dialogues(dialogues_path()))


@pytest.fixture(scope="module")
def legacy() -> Tokenizer:
    return load_tokenizer(tokenizer_path("llama2-style/legacy"))


@pytest.fixture(scope="module")
def frame(dialogues: list[Dialogue], legacy: Tokenizer) -> pd.DataFrame:
    return measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, legacy)


def test_there_is_one_row_a_dialogue_turn_and_strategy(frame: pd.DataFrame, dialogues: list[Dialogue]) -> None:
    assert len(frame) == sum(len(d.turns) for d in dialogues) * len(STRATEGIES)
    assert not frame.duplicated(["dialogue", "turn", "strategy"]).any()
    assert {"label_kind", "label_language", "versions", "tokenizer"} <= set(frame.columns)
    assert not frame.drop(columns="drift").isna().any().any()


def test_the_exact_cut_is_never_wrong(frame: pd.DataFrame) -> None:
    assert not frame.loc[frame.strategy == "exact", "wrong"].any()


@pytest.mark.parametrize("name", tokenizer_names())
@pytest.mark.parametrize("format_name", ["llama2", "chatml", "vicuna"])
def test_truth_and_cuts_have_one_ruler(name: str, format_name: str, dialogues: list[Dialogue]) -> None:
    """The two cuts that are right by their making are right on every tokenizer, with and without clean-up."""
    tokenizer, strategies = load_tokenizer(tokenizer_path(name)), ["exact", "decoded_prompt_len"]
    table = measure_drift(dialogues[::40], prompt_class(format_name), tokenizer, strategies=strategies)
    assert not table.wrong.any()
    assert set(table.clean_up) == {"on" if name == "wordpiece" else "off"}


def test_drift_is_one_character_a_turn(frame: pd.DataFrame) -> None:
    """Turns - 1, where no message spells a control token and none is left out for being empty."""
    plain = frame[~frame.label_kind.isin(["special-tokens", "empty"])]
    assert (plain.echo_drift == plain.turn - 1).all()


def test_drift_says_what_the_cut_does(frame: pd.DataFrame) -> None:
    """Positive leaks, negative eats, 0 is exact, for strategies that plan a length."""
    planned = frame[frame.strategy == "plain_prompt_chars"]
    assert (planned.effect[planned.drift > 0] == "leaks").mean() > 0.99
    assert (planned.effect[planned.drift == 0] == "exact").all()
    assert frame.drift[frame.strategy == "output_ids_alone"].isna().all()


def test_a_non_legacy_tokenizer_does_not_drift(dialogues: list[Dialogue]) -> None:
    table = measure_drift(dialogues[:300], ChatPromptMetaLlamaLlama2Chat, tokenizer_path("llama2-style/non-legacy"))
    assert (table.echo_drift[table.label_kind != "special-tokens"] == 0).all()


def test_the_seeds_class_is_measured_as_it_is_printed(
    legacy: Tokenizer, dialogues: list[Dialogue], frame: pd.DataFrame
) -> None:
    """A user's own subclass, with its rule, gives the same table as the shipped one."""

    class Own(ChatPromptMetaLlamaLlama2Chat):
        def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
            turn = self.get_turn()
            return skip_echo_len + 1 * turn if turn >= 2 else skip_echo_len

    own = measure_drift(dialogues[:BATCH_LEN], Own, legacy)
    assert own.wrong.tolist() == frame.wrong.iloc[: len(own)].tolist()


def test_tracing_counts_the_causes(dialogues: list[Dialogue], legacy: Tokenizer) -> None:
    table = measure_drift(dialogues[:20], ChatPromptMetaLlamaLlama2Chat, legacy, trace=True, strategies=["exact"])
    assert (table.cause_dummy_prefix == table.turn - 1).all()
    assert (table[f"cause_{Cause.UNEXPLAINED.name.lower()}"] == 0).all()


def test_a_model_answers_where_it_is_asked(dialogues: list[Dialogue], legacy: Tokenizer) -> None:
    class Parrot:
        def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
            return [legacy.special_strs["</s>"]]

    table = measure_drift(
        dialogues[:10],
        ChatPromptMetaLlamaLlama2Chat,
        legacy,
        replies=lambda d: Parrot() if d.id == dialogues[0].id else None,
        strategies=["exact"],
    )
    sources = table.groupby("dialogue").reply_source.agg(lambda s: set(s).pop())
    assert sources[dialogues[0].id] == "model"
    assert set(sources.drop(dialogues[0].id)) == {"dataset"}
    assert table.reply_len[table.dialogue == dialogues[0].id].eq(0).all()


def test_it_streams_in_batches(legacy: Tokenizer) -> None:
    """Dialogues are read as they are needed, so a file may be longer than memory."""
    taken = 0

    def endless() -> Iterator[Dialogue]:
        nonlocal taken
        while True:
            taken += 1
            yield Dialogue(id=str(taken), turns=(Turn(user="Hi", assistant="Hello"),))

    next(iter_drift(endless(), ChatPromptMetaLlamaLlama2Chat, legacy))
    assert taken == BATCH_LEN


def test_labels_of_some_dialogues_are_empty_in_the_others(legacy: Tokenizer) -> None:
    one = Dialogue(id="1", turns=(Turn(user="a", assistant="b"),), labels={"x": "1"})
    two = Dialogue(id="2", turns=(Turn(user="a", assistant="b"),))
    frames = [
        *iter_drift([one], ChatPromptMetaLlamaLlama2Chat, legacy),
        *iter_drift([two], ChatPromptMetaLlamaLlama2Chat, legacy),
    ]
    whole = concat_frames(frames)
    assert whole.groupby("dialogue").label_x.first().to_dict() == {"1": "1", "2": ""}
    assert isinstance(whole.strategy.dtype, pd.CategoricalDtype)


def test_no_dialogues_give_an_empty_table(legacy: Tokenizer) -> None:
    assert measure_drift([], ChatPromptMetaLlamaLlama2Chat, legacy).empty


def test_a_bad_dialogue_is_named_or_left_out(legacy: Tokenizer) -> None:
    bad = Dialogue(id="broken", turns=(Turn(user="\ud800", assistant="x"),))
    good = Dialogue(id="good", turns=(Turn(user="a", assistant="b"),))
    with pytest.raises(DialogueError, match="'broken'.*lone surrogate"):
        measure_drift([bad, good], ChatPromptMetaLlamaLlama2Chat, legacy)
    left_out: list[ChatlabError] = []
    table = measure_drift([bad, good], ChatPromptMetaLlamaLlama2Chat, legacy, on_bad=left_out.append)
    assert set(table.dialogue) == {"good"}
    assert len(left_out) == 1


def test_a_dialogue_that_the_template_refuses_is_named_or_left_out(legacy: Tokenizer) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ '<s>' + m['role'] + m['content'] }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    )

    def prompt_class() -> ChatTemplatePrompt:
        return ChatTemplatePrompt(tokenizer_path("llama2-style/legacy"), chat_template=template)

    turns = (Turn(user="a", assistant="b"),)
    good, refused = Dialogue(id="good", turns=turns), Dialogue(id="refused", turns=turns, system="Be brief")
    with pytest.raises(DialogueError, match="'refused'.*System role not supported"):
        measure_drift([good, refused], prompt_class, legacy)
    left_out: list[ChatlabError] = []
    table = measure_drift([good, refused], prompt_class, legacy, on_bad=left_out.append)
    assert set(table.dialogue) == {"good"}
    assert ["'refused'" in str(error) for error in left_out] == [True]


def test_a_class_without_a_template_is_no_fault_of_the_dialogues(legacy: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TemplateError):
        measure_drift([], lambda: ChatTemplatePrompt(tmp_path), legacy, on_bad=lambda error: None)


def test_a_last_turn_without_an_answer_needs_a_model(legacy: Tokenizer) -> None:
    open_end = Dialogue(id="1", turns=(Turn(user="a", assistant="b"), Turn(user="c")))
    assert measure_drift([open_end], ChatPromptMetaLlamaLlama2Chat, legacy).turn.max() == 1


def test_unusable_arguments_are_typed_errors(legacy: Tokenizer, dialogues: list[Dialogue]) -> None:
    with pytest.raises(ChatlabError, match="no cut strategy is called nope"):
        measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, legacy, strategies=["nope"])
    assert set(measure_drift(dialogues[:1], ChatPromptMetaLlamaLlama2Chat, legacy, strategies="exact").strategy) == {
        "exact"
    }
    with pytest.raises(PromptError, match="create_prompt"):
        measure_drift(dialogues, AbstractChatPrompt, legacy)
    with pytest.raises(ChatlabError, match="replies are"):
        measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, legacy, replies=3)  # type: ignore[arg-type]
    with pytest.raises(ChatlabError, match="reply_start must be one of word, space, bare"):
        measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, legacy, reply_start="zzz")  # type: ignore[arg-type]
    data = dialogues[0].to_dict()
    for wrong, says in ([data], "from_dict"), (data, "not dict"), (None, "NoneType"), (dialogues[0], "not Dialogue"):
        with pytest.raises(DialogueError, match=says):
            measure_drift(wrong, ChatPromptMetaLlamaLlama2Chat, legacy)  # type: ignore[arg-type]


def test_a_path_of_dialogues_is_read(legacy: Tokenizer, dialogues: list[Dialogue], tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    lines = [json.dumps(dialogue.to_dict()) for dialogue in dialogues[:5]]
    path.write_text("\n".join([*lines[:3], "no JSON", *lines[3:]]), encoding="utf-8")
    with pytest.raises(DialogueError, match="some.jsonl, line 4"):
        measure_drift(path, ChatPromptMetaLlamaLlama2Chat, legacy)
    left_out: list[ChatlabError] = []
    table = measure_drift(str(path), ChatPromptMetaLlamaLlama2Chat, legacy, on_bad=left_out.append)
    assert table.equals(measure_drift(dialogues[:5], ChatPromptMetaLlamaLlama2Chat, legacy))
    assert len(left_out) == 1
