"""Dialogues as plain values: read from wherever they lie, and laid into a prompt call by call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from chatlab.errors import DialogueError, PromptError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.filling import AnyPromptClass, add_message, offer, said_beside_text, text_of
from chatlab.prompts.filling import new_prompt as new_prompt
from chatlab.prompts.records import is_table as is_table
from chatlab.prompts.records import records_of
from chatlab.prompts.shapes import Message as Message
from chatlab.prompts.shapes import names_of_field, read_record

_UNSET: Any = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One question and its answer; ``assistant`` is None where the answer is still to come."""

    user: str
    assistant: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The turn as plain data."""
        return {"user": self.user, "assistant": self.assistant}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of the model: the messages that lie before it, and its reply, None where that is still to come."""

    messages: tuple[Message, ...]
    reply: Message | None

    @property
    def reply_text(self) -> str | None:
        """The text of the reply, without what it thought and which tools it called; None where it is to come."""
        return None if self.reply is None else text_of(self.reply.get("content"))


@dataclass(frozen=True, kw_only=True, init=False)
class Dialogue:
    """A dialogue: what was said as OpenAI messages, the tools and template variables it was said with, and its labels.

    ``turns`` and ``system`` are the view of a plain dialogue, ``calls`` what lies before each call of the model.

    **Law.** ``Dialogue.from_dict(d.to_dict()) == d``, whatever the shape it was read from; ``messages`` are what
    ``apply_chat_template`` takes, and hold every field that was read.

    Args:
        id: its name.
        messages: what was said; the dialogue's own, so they are not to be changed.
        turns: whole turns instead, as the plain view has them; a system text of ``messages`` stays.
        system: a plain system text instead of the one of ``messages``, or None to take it away.
        tools: what the model may call, as OpenAI's schemas; None where tools are not spoken of.
        variables: what a chat template is told beside the messages, such as ``enable_thinking``.
        labels: what to group by.
        fields: what else a record held.

    >>> dialogue = Dialogue(id="d", turns=[Turn(user="Hi", assistant="Hello!")], system="Be brief.")
    >>> [message["role"] for message in dialogue.messages]
    ['system', 'user', 'assistant']
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None
    variables: Mapping[str, Any]
    labels: Mapping[str, Any]
    fields: Mapping[str, Any]

    def __init__(
        self,
        *,
        id: str,
        messages: Iterable[Message] = (),
        turns: Iterable[Turn] | None = None,
        system: str | None = _UNSET,
        tools: Iterable[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        messages = tuple(messages)
        if turns is not None:
            messages = (*messages[: _head_len(messages)], *_messages_of(tuple(turns)))
        if system is not _UNSET:
            head = () if system is None else ({"role": "system", "content": system},)
            messages = (*head, *messages[_head_len(messages) :])
        self.__dict__.update(
            id=id,
            messages=messages,
            tools=None if tools is None else tuple(tools),
            variables=variables or {},
            labels=labels or {},
            fields=fields or {},
        )

    @property
    def system(self) -> str | None:
        """The system text that the dialogue begins with, or None."""
        return text_of(self.messages[0].get("content")) if _head_len(self.messages) else None

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The plain view: each user text and its answer.

        Raises:
            DialogueError: the dialogue is not plain, such as one that calls tools; ``messages`` and ``calls`` have it.
        """
        found = list[Turn]()
        user: str | None = None
        for at, message in enumerate(self.messages):
            role, text = message["role"], message.get("content")
            if len(message) != 2 or type(text) is not str:
                text = self._text_alone(at)
            if user is None and role == "user":
                user = text
            elif user is not None and role == "assistant":
                found.append(Turn(user=user, assistant=text))
                user = None
            elif at or not _head_len(self.messages):
                raise self._not_plain(at, f"role {role!r}")
        return tuple(found if user is None else [*found, Turn(user=user)])

    @property
    def is_plain(self) -> bool:
        """Whether it is whole turns of texts, so that it has ``turns``."""
        try:
            return bool(self.turns)
        except DialogueError:
            return False

    @property
    def calls(self) -> tuple[Call, ...]:
        """What lies before each call of the model, oldest first; several where it calls tools and gets their results.

        What the model says before anybody else does, such as a greeting, was not asked of it and is no call.

        >>> said = [{"role": role, "content": role} for role in ("user", "assistant", "tool", "assistant", "user")]
        >>> [(len(call.messages), call.reply_text) for call in Dialogue(id="d", messages=said).calls]
        [(1, 'assistant'), (3, 'assistant'), (5, None)]
        """
        messages = self.messages
        calls = [Call(messages=messages[:at], reply=messages[at]) for at in _asked(messages)]
        if messages and messages[-1]["role"] != "assistant":
            calls.append(Call(messages=messages, reply=None))
        return tuple(calls)

    def replace(self, **changes: Any) -> Self:
        """A dialogue with other arguments, and otherwise this one's.

        >>> Dialogue(id="a", turns=[Turn(user="Hi")]).replace(id="b", system="Be brief.").system
        'Be brief.'
        """
        return dataclasses.replace(self, **changes)

    def without(self, *names: str) -> Self:
        """A dialogue whose messages lack these fields, for a prompt class that has no place for them.

        ``reasoning`` is left out under each of its names, ``tools`` and ``variables`` are those of the dialogue.

        Raises:
            DialogueError: a message is nothing without its role and content.

        >>> dialogue = Dialogue(id="a", messages=[{"role": "user", "content": "Hi", "country": "NO"}])
        >>> dialogue.without("country").turns
        (Turn(user='Hi', assistant=None),)
        """
        dropped = frozenset[str]().union(*map(names_of_field, names))
        return self.replace(
            messages=[{k: v for k, v in m.items() if k not in dropped} for m in self.messages],
            tools=None if "tools" in dropped else self.tools,
            variables={} if "variables" in dropped else self.variables,
        )

    def to_dict(self) -> dict[str, Any]:
        """The dialogue as ``read_dialogues`` reads it: its turns where they say it all, else its messages."""
        data: dict[str, Any] = {"id": self.id, "labels": dict(self.labels)}
        if self._is_turns_alone():
            data |= {"system": self.system, "turns": [turn.to_dict() for turn in self.turns]}
        else:
            data["messages"] = deepcopy(list(self.messages))
        if self.tools is not None:
            data["tools"] = deepcopy(list(self.tools))
        if self.variables:
            data["variables"] = deepcopy(dict(self.variables))
        return {**deepcopy(dict(self.fields)), **data}

    @classmethod
    def from_dict(cls, data: Any, *, default_id: str = "") -> Self:
        """Read a record: ``{"turns": [{"user", "assistant"}]}``, or OpenAI's ``{"messages": [{"role", "content"}]}``.

        Anthropic's blocks, ShareGPT's ``conversations`` and TRL's ``prompt`` and ``completion`` are read too; see
        ``chatlab.prompts.shapes``. ``id``, ``labels``, ``system``, ``tools`` and ``variables`` (or
        ``chat_template_kwargs``) are optional; labels may be an object, or a list of names.

        Raises:
            DialogueError: the data are not a dialogue, or nothing is said in it but a system text.

        >>> Dialogue.from_dict({"id": "d1", "turns": [{"user": "Hi", "assistant": "Hello!"}]}).turns[0].user
        'Hi'
        """
        if not isinstance(data, Mapping):
            of_messages = isinstance(data, list) and any(isinstance(one, Mapping) and "role" in one for one in data)
            way = ': these are messages, give {"messages": […]}' if of_messages else ""
            raise DialogueError(f"a dialogue is a JSON object, not {type(data).__name__}{way}")
        record = read_record(data)
        if len(record.messages) < 2 or record.messages[-1]["role"] != "user":
            _check_asked(record.messages)
        return cls(
            id=default_id if data.get("id") is None else str(data["id"]),
            messages=record.messages,
            tools=record.tools,
            variables=record.variables,
            labels=_labels(data.get("labels")),
            fields=record.fields,
        )

    def _is_turns_alone(self) -> bool:
        """Whether turns and a system text say all of it."""
        begins = not self.messages or self.messages[0]["role"] != "developer"
        return begins and "turns" not in self.fields and all(map(_is_text_alone, self.messages)) and self.is_plain

    def _text_alone(self, at: int) -> str | None:
        message = self.messages[at]
        if (beside := said_beside_text(message)) is not None:
            raise self._not_plain(at, beside)
        return None if message.get("content") is None else text_of(message["content"])

    def _not_plain(self, at: int, what: str) -> DialogueError:
        return DialogueError(
            f"dialogue {self.id!r} is not plain: message {at + 1} has {what}, which turns have no place for; "
            "messages and calls have it",
            kind=f"not plain: {what} has no place in turns",
        )


