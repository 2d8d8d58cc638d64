"""Conversations in ids that others wrote down, in the shapes of servers and trainers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlab.errors import DialogueError, TokenIdError
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.turns.edits import Cause
from chatlab.turns.measure import measure_turns
from chatlab.turns.trace import trace_turns
from chatlab.turns.trajectories import has_ids, read_trajectories, trace_trajectory
from tests.support.templates import CHATML, GEMMA, fast_tokenizer

TALK = Dialogue(
    id="t", turns=[Turn(user="Hi", assistant="Yes.\n"), Turn(user="Who?", assistant="Him."), Turn(user="Why?")]
)


def written(template: str = GEMMA) -> tuple[Any, list[dict[str, Any]]]:
    """A tokenizer, and the calls of a talk with it: messages, ids of the prompt, ids of the reply."""
    tokenizer = fast_tokenizer("byte bpe", template, bos="<s>", eos="</s>")
    trace = trace_turns(tokenizer, TALK)
    calls = []
    for number, (prompt, turn) in enumerate(zip(trace.replay(), [*trace.turns, None], strict=True)):
        messages = [dict(m) for m in TALK.messages[: 2 * number + 1]]
        calls.append(
            {"messages": messages, "prompt_token_ids": list(prompt), "token_ids": list(turn.reply_ids) if turn else [5]}
        )
    return tokenizer, calls


def of_vllm(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "conversation": "t",
            "request": {"messages": c["messages"]},
            "response": {"prompt_token_ids": c["prompt_token_ids"], "choices": [{"token_ids": c["token_ids"]}]},
        }
        for c in calls
    ]


def of_trl(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": "t", "prompt_ids": c["prompt_token_ids"], "completion_ids": c["token_ids"]} for c in calls]


def of_verl(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"uid": "t", "prompts": c["prompt_token_ids"], "responses": c["token_ids"]} for c in calls]


def whole(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": "t", "steps": calls}]


def columns_of_lists(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {"prompt_ids": [c["prompt_token_ids"] for c in calls], "completion_ids": [c["token_ids"] for c in calls]}
    return [{"id": "t", **ids}]


SHAPES = [of_vllm, of_trl, of_verl, whole, columns_of_lists]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["list", "jsonl", "parquet"])
def test_every_shape_gives_the_same_ids(shape: Any, kind: str, tmp_path: Path) -> None:
    _, calls = written()
    records: Any = shape(calls)
    assert all(map(has_ids, records))
    source: Any = records
    if kind == "jsonl":
        source = tmp_path / "t.jsonl"
        source.write_text("\n".join(map(json.dumps, records)))
    elif kind == "parquet":
        source = tmp_path / "t.parquet"
        pd.DataFrame(records).to_parquet(source)
    (found,) = read_trajectories(source)
    assert found.id == "t"
    assert [list(c.prompt_ids) for c in found.calls] == [c["prompt_token_ids"] for c in calls]
    assert [list(c.reply_ids) for c in found.calls] == [c["token_ids"] for c in calls]


def test_with_messages_the_cause_is_proven_as_if_it_had_been_made_here() -> None:
    tokenizer, calls = written()
    (found,) = read_trajectories(of_vllm(calls))
    trace = trace_trajectory(tokenizer, found)
    assert trace.cause_counts().keys() == {Cause.REPLY_TRIMMED}
    assert [t.kept_len for t in trace.turns] == [t.kept_len for t in trace_turns(tokenizer, TALK).turns]
    assert trace.replay() == [tuple(c["prompt_token_ids"]) for c in calls]


def test_ids_alone_tell_what_is_lost_and_what_the_model_did() -> None:
    tokenizer, calls = written(CHATML)
    by_letters = [tokenizer.encode(letter)[0] for letter in "Yes."]
    calls[0]["token_ids"] = [*by_letters, tokenizer.encode("\n")[0]]
    (found,) = read_trajectories(of_trl(calls))
    trace = trace_trajectory(tokenizer, found)
    assert not trace.turns[0].is_kept
    assert trace.cause_counts().keys() == {Cause.NOT_CANONICAL}
    frame = measure_turns([found], None, tokenizer)
    assert frame["lost_len"].tolist() == [t.lost_len for t in trace.turns]
    assert frame["layer"].tolist()[0] == "model"


def test_a_prompt_of_the_servers_own_is_the_servers_doing() -> None:
    tokenizer, calls = written(CHATML)
    other = fast_tokenizer("byte bpe", CHATML.replace("'\\n' + message", "'\\n ' + message"), bos="<s>", eos="</s>")
    second = other.apply_chat_template(calls[1]["messages"], add_generation_prompt=True)
    calls[1]["prompt_token_ids"] = list(second["input_ids"] if hasattr(second, "keys") else second)
    (found,) = read_trajectories(of_vllm(calls))
    trace = trace_trajectory(tokenizer, found)
    assert trace.turns[0].edits[0].cause is Cause.OTHER_PROMPT
    assert trace.turns[0].edits[0].layer == "server"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"id": "x"}, "prompt_token_ids"),
        ({"prompt_ids": "abc", "completion_ids": [1]}, "prompt_ids"),
        ({"prompt_ids": [1], "completion_ids": ["a"]}, "no token id"),
        ([1], "is an object"),
    ],
)
def test_what_is_no_call_in_ids_is_told_with_its_place(record: Any, told: str) -> None:
    with pytest.raises(DialogueError, match=told):
        list(read_trajectories([record]))


def test_columns_may_be_named() -> None:
    record = {"talk": "a", "asked": [1, 2], "answered": [3]}
    columns = {"conversation": "talk", "prompt_ids": "asked", "reply_ids": "answered"}
    (found,) = read_trajectories([record], columns)
    assert (found.id, found.calls[0].prompt_ids, found.calls[0].reply_ids) == ("a", (1, 2), (3,))
    with pytest.raises(DialogueError, match="not 'ids'"):
        list(read_trajectories([record], {"ids": "asked"}))


def test_an_id_outside_the_vocabulary_is_told() -> None:
    tokenizer, calls = written(CHATML)
    calls[0]["token_ids"] = [10**6]
    (found,) = read_trajectories(of_trl(calls))
    with pytest.raises(TokenIdError):
        trace_trajectory(tokenizer, found)
