"""The shapes in which others write dialogues, read as OpenAI's messages: turns, OpenAI, Anthropic, ShareGPT, TRL.

**Law.** Whatever the shape, nothing of a record is lost: what is no message, tool or template variable stands among
its other fields, and what has no place in an OpenAI message is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatlab.errors import DialogueError, MessageTypeError
from chatlab.prompts.anthropic import is_anthropic, messages_of_blocks, tool_of_anthropic
from chatlab.prompts.plain_data import kept_data
from chatlab.prompts.records import is_array

Message = Mapping[str, Any]
"""An OpenAI message: ``role``, ``content`` as text or parts, and whatever else was said with it."""

_VARIABLES = ("chat_template_kwargs", "variables")
_SWITCHES = ("documents", "enable_thinking", "reasoning_effort")
"""Template variables that are written beside the messages, as in a request."""

_SPEAKERS = ("system", "developer", "user", "assistant")

_SHAREGPT_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response", "tool_response"), "tool"),
}


@dataclass(kw_only=True, slots=True)
class Record:
    """What a record says, whatever its shape."""

    messages: list[Message]
    tools: list[Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What has no place of its own in a dialogue."""


_REASONING = frozenset(("reasoning", "reasoning_content", "thinking", "thinking_blocks"))


def names_of_field(name: str) -> frozenset[str]:
    """The keys under which a field of a message is written: reasoning has several.

    Raises:
        DialogueError: no message is without it.
    """
    if name in ("role", "content"):
        raise DialogueError(f"a message is nothing without its {name}: leave out another field")
    return _REASONING if name == "reasoning" else frozenset((name,))


def read_record(data: Mapping[str, Any]) -> Record:
    """Read a record of any shape; a system text beside the messages becomes the first of them.

    Raises:
        DialogueError: it is of no known shape, or something in it is not what it should be.
    """
    shape = "turns" if type(data.get("turns")) is list else _shape_of(data)
    is_plain = data.keys() <= _PLAIN
    rest = {} if is_plain else {key: data[key] for key in data if key not in _NO_FIELDS and key != shape}
    record = Record(messages=_SHAPES[shape](data, shape, rest))
    if (system := data.get("system")) is not None:
        record.messages.insert(0, {"role": "system", "content": system if type(system) is str else _system(system)})
    if rest:
        _read_rest(record, rest)
    return record


_NO_FIELDS = frozenset(("id", "labels", "system"))
_PLAIN = _NO_FIELDS | {"turns"}


def _shape_of(data: Mapping[str, Any]) -> str:
    shape = next((key for key in _SHAPES if _is_list(data.get(key))), None)
    shape = shape or next((key for key in _SHAPES if key in data), None)
    if shape is None:
        _refuse_alternatives(data)
        raise DialogueError(
            f'no "turns" and no "messages" in it, only {sorted(map(str, data))}; "conversations" (ShareGPT) and '
            '"prompt" with "completion" (TRL) are read too',
            kind='no "turns" and no "messages" in it',
        )
    return shape


def _read_rest(record: Record, rest: dict[str, Any]) -> None:
    tools, functions = (_parsed(rest.pop(key, None), key) for key in ("tools", "functions"))
    if functions is not None:
        tools = [*(tools or ()), *({"type": "function", "function": function} for function in functions)]
    if bad := [tool for tool in tools or () if not isinstance(tool, Mapping) and not callable(tool)]:
        raise DialogueError(f"a tool is a JSON schema, not {bad[0]!r:.80}", kind="a tool is no JSON schema")
    record.tools = None if tools is None else [tool_of_anthropic(tool) for tool in tools]
    given = [value for key in _VARIABLES if (value := rest.pop(key, None)) is not None]
    switches = {key: rest.pop(key) for key in _SWITCHES if rest.get(key) is not None}
    if not all(isinstance(value, Mapping) for value in given) or len(given) > 1:
        raise DialogueError(f"template variables are one object, {' or '.join(_VARIABLES)}, not {given!r:.80}")
    record.variables = kept({**switches, **(given[0] if given else {})})
    record.fields = kept(rest)


# The shapes: each gives its messages, and takes what else it read out of the rest of the record


def _of_turns(data: Mapping[str, Any], key: str, rest: dict[str, Any]) -> list[Message]:
    turns = listed(data[key], key)
    messages: list[Message] = []
    for number, turn in enumerate(turns, 1):
        if type(turn) is not dict or len(turn) > 2 or type(turn.get("user")) is not str:
            _check_turn(number, turn)
        messages.append({"role": "user", "content": turn["user"]})
        answer = turn.get("assistant")
        if type(answer) is str:
            messages.append({"role": "assistant", "content": answer})
        elif answer is not None:
            raise DialogueError(f"turn {number}: assistant must be a string, not {type(answer).__name__}")
        elif number < len(turns):
            raise DialogueError(f"turn {number} has no answer, yet turn {number + 1} follows")
    return messages


def _check_turn(number: int, turn: Any) -> None:
    if not isinstance(turn, Mapping) or "user" not in turn:
        raise DialogueError(f'turn {number} is not an object with "user" and "assistant"')
    _text(turn["user"], f"turn {number}: user")
    if beside := turn.keys() - {"user", "assistant"}:
        raise DialogueError(f'turn {number} has {min(beside, key=str)}, which a turn has no place for: use "messages"')


def _of_messages(data: Mapping[str, Any], key: str, rest: dict[str, Any]) -> list[Message]:
    messages = list(_messages(data[key], key))
    if is_anthropic(data, messages):
        messages = [part for number, message in enumerate(messages, 1) for part in messages_of_blocks(number, message)]
    return messages