def read_dialogues(
    source: Any,
    skip_bad: bool = False,
    on_bad: Callable[[DialogueError], None] | None = None,
) -> Iterator[Dialogue]:
    """Stream dialogues from a file, or from anything that gives dialogues or their plain data.

    Args:
        source: a UTF-8 file of JSON lines, one dialogue a line (blank lines are passed over), or of one JSON array; a
            Parquet file; or a list of dicts, a pandas DataFrame, a ``pyarrow.Table`` or another table of Arrow, or a
            ``datasets.Dataset``. A record without ``id`` gets its number as its id. Lines and rows are streamed, an
            array is read whole.
        skip_bad: go on after a record that is not a dialogue.
        on_bad: called with the error of each record that was skipped.

    Raises:
        DialogueError: the file cannot be read, or a record is not a dialogue; the message names the
            file, the line number and the reason.
    """
    for called, record_number, data in records_of([source] if isinstance(source, Dialogue) else source):
        try:
            if isinstance(data, DialogueError):
                raise data
            yield data if isinstance(data, Dialogue) else Dialogue.from_dict(data, default_id=str(record_number))
        except DialogueError as error:
            located = DialogueError.at(f"{called} {record_number}", error)
            if not skip_bad:
                raise located from error
            if on_bad:
                on_bad(located)


