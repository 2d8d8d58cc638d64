"""Faults of the layer that takes messages apart before the template sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from chatlab.server.faults.fault import Message, Messages

_THOUGHTS = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_REASONING = ("reasoning_content", "reasoning", "thinking")


def each(edit: Callable[[Message], Message]) -> Callable[[Messages], Messages]:
    """An edit of every message."""
    return lambda messages: [edit(message) for message in messages]


def without_reasoning(message: Message) -> Message:
    """An earlier reply without what was thought before it."""
    if message["role"] != "assistant":
        return message
    kept = {key: value for key, value in message.items() if key not in _REASONING}
    return with_text(kept, lambda text: _THOUGHTS.sub("", text))


def stripped(message: Message) -> Message:
    """A message without the blanks round its text."""
    return with_text(message, str.strip)


def with_text(message: Message, edit: Callable[[str], str]) -> Message:
    """A message whose text, or every text part of it, is edited."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": edit(content)}
    if isinstance(content, list):
        parts = [{**p, "text": edit(p["text"])} if isinstance(p.get("text"), str) else p for p in content]
        return {**message, "content": parts}
    return message


def reserialised(message: Message) -> Message:
    """A message whose tool calls have their arguments written anew: sorted, with other blanks."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_rewritten_call(call) for call in calls]} if calls else message


def _rewritten_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function", {})
    if "arguments" not in function:
        return call
    return {**call, "function": {**function, "arguments": _written_anew(function["arguments"])}}


def _written_anew(arguments: Any) -> Any:
    if isinstance(arguments, str):
        try:
            return json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
        except ValueError:
            return arguments
    return dict(sorted(arguments.items())) if isinstance(arguments, dict) else arguments


def without_system(messages: Messages) -> Messages:
    """The messages but the system text."""
    return [message for message in messages if message["role"] != "system"]


def system_in_question(messages: Messages) -> Messages:
    """The system text written before the first question, in one message with it."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system" and isinstance(m.get("content"), str))
    rest = without_system(messages)
    first = next((n for n, message in enumerate(rest) if message["role"] == "user"), None)
    if not system or first is None:
        return messages
    merged = with_text(rest[first], lambda text: f"{system}\n\n{text}")
    return [*rest[:first], merged, *rest[first + 1 :]]


DEFAULT_SYSTEM = "You are a helpful assistant."


def with_default_system(messages: Messages) -> Messages:
    """The messages, with a system text of the server's own where there is none."""
    if any(message["role"] == "system" for message in messages):
        return messages
    return [{"role": "system", "content": DEFAULT_SYSTEM}, *messages]