def _of_sharegpt(data: Mapping[str, Any], key: str, rest: dict[str, Any]) -> list[Message]:
    given = listed(data[key], key)
    if given and isinstance(given[0], Mapping) and "from" not in given[0]:
        return _of_messages(data, key, rest)
    return list(_messages([_of_said(number, said) for number, said in enumerate(given, 1)], key))


def _of_trl(data: Mapping[str, Any], key: str, rest: dict[str, Any]) -> list[Message]:
    _refuse_alternatives(data)
    prompt, completion = _said(data[key], "user"), _said(rest.pop("completion", None), "assistant")
    if completion and not (len(completion) == 1 and _is_reply(completion[0])):
        rest["completion_start"] = len(prompt)  # elsewhere the last message is the completion
    return list(_messages([*prompt, *completion], key))


_SHAPES = {
    "turns": _of_turns,
    "messages": _of_messages,
    "conversations": _of_sharegpt,
    "conversation": _of_sharegpt,
    "prompt": _of_trl,
}


def _refuse_alternatives(data: Mapping[str, Any]) -> None:
    alternatives = [name for name in ("chosen", "rejected") if name in data]
    if alternatives:
        raise DialogueError(
            f'{" and ".join(alternatives)} stand in it, and a dialogue holds one completion: give it as "completion"'
        )


def _is_reply(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _said(given: Any, role: str) -> list[Any]:
    """The messages of a prompt or completion, which may be one text."""
    if given is None or isinstance(given, str):
        return [] if given is None else [{"role": role, "content": given}]
    return [*listed(given, "prompt" if role == "user" else "completion")]


def _of_said(number: int, said: Any) -> dict[str, Any]:
    """One ``{"from", "value"}`` as a message; a called function's JSON becomes a tool call."""
    if not isinstance(said, Mapping) or not isinstance(said.get("from"), str) or "value" not in said:
        raise DialogueError(f'message {number} is not an object with "from" and "value"')
    message = {"role": _SHAREGPT_ROLES.get(said["from"], said["from"]), "content": said["value"]}
    beside = {key: value for key, value in said.items() if key not in ("from", "value")}
    if clash := beside.keys() & message.keys():
        raise DialogueError(f'message {number} has "from" and "value", and {min(clash)} too')
    if said["from"] == "function_call":
        message |= {"content": None, "tool_calls": list(_calls(number, said["value"]))}
    return {**message, **beside}


def _calls(number: int, value: Any) -> Iterator[dict[str, Any]]:
    called = _parsed([value] if isinstance(value, Mapping) else value, f"message {number}: the function call")
    for call in called or ():
        if not isinstance(call, Mapping) or "name" not in call:
            raise DialogueError(f'message {number}: a function call is {{"name": …, "arguments": …}}, not {call!r:.80}')
        yield {"type": "function", "function": dict(call)}


def _messages(given: Any, key: str) -> Iterator[Message]:
    for number, message in enumerate(listed(given, key), 1):
        if type(message) is dict and len(message) == 2:  # most messages: two texts, and no more to look at
            role, content = message.get("role"), message.get("content")
            if type(role) is str and type(content) is str:
                yield dict(message)
                continue
        yield _checked(number, kept(message))


def _checked(number: int, message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise DialogueError(f'message {number} is not an object with "role" and "content"')
    content, calls = message.get("content"), message.get("tool_calls")
    if message["role"] in _SPEAKERS:  # what a tool gives may be anything
        if content is None and not any(value is not None for key, value in message.items() if key != "role"):
            raise DialogueError(f"message {number}: content must be a string, not NoneType")
        if not isinstance(content, str | list | None):
            told = "content must be a string or a list of parts"
            raise DialogueError(f"message {number}: {told}, not {type(content).__name__}")
        if isinstance(content, list) and not all(isinstance(part, str | dict) for part in content):
            raise DialogueError(f"message {number}: a part of the content must be an object")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise DialogueError(f"message {number}: tool_calls must be a list of objects")
    return message


def kept(value: Any) -> Any:
    """A copy of plain types, as the dialogue's own.

    Raises:
        DialogueError: it is nested deeper than Python can follow.
    """
    try:
        return kept_data(value)
    except MessageTypeError as error:
        raise DialogueError(str(error)) from error


def _system(system: Any) -> Any:
    """A system text, or Anthropic's list of text blocks."""
    if not _is_list(system):
        return _text(system, "system")
    blocks = kept(system)
    is_text = len(blocks) == 1 and isinstance(blocks[0], dict) and blocks[0].keys() == {"type", "text"}
    return blocks[0]["text"] if is_text else blocks


def _parsed(value: Any, what: str) -> list[Any] | None:
    """A list that may be written as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise DialogueError(
                f"{what} is text that is not JSON: {error}", kind=f"{what} is text that is not JSON"
            ) from error
        value = [value] if isinstance(value, dict) else value
    if value is None:
        return None
    items: list[Any] = kept(listed(value, what))
    return items


def listed(value: Any, what: str) -> list[Any]:
    """``value`` as a list, where it is one or another's, such as numpy's.

    Raises:
        DialogueError: it is something else.
    """
    if not _is_list(value):
        raise DialogueError(f'"{what}" must be a list, not {type(value).__name__}')
    return value if isinstance(value, list) else list(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or is_array(value)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise DialogueError(f"{what} must be a string, not {type(value).__name__}")
    return value