def prompts_of(dialogue: Dialogue, prompt_class: AnyPromptClass) -> Iterator[tuple[int, AbstractChatPrompt]]:
    """For each call of the model, its number from 1 and a prompt that ends where its reply begins.

    A plain dialogue has a call a turn. Each prompt is its own: it stays as it is while the next ones are made. A
    prompt holds the tools and variables of the dialogue beside the messages before the call.

    Args:
        dialogue: the messages before the call at hand fill the history.
        prompt_class: a prompt class, or anything that makes a prompt when called.

    Raises:
        PromptError: the class lacks a method that is needed.
        DialogueError: the class has no place for something in the dialogue, or a turn before the last has no answer.
    """
    prompt = new_prompt(prompt_class)
    _told(dialogue, offer, prompt, dialogue.tools, dialogue.variables)
    calls = set(_asked(dialogue.messages))
    number = 0
    for at, message in enumerate(dialogue.messages):
        if at in calls:
            number += 1
            yield number, _opened(dialogue, prompt)
            if len(message) == 2 and message.get("content") is None and at + 1 < len(dialogue.messages):
                answered = f"turn {number} has no answer, yet turn {number + 1} follows"
                raise DialogueError(f"dialogue {dialogue.id!r}: {answered}")
        _told(dialogue, add_message, prompt, at + 1, message)
    if dialogue.messages and dialogue.messages[-1]["role"] != "assistant":
        yield number + 1, _opened(dialogue, prompt)


def fill_prompt(dialogue: Dialogue, prompt_class: AnyPromptClass) -> AbstractChatPrompt:
    """A prompt that holds the whole dialogue; where the last word is not the model's, its reply is opened.

    Raises:
        PromptError: the class lacks a method that is needed.
        DialogueError: the class has no place for something in the dialogue.
    """
    prompt = new_prompt(prompt_class)
    _told(dialogue, offer, prompt, dialogue.tools, dialogue.variables)
    for number, message in enumerate(dialogue.messages, 1):
        _told(dialogue, add_message, prompt, number, message)
    is_open = bool(dialogue.messages) and dialogue.messages[-1]["role"] != "assistant"
    return _opened(dialogue, prompt) if is_open else prompt


def _opened(dialogue: Dialogue, prompt: AbstractChatPrompt) -> AbstractChatPrompt:
    opened = prompt.copy()
    _told(dialogue, opened.add_responder_msg, None)
    return opened


def _told(dialogue: Dialogue, act: Callable[..., Any], *args: Any) -> None:
    """Do it, and tell of which dialogue it was that could not be placed."""
    try:
        act(*args)
    except PromptError as error:
        raise DialogueError.at(f"dialogue {dialogue.id!r}", error) from error


def _asked(messages: Sequence[Message]) -> Iterator[int]:
    """Where the replies stand: the model's messages that somebody's lie before."""
    others = (at for at, message in enumerate(messages) if message["role"] not in ("assistant", "system", "developer"))
    first = next(others, len(messages))
    return (at for at in range(first, len(messages)) if messages[at]["role"] == "assistant")


def _check_asked(messages: Sequence[Message]) -> None:
    """Refuse a dialogue in which nobody but the system and the model speaks."""
    if any(message["role"] not in ("system", "developer", "assistant") for message in messages):
        return
    if len(messages) == _head_len(messages):
        raise DialogueError("the dialogue is empty: it has no turn")
    number, role = len(messages), messages[-1]["role"]
    raise DialogueError(f"message {number} has role {role!r}, which has no place there: nobody asks the model anything")


def _head_len(messages: Sequence[Message]) -> int:
    """1 where a system text stands first, else 0."""
    return int(bool(messages) and messages[0]["role"] in ("system", "developer"))


def _is_text_alone(message: Message) -> bool:
    return len(message) == 2 and (type(message.get("content")) is str or message.get("content", "") is None)


def _messages_of(turns: Sequence[Turn]) -> Iterator[Message]:
    for number, turn in enumerate(turns, 1):
        yield {"role": "user", "content": turn.user}
        if turn.assistant is not None or number < len(turns):
            yield {"role": "assistant", "content": turn.assistant}


def _labels(labels: Any) -> dict[str, Any]:
    if labels is None:
        return {}
    if isinstance(labels, Mapping):
        return dict(labels)
    if isinstance(labels, list):
        return {_label(label): True for label in labels}
    raise DialogueError(f'"labels" must be an object or a list of names, not {type(labels).__name__}')


def _label(label: Any) -> str:
    if not isinstance(label, str):
        raise DialogueError(f"a label must be a string, not {type(label).__name__}")
    return label
