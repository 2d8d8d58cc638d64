"""Dialogues as plain values: read from JSON lines, and laid into a prompt turn by turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from chatlab.errors import DialogueError, PromptError
from chatlab.prompts.base import AbstractChatPrompt


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One question and its answer; ``assistant`` is None where the answer is still to come."""

    user: str
    assistant: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The turn as plain data."""
        return {"user": self.user, "assistant": self.assistant}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """A dialogue of whole turns, with an optional system text and labels to group by."""

    id: str
    turns: tuple[Turn, ...]
    system: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The dialogue as ``read_dialogues`` reads it."""
        turns = [turn.to_dict() for turn in self.turns]
        return {"id": self.id, "labels": dict(self.labels), "system": self.system, "turns": turns}

    @classmethod
    def from_dict(cls, data: Any, *, default_id: str = "") -> Dialogue:
        """Read ``{"turns": [{"user", "assistant"}]}`` or OpenAI's ``{"messages": [{"role", "content"}]}``.

        ``id``, ``labels`` and ``system`` are optional; labels may be an object, or a list of names.

        Raises:
            DialogueError: the data are not a dialogue, or hold no turn.

        >>> Dialogue.from_dict({"id": "d1", "turns": [{"user": "Hi", "assistant": "Hello!"}]}).turns[0].user
        'Hi'
        """
        if not isinstance(data, Mapping):
            raise DialogueError(f"a dialogue is a JSON object, not {type(data).__name__}")
        if "turns" in data:
            turns, system = _turns_of(data["turns"]), data.get("system")
        elif "messages" in data:
            turns, system = _turns_of_messages(data["messages"], data.get("system"))
        else:
            raise DialogueError(f'no "turns" and no "messages" in it, only {sorted(map(str, data))}')
        if not turns:
            raise DialogueError("the dialogue is empty: it has no turn")
        if system is not None:
            _text(system, "system")
        return cls(id=str(data.get("id", default_id)), turns=turns, system=system, labels=_labels(data.get("labels")))


def read_dialogues(
    path: str | Path,
    skip_bad: bool = False,
    on_bad: Callable[[DialogueError], None] | None = None,
) -> Iterator[Dialogue]:
    """Stream the dialogues of a JSON-lines file, one a line; blank lines are passed over.

    Args:
        path: a UTF-8 file; a line without ``id`` gets its line number as its id.
        skip_bad: go on after a line that is not a dialogue.
        on_bad: called with the error of each line that was skipped.

    Raises:
        DialogueError: the file cannot be read, or a line is not a dialogue; the message names the
            file, the line number and the reason.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; opening is the part that may fail
    except OSError as error:
        raise DialogueError(f"cannot read dialogues from {path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield Dialogue.from_dict(_json(line), default_id=str(number))
            except DialogueError as error:
                located = DialogueError(f"{path}, line {number}: {error}")
                if not skip_bad:
                    raise located from error
                if on_bad:
                    on_bad(located)


def prompts_of(
    dialogue: Dialogue, prompt_class: Callable[[], AbstractChatPrompt]
) -> Iterator[tuple[int, AbstractChatPrompt]]:
    """For each turn, its number from 1 and a prompt that ends where that turn's reply begins.

    Each prompt is its own: it stays as it is while the next ones are made.

    Args:
        dialogue: the turns before the one at hand fill the history.
        prompt_class: a prompt class, or anything that makes a prompt when called.

    Raises:
        PromptError: the class lacks a method that is needed.
        DialogueError: a turn before the last has no answer.
    """
    prompt = new_prompt(prompt_class)
    if dialogue.system is not None:
        prompt.set_system_prompt(dialogue.system)
    for number, turn in enumerate(dialogue.turns, 1):
        prompt.add_requester_msg(turn.user)
        prompt.add_responder_msg(None)
        yield number, prompt.copy()
        if turn.assistant is not None:
            prompt.set_responder_last_msg(turn.assistant)
        elif number < len(dialogue.turns):
            raise DialogueError(f"dialogue {dialogue.id!r}: turn {number} has no answer, yet turn {number + 1} follows")


def new_prompt(prompt_class: Callable[[], AbstractChatPrompt]) -> AbstractChatPrompt:
    """A fresh prompt of ``prompt_class``, checked to be one.

    Raises:
        PromptError: it makes no prompt, or its class does not define ``create_prompt``.
    """
    name = getattr(prompt_class, "__name__", type(prompt_class).__name__)
    if not callable(prompt_class):
        raise PromptError(f"a prompt class is needed, not {name}: pass the class itself")
    prompt: object = prompt_class()
    missing = []
    if not isinstance(prompt, AbstractChatPrompt):
        missing = [member for member in dir(AbstractChatPrompt) if member[0] != "_" and not hasattr(prompt, member)]
    elif type(prompt).create_prompt is AbstractChatPrompt.create_prompt:
        missing = ["create_prompt"]
    if missing:
        raise PromptError(
            f"{name} has no {', '.join(missing)}: derive it from AbstractChatPrompt and define create_prompt(opts)"
        )
    return cast(AbstractChatPrompt, prompt)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        raise DialogueError(f"not UTF-8 at byte {error.start} of the line") from error
    except json.JSONDecodeError as error:
        raise DialogueError(f"not JSON at character {error.pos + 1} of the line: {error.msg}") from error
    except RecursionError as error:
        raise DialogueError("not a dialogue: the JSON is nested too deep") from error
    except ValueError as error:  # a number of more than 4,300 digits
        raise DialogueError(f"not a dialogue: {error}") from error


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise DialogueError(f"{what} must be a string, not {type(value).__name__}")
    return value


def _labels(labels: Any) -> dict[str, Any]:
    if labels is None:
        return {}
    if isinstance(labels, Mapping):
        return dict(labels)
    if isinstance(labels, list):
        return {_text(label, "a label"): True for label in labels}
    raise DialogueError(f'"labels" must be an object or a list of names, not {type(labels).__name__}')


def _turns_of(turns: Any) -> tuple[Turn, ...]:
    if not isinstance(turns, list):
        raise DialogueError(f'"turns" must be a list, not {type(turns).__name__}')
    out = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping) or "user" not in turn:
            raise DialogueError(f'turn {number} is not an object with "user" and "assistant"')
        answer = turn.get("assistant")
        if answer is not None:
            _text(answer, f"turn {number}: assistant")
        elif number < len(turns):
            raise DialogueError(f"turn {number} has no answer, yet turn {number + 1} follows")
        out.append(Turn(user=_text(turn["user"], f"turn {number}: user"), assistant=answer))
    return tuple(out)


def _turns_of_messages(messages: Any, system: Any) -> tuple[tuple[Turn, ...], Any]:
    """Pair user and assistant messages; a leading system message becomes the system text."""
    if not isinstance(messages, list):
        raise DialogueError(f'"messages" must be a list, not {type(messages).__name__}')
    turns: list[Turn] = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or "role" not in message:
            raise DialogueError(f'message {number} is not an object with "role" and "content"')
        role, text = message["role"], _text(message.get("content"), f"message {number}: content")
        is_open = bool(turns) and turns[-1].assistant is None
        if role in ("system", "developer") and number == 1 and system is None:
            system = text
        elif role == "user" and not is_open:
            turns.append(Turn(user=text))
        elif role == "assistant" and is_open:
            turns[-1] = Turn(user=turns[-1].user, assistant=text)
        else:
            raise DialogueError(f"message {number} has role {role!r}, which has no place there")
    return tuple(turns), system
