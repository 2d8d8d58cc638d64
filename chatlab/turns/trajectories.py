"""Conversations that others wrote down with their ids: of servers, of trainers; read by the names of their columns.

A record is one call, and those of one conversation stand together; or a conversation whose columns hold a list a call;
or one with its calls in a list. A call may be what an OpenAI-style server answered, as it came, with
``return_token_ids`` asked for: ``{"request": {"messages": …}, "response": {"prompt_token_ids": …, "choices": [{"token_ids": …}]}}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import index
from typing import Any

from chatlab.errors import DialogueError
from chatlab.prompts.dialogue import Dialogue, Message
from chatlab.prompts.filling import AnyPromptClass
from chatlab.prompts.records import records_of
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer
from chatlab.turns.border import TokenIds
from chatlab.turns.talk import SaidCall, Talks, text_after
from chatlab.turns.trace import TurnsTrace, traced, writer_of
from chatlab.turns.writer import Writer

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "conversation": ("conversation", "conversation_id", "trajectory_id", "rollout_id", "session_id", "request_id", "uid", "id"),
    "prompt_ids": ("prompt_token_ids", "prompt_ids", "prompts", "input_ids"),
    "reply_ids": ("token_ids", "completion_token_ids", "completion_ids", "response_ids", "responses", "output_ids"),
    "messages": ("messages", "prompt_messages", "raw_prompt"),
    "reply": ("message", "completion", "reply"),
    "tools": ("tools",),
    "calls": ("calls", "steps", "turns"),
}  # fmt: skip
"""What is read, and the columns that are looked for, the first that is there: vLLM's and SGLang's ``prompt_token_ids``
and ``token_ids``, TRL's ``prompt_ids`` and ``completion_ids``, verl's ``prompts`` and ``responses`` with ``uid``."""


@dataclass(frozen=True, kw_only=True)
class IdCall:
    """One call: the ids that the model read and said, and the messages where they are known."""

    prompt_ids: TokenIds
    reply_ids: TokenIds
    messages: tuple[Message, ...] = ()
    reply: Message | None = None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A conversation in ids, call by call."""

    id: str
    calls: tuple[IdCall, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dialogue(self) -> Dialogue:
        """Its name and what it was told beside the messages."""
        return Dialogue(id=self.id, messages=[{"role": "user", "content": ""}], tools=self.tools, labels=self.labels)


def read_trajectories(source: Any, columns: Mapping[str, str] | None = None) -> Iterator[Trajectory]:
    """Stream conversations in ids from JSON lines, a JSON array, Parquet, a list of dicts or a table.

    Args:
        source: as for ``read_dialogues``.
        columns: the name of a column instead of those of :data:`COLUMNS`, such as ``{"conversation": "prompt_id"}``.

    Raises:
        DialogueError: the source cannot be read, or a record has no ids; the message names its place.
    """
    names = _names(columns)
    placed = (_placed(where, number, data, names) for where, number, data in records_of(source))
    for key, group in groupby(placed, key=lambda one: one[0]):
        records = [record for _, record in group]
        first = _get(records[0], "tools", names)
        calls = tuple(call for record in records for call in _calls(record, names, key))
        yield Trajectory(id=key, calls=calls, tools=None if first is None else tuple(first))


def has_ids(record: object) -> bool:
    """Tell whether a record is a call, or a conversation, in ids.

    >>> has_ids({"prompt_token_ids": [1], "choices": [{"token_ids": [2]}]}), has_ids({"messages": []})
    (True, False)
    """
    if not isinstance(record, Mapping):
        return False
    names = _names(None)
    calls = _get(record, "calls", names)
    if isinstance(calls, Sequence) and calls and isinstance(calls[0], Mapping):
        return has_ids({k: v for k, v in calls[0].items() if k not in COLUMNS["calls"]})
    return _get(record, "prompt_ids", names) is not None and _get(record, "reply_ids", names) is not None


def trace_trajectory(
    tokenizer: Any,
    trajectory: Trajectory,
    *,
    prompt_class: AnyPromptClass | None = None,
    end_ids: Sequence[int] = (),
) -> TurnsTrace:
    """Explain a conversation whose ids others wrote down.

    Args:
        tokenizer: whatever :func:`chatlab.trace_turns` takes.
        trajectory: the conversation.
        prompt_class: who wrote its messages; left out, the tokenizer's own chat template.
        end_ids: ids that end a turn beside those that are known.

    Raises:
        TokenIdError: an id is outside the vocabulary.
    """
    reader = as_tokenizer(tokenizer)
    talks = Talks.of(reader, writer_for(reader, prompt_class, trajectory), end_ids=end_ids)
    calls = said_calls(talks, trajectory)
    return traced(talks, calls, dialogue=trajectory.id, stored="as written down", given=True)


def writer_for(reader: Tokenizer, prompt_class: AnyPromptClass | None, trajectory: Trajectory) -> Writer:
    """Return who writes the messages of a conversation; of one without messages it does not matter who."""
    knows = any(call.messages for call in trajectory.calls)
    if prompt_class is None and not getattr(reader.wrapped, "chat_template", None) and not knows:
        prompt_class = "chatml"
    return writer_of(reader, prompt_class, trajectory.dialogue)


def said_calls(talks: Talks, trajectory: Trajectory) -> list[SaidCall]:
    """Return the calls of a conversation, each with its texts and what was stored of its reply."""
    calls = [_said(talks, call) for call in trajectory.calls]
    for at, (call, after) in enumerate(zip(calls, calls[1:], strict=False)):
        n = len(call.messages)
        if call.messages and n < len(after.messages) and after.messages[n]["role"] == "assistant":
            calls[at] = replace(call, stored=after.messages[n])
    return calls


def _said(talks: Talks, call: IdCall) -> SaidCall:
    prompt_ids = _unpadded(talks.tokenizer, call.prompt_ids, left=True)
    reply_ids = _unpadded(talks.tokenizer, call.reply_ids, left=False)
    body = reply_ids[:-1] if reply_ids and reply_ids[-1] in talks.end_ids else reply_ids
    reply = text_after(talks.tokenizer, prompt_ids, body)
    return SaidCall(
        messages=call.messages,
        whole=call.messages,
        prompt=talks.tokenizer.decode(list(prompt_ids), skip_special_tokens=False),
        prompt_ids=prompt_ids,
        reply=reply,
        reply_ids=reply_ids,
        ideal=call.reply or {"role": "assistant", "content": reply},
    )


def _unpadded(tokenizer: Tokenizer, ids: TokenIds, *, left: bool) -> TokenIds:
    """The ids without the padding that a trainer put to their one end."""
    pad = getattr(tokenizer.wrapped, "pad_token_id", None)
    if pad is None or pad in (getattr(tokenizer.wrapped, name, None) for name in ("bos_token_id", "eos_token_id")):
        return ids
    start, end = 0, len(ids)
    while left and start < end and ids[start] == pad:
        start += 1
    while not left and end > start and ids[end - 1] == pad:
        end -= 1
    return ids[start:end]


def _names(columns: Mapping[str, str] | None) -> Mapping[str, tuple[str, ...]]:
    if unknown := [name for name in columns or {} if name not in COLUMNS]:
        raise DialogueError(f"columns name {', '.join(COLUMNS)}, not {unknown[0]!r:.80}")
    return {**COLUMNS, **{name: (column,) for name, column in (columns or {}).items()}}


def _get(record: Mapping[str, Any], name: str, names: Mapping[str, tuple[str, ...]]) -> Any:
    """The first column of a name: of the record, of the server's answer, of its first choice, of what it was asked."""
    response, request = _mapping(record.get("response")), _mapping(record.get("request"))
    choices = record.get("choices") or response.get("choices")
    first = _mapping(choices[0]) if isinstance(choices, list | tuple) and choices else {}
    holders = (record, response, first, request)
    return next((h[key] for key in names[name] for h in holders if h.get(key) is not None), None)


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _placed(where: str, number: int, data: Any, names: Mapping[str, tuple[str, ...]]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(data, DialogueError):
        raise DialogueError.at(f"{where} {number}", data)
    if not isinstance(data, Mapping):
        raise DialogueError(f"{where} {number}: a call in ids is an object, not {type(data).__name__}")
    key = _get(data, "conversation", names)
    return str(number if key is None else key), {**data, "_at": f"{where} {number}"}


def _calls(record: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], key: str) -> Iterator[IdCall]:
    calls = _get(record, "calls", names)
    if isinstance(calls, Sequence) and calls and isinstance(calls[0], Mapping):
        yield from (_call({**call, "_at": record["_at"]}, names) for call in calls)
        return
    prompts, replies = _get(record, "prompt_ids", names), _get(record, "reply_ids", names)
    if isinstance(prompts, Sequence) and prompts and isinstance(prompts[0], list | tuple):
        for prompt_ids, reply_ids in zip(prompts, replies or [], strict=False):
            yield IdCall(prompt_ids=_ids(prompt_ids, record), reply_ids=_ids(reply_ids, record))
        return
    yield _call(record, names)


def _call(record: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> IdCall:
    messages, reply = _get(record, "messages", names), _get(record, "reply", names)
    return IdCall(
        prompt_ids=_ids(_get(record, "prompt_ids", names), record, "prompt_ids"),
        reply_ids=_ids(_get(record, "reply_ids", names), record, "reply_ids"),
        messages=tuple(messages) if _are_messages(messages) else (),
        reply={"role": "assistant", **reply} if isinstance(reply, Mapping) and "content" in reply else None,
    )


def _are_messages(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in given
    )


def _ids(given: Any, record: Mapping[str, Any], name: str = "prompt_ids") -> TokenIds:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        looked = ", ".join(COLUMNS[name])
        raise DialogueError(
            f"{record['_at']}: no list of ids is called {looked}: say which column, columns={{'{name}': …}}"
        )
    try:
        return tuple(index(token_id) for token_id in given)
    except TypeError as error:
        raise DialogueError(f"{record['_at']}: {name} holds what is no token id: {error}") from error
