"""Anthropic's messages as OpenAI's: thinking, calls and results stand in blocks of the content there, in fields here.

A message there may think, then speak, then call. Here the thinking is ``reasoning_content``, the calls are
``tool_calls``, each result is a message of its own, and every other block stays a part of the content as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from chatlab.errors import DialogueError

_THINKING = ("thinking", "redacted_thinking")
_ORDER = {**dict.fromkeys(_THINKING, 0), "tool_use": 2}
"""Where a block stands in an OpenAI message: before, among or behind the parts of its content."""


def is_anthropic(data: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a record is Anthropic's: by its blocks, or by a tool's ``input_schema``.

    Mistral's thinking parts, which its own chat template reads, are ``closed`` or hold parts themselves.
    """
    tools = data.get("tools")
    by_tools = isinstance(tools, list) and any(isinstance(tool, Mapping) and "input_schema" in tool for tool in tools)
    return by_tools or any(map(_is_block, (part for message in messages for part in _parts(message))))


def _is_block(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "thinking":
        return isinstance(part.get("thinking"), str) and "closed" not in part
    return kind in ("redacted_thinking", "tool_use", "tool_result")


def _parts(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def messages_of_blocks(number: int, message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The OpenAI messages of message ``number``: one, or several where it holds results of tools.

    Raises:
        DialogueError: a block stands where an OpenAI message has no place for it, or lacks a field.

    >>> blocks = [{"type": "thinking", "thinking": "Add."}, {"type": "tool_use", "id": "1", "name": "add", "input": {}}]
    >>> list(messages_of_blocks(2, {"role": "assistant", "content": blocks}))
    [{'role': 'assistant', 'content': None, 'reasoning_content': 'Add.',
      'tool_calls': [{'id': '1', 'type': 'function', 'function': {'name': 'add', 'arguments': {}}}]}]
    """
    parts = _parts(message)
    kinds = {part.get("type") for part in parts if isinstance(part, dict)}
    if message["role"] == "assistant" and kinds:
        yield _of_assistant(number, message, parts)
    elif "tool_result" in kinds:
        beside = {key: value for key, value in message.items() if key not in ("role", "content")}
        if beside:
            raise DialogueError(f"message {number} has {min(beside)} beside its tool results, where none can hold it")
        for is_result, blocks in groupby(
            parts, lambda part: isinstance(part, dict) and part.get("type") == "tool_result"
        ):
            if is_result:
                yield from (_result(number, block) for block in blocks)
            else:
                yield {**message, "content": _content(list(blocks))}
    else:
        yield {**message, "content": _content(parts)} if parts else message


def tool_of_anthropic(tool: Any) -> Any:
    """An OpenAI tool of Anthropic's; another one as it is."""
    if not isinstance(tool, Mapping) or "input_schema" not in tool:
        return tool
    function = {key: tool[key] for key in ("name", "description") if key in tool}
    beside = {key: value for key, value in tool.items() if key not in ("name", "description", "input_schema", "type")}
    if tool.get("type") not in (None, "custom"):
        raise DialogueError(f"a tool of type {tool['type']!r:.40} has no input_schema elsewhere: leave it out")
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}, **beside}


def _of_assistant(number: int, message: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
    places = [_ORDER.get(str(part.get("type")), 1) if isinstance(part, dict) else 1 for part in parts]
    late = next((i for i in range(1, len(places)) if places[i] < places[i - 1]), None)
    if late is not None:
        kind, before = (parts[i].get("type") if isinstance(parts[i], dict) else "text" for i in (late, late - 1))
        told = f"a {kind} block stands behind a {before} block, which an OpenAI message has no place for"
        raise DialogueError(f"message {number}: {told}: split the message before it", kind=told)
    thinking, spoken, calls = ([p for p, place in zip(parts, places, strict=True) if place == n] for n in (0, 1, 2))
    fields: dict[str, Any] = {**message, "content": _content(spoken) if spoken else None}
    if thinking:
        fields["reasoning_content"] = "".join(
            _field(number, b, "thinking", str) for b in thinking if b["type"] == "thinking"
        )
        if len(thinking) > 1 or thinking[0].keys() != {"type", "thinking"}:
            fields["thinking_blocks"] = thinking  # with their signatures, which a server wants back
    if calls:
        fields["tool_calls"] = [_call(number, block) for block in calls]
    return fields


def _call(number: int, block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": _field(number, block, "name", str), "arguments": _field(number, block, "input", dict)}
    return {
        "id": _field(number, block, "id", str),
        "type": "function",
        "function": function,
        **_beside(block, "id", "name", "input"),
    }


def _result(number: int, block: dict[str, Any]) -> dict[str, Any]:
    content = block.get("content")
    fields = {"tool_call_id": _field(number, block, "tool_use_id", str), **_beside(block, "tool_use_id", "content")}
    return {"role": "tool", "content": _content(content) if isinstance(content, list) else content or "", **fields}


def _beside(block: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key not in ("type", *names)}


def _content(parts: list[Any]) -> Any:
    """One text block is a text; others stay parts."""
    only = parts[0] if len(parts) == 1 and isinstance(parts[0], dict) else {}
    is_text = only.get("type") == "text" and not any(_beside(only, "text").values())
    return only["text"] if is_text else parts


def _field(number: int, block: dict[str, Any], name: str, kind: type) -> Any:
    value = block.get(name)
    if not isinstance(value, kind):
        raise DialogueError(
            f"message {number}: {name} of a {block.get('type')} block must be {'a string' if kind is str else 'an object'}, not {value!r:.40}"
        )
    return value
