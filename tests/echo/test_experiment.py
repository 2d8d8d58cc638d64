"""The drift table: its rows, its law, and what happens to bad dialogues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

from chatlab.echo.cut import STRATEGIES, CutCase, CutStrategy
from chatlab.echo.edits import Cause
from chatlab.echo.experiment import BATCH_LEN, concat_frames, iter_drift, measure_drift
from chatlab.echo.summary import DriftTally
from chatlab.embedded import dialogues_path, tokenizer_names, tokenizer_path
from chatlab.errors import ChatlabError, CutError, DialogueError, PromptError, TemplateError
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
    assert not frame.drop(columns=["drift", "wrong"]).isna().any().any()
    assert (frame.wrong.isna() == (frame.effect == "not_applicable")).all()


def test_a_table_is_measured_as_its_rows_are(dialogues: list[Dialogue], legacy: Tokenizer) -> None:
    rows = [dialogue.to_dict() for dialogue in dialogues[:3]]
    for table in (pd.DataFrame(rows), pyarrow.Table.from_pylist(rows)):
        found = measure_drift(table, "llama2", legacy, strategies=["exact"])
        pd.testing.assert_frame_equal(found, measure_drift(rows, "llama2", legacy, strategies=["exact"]))


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
    with pytest.raises(ChatlabError, match="no cut strategy is called 'nope'"):
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
    for wrong, says in (
        ([5], "from_dict"),
        (None, "NoneType"),
        ([{**data, "turns": 5}], f"{dialogues[0].id}.*must be a list"),
    ):
        with pytest.raises(DialogueError, match=says):
            measure_drift(wrong, ChatPromptMetaLlamaLlama2Chat, legacy)  # type: ignore[arg-type]


def own(case: CutCase) -> str:
    """Skip what the decoded prompt has."""
    return case.text[len(case.echo) :]


def test_ways_of_ones_own_are_measured_beside_the_known(legacy: Tokenizer, dialogues: list[Dialogue]) -> None:
    strip = CutStrategy(name="strip", cut=lambda case: own(case).strip(), strips=True)
    idle = CutStrategy(name="idle", cut=own, applies=lambda case: False)
    table = measure_drift(dialogues[:20], "llama2", legacy, strategies=["exact", own, strip, idle, mine_of(1)])
    wrong = table.groupby("strategy", observed=True).wrong
    assert wrong.sum().to_dict() == {
        "exact": 0,
        "own": 0,
        "strip": 0,
        "idle": 0,
        "mine": table.turn.groupby(table.strategy, observed=True).size()["own"],
    }
    assert wrong.count()["idle"] == 0
    assert set(table.effect[table.strategy == "idle"]) == {"not_applicable"}
    assert table.way.groupby(table.strategy, observed=True).first().to_dict()["own"] == "own"
    tally = DriftTally(table)
    assert "Your own way: mine spoils" in tally.verdict()[1]
    assert "Not applicable: idle." in tally.verdict()[1]


def mine_of(more: int) -> Callable[[CutCase], str]:
    def mine(case: CutCase) -> str:
        return "x" * more + own(case)

    return mine


def test_a_way_that_fails_is_named_with_its_error(legacy: Tokenizer, dialogues: list[Dialogue]) -> None:
    def broken(case: CutCase) -> str:
        return case.no_such_field  # type: ignore[attr-defined,no-any-return]

    with pytest.raises(CutError, match="broken failed on a prompt that ends in .*AttributeError"):
        measure_drift(dialogues[:2], "llama2", legacy, strategies=[broken])


def test_plausible_calls_are_what_they_mean(legacy: Tokenizer, dialogues: list[Dialogue]) -> None:
    few, expected = dialogues[:3], measure_drift(dialogues[:3], ChatPromptMetaLlamaLlama2Chat, legacy)
    for given in ("llama2", "ChatPromptMetaLlamaLlama2Chat", ChatPromptMetaLlamaLlama2Chat()):
        assert measure_drift(few, given, legacy).equals(expected)
    assert measure_drift([dialogue.to_dict() for dialogue in few], "llama2", legacy.wrapped).equals(expected)
    one = measure_drift(few[:1], "llama2", legacy)
    assert measure_drift(few[0], "llama2", legacy).equals(one)
    assert measure_drift(few[0].to_dict(), "llama2", legacy).equals(one)


class NeedsOne(ChatPromptMetaLlamaLlama2Chat):
    def __init__(self, system: str) -> None:
        super().__init__()


class Broken(ChatPromptMetaLlamaLlama2Chat):
    def create_prompt(self, opts: object = None) -> str:
        return {}["no such key"]


class Silent(ChatPromptMetaLlamaLlama2Chat):
    def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
        return None  # type: ignore[return-value]


def asked() -> AbstractChatPrompt:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    return prompt


@pytest.mark.parametrize(
    ("prompt_class", "told"),
    [
        ("lama", "no prompt format is called 'lama'"),
        (asked(), "not a prompt with 1 messages: give ChatPromptMetaLlamaLlama2Chat itself"),
        (NeedsOne, "NeedsOne\\(\\) failed: TypeError.*give lambda"),
        (Broken, "Broken failed on dialogue '.*': KeyError"),
        (Silent, "Silent.get_custom_skip_echo_len must return an int, characters to skip, not None"),
        (lambda: None, "<lambda> has no"),
        (5, "a prompt class is needed, not int"),
    ],
)
def test_a_prompt_class_that_makes_no_prompt_is_told_with_the_way_out(
    prompt_class: Any, told: str, legacy: Tokenizer, dialogues: list[Dialogue]
) -> None:
    with pytest.raises(PromptError, match=told):
        measure_drift(dialogues[:1], prompt_class, legacy)


class Answering:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (Answering(None), "Answering.reply_ids gives no list of token ids"),
        (Answering("text"), "Answering.reply_ids gives no list of token ids"),
        (Answering([1.5]), "Answering.reply_ids gives no list of token ids"),
        (Answering(RuntimeError("out of memory")), "Answering.reply_ids failed: RuntimeError: out of memory"),
        (Answering([10**9]), "no token id 1000000000"),
        (Answering, "replies are"),
        (lambda dialogue: 5, "replies gives a model with reply_ids.* or None, not 5"),
        (lambda dialogue: dialogue.nothing, "replies failed on dialogue .*AttributeError"),
    ],
)
def test_a_model_that_gives_no_ids_is_told(
    replies: Any, told: str, legacy: Tokenizer, dialogues: list[Dialogue]
) -> None:
    with pytest.raises(ChatlabError, match=told):
        measure_drift(dialogues[:1], "llama2", legacy, replies=replies)


def test_ids_of_other_libraries_are_ids(legacy: Tokenizer, dialogues: list[Dialogue]) -> None:
    ids = legacy.encode("Yes")
    tables = [
        measure_drift(dialogues[:1], "llama2", legacy, replies=Answering(answer)) for answer in (ids, np.array(ids))
    ]
    assert tables[0].equals(tables[1])


def test_where_a_way_is_not_applicable_nothing_is_counted(dialogues: list[Dialogue]) -> None:
    table = measure_drift(dialogues[:10], "llama2", tokenizer_path("wordpiece"), strategies=["last_marker", "exact"])
    marker = table[table.strategy == "last_marker"]
    assert set(marker.effect) == {"not_applicable"}
    assert marker.wrong.isna().all()
    assert marker.drift.isna().all()
    assert not table.wrong[table.strategy == "exact"].isna().any()
    cuts = DriftTally(table).by_strategy().set_index("strategy")
    assert cuts.loc["last_marker", ["replies", "wrong", "not_applicable"]].tolist() == [0, 0, len(marker)]
    assert "Not applicable: last_marker." in DriftTally(table).verdict()[1]


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


ASKED, HELLO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
PLAIN_SHAPES: dict[str, Any] = {
    "turns": {"turns": [{"user": "Hi", "assistant": "Hello"}]},
    "messages": {"messages": [ASKED, HELLO]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, HELLO]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    "trl": {"prompt": [ASKED], "completion": [HELLO]},
}


@pytest.mark.parametrize("shape", PLAIN_SHAPES)
def test_every_plain_shape_gives_the_same_rows(shape: str, legacy: Tokenizer) -> None:
    wanted = measure_drift(PLAIN_SHAPES["turns"], ChatPromptMetaLlamaLlama2Chat, legacy)
    pd.testing.assert_frame_equal(measure_drift([PLAIN_SHAPES[shape]], ChatPromptMetaLlamaLlama2Chat, legacy), wanted)


def test_a_tool_loop_is_measured_call_by_call_or_named(legacy: Tokenizer, tmp_path: Path) -> None:
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": None}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "1"}
    loop = [ASKED, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}, HELLO, ASKED]
    record = {"id": "loop", "messages": loop, "tools": [{"name": "f", "input_schema": {}}]}
    (tmp_path / "chat_template.jinja").write_text("{{ messages | tojson }}{{ tools | tojson }}:", encoding="utf-8")
    table = measure_drift(record, lambda: ChatTemplatePrompt(tmp_path), legacy, strategies=["exact"])
    assert list(table.turn) == [1, 2]  # the last question waits for a model
    assert list(table.reply_len) == [0, len(" Hello")]
    left_out: list[ChatlabError] = []
    assert measure_drift([record], ChatPromptMetaLlamaLlama2Chat, legacy, on_bad=left_out.append).empty
    assert left_out[0].kind == "ChatPromptMetaLlamaLlama2Chat has no place for tools"
    with pytest.raises(DialogueError, match="dialogue 'loop': the dialogue has tools, which .* has no place for"):
        measure_drift([record], ChatPromptMetaLlamaLlama2Chat, legacy)
