"""Tool calls in the history: whether they are there, and with the values that were given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chatlab.turns.audit.checks import Symptom
from chatlab.turns.audit.conversation import Conversation, Message
from chatlab.turns.audit.kinds import Kind
from chatlab.turns.audit.places import shared_len
from chatlab.turns.audit.renders import MARK, Refusal, Renders

_QUOTES = re.compile(r"\s|['\"]|&#3[49];|&quot;")
"""What an object may be written with that its text is not: other blanks, other quotes; a backslash is neither."""


def check_calls(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield calls that no render depends on, and arguments that are not written as they were given."""
    for at in conversation.replies:
        calls = conversation.messages[at].get("tool_calls", ())
        for number, call in enumerate(calls):
            given = call["function"]["arguments"]
            if not _acts(renders, conversation, at, number, "name"):
                yield Symptom(Kind.CALL_DROPPED, "", before=call["function"]["name"])
            elif isinstance(given, str):
                yield from _of_text(renders, conversation, at)
            elif given and not _acts(renders, conversation, at, number, "arguments"):
                yield Symptom(Kind.CALL_DROPPED, "the arguments", before=json.dumps(given))
            else:
                yield from _changed_values(given, _region(renders, conversation, at))


def _acts(renders: Renders, conversation: Conversation, at: int, number: int, name: str) -> bool:
    def put(message: Message) -> None:
        message["tool_calls"][number]["function"][name] = MARK if name == "name" else {MARK: MARK}

    try:
        return renders.text(conversation) != renders.text(conversation.changed(at, put))
    except Refusal:
        return True


def _region(renders: Renders, conversation: Conversation, at: int) -> str:
    """Return what a template writes of a reply: behind the messages before it."""
    closed = renders.text(conversation.until(at + 1))
    return closed[shared_len(closed, renders.text(conversation.until(at))) :]


def _of_text(renders: Renders, conversation: Conversation, at: int) -> Iterator[Symptom]:
    """Yield arguments given as JSON text that are not written as the same object would be."""
    parsed = conversation.changed(at, _parse)
    whole = renders.text(conversation), renders.text(parsed)
    words = [_QUOTES.sub("", text) for text in whole]
    if words[0] != words[1]:
        shared = shared_len(*whole)
        yield Symptom(Kind.CALL_TEXT, before=whole[1][shared : shared + 60], after=whole[0][shared : shared + 60])


def _parse(message: Message) -> None:
    for call in message["tool_calls"]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])


def _changed_values(arguments: dict[str, Any], region: str) -> Iterator[Symptom]:
    for value in _leaves(arguments):
        yield from _changed_value(value, region)
    keys = [found for key in arguments if (found := re.search(rf"\b{re.escape(key)}\b", region))]
    places = [found.start() for found in keys]
    if places != sorted(places):
        yield Symptom(Kind.CALL_CHANGED, "order", before=json.dumps(arguments, ensure_ascii=False), after=region)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


def _changed_value(value: Any, region: str) -> Iterator[Symptom]:
    """Yield how one value is written otherwise; each of JSON's words has another one in Python."""
    if value is None or isinstance(value, bool):
        given, other = json.dumps(value), str(value)
        if not re.search(rf"\b{given}\b", region):
            word = "Python's words" if re.search(rf"\b{other}\b", region) else f"{given} is lost"
            yield Symptom(Kind.CALL_CHANGED, word, before=given, after=region)
    elif isinstance(value, float):
        if str(value) not in region:
            yield Symptom(Kind.CALL_CHANGED, "numbers", before=str(value), after=region)
    elif isinstance(value, str) and not any(text in region for text in (value, _as_json(value))):
        yield Symptom(Kind.CALL_CHANGED, "escaped text", before=value, after=region)


def _as_json(text: str) -> str:
    """Return a text as JSON spells it inside quotes, without escapes that JSON does not need."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
