"""Renders by transformers' own environment, and what a finding says, looked up in them: nothing of the audit is used."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from chatlab.turns.audit.finding import TemplateFinding

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {"type": "object", "properties": {"key": {"type": "string", "description": "k"}}}}}  # fmt: skip
Messages = tuple[dict[str, Any], ...]


@lru_cache(maxsize=128)
def compiled(template: str) -> Any:
    from transformers.utils.chat_template_utils import _cached_compile_jinja_template

    return _cached_compile_jinja_template(template)


def render(template: str, messages: Messages, opened: bool, *, tools: bool = False, **variables: Any) -> str:
    given = copy.deepcopy(list(messages))
    for message in given:
        if "reasoning_content" in message:
            message["thinking"] = message["reasoning_content"]
    offered = [copy.deepcopy(TOOL)] if tools else None
    return compiled(template).render(
        messages=given, tools=offered, documents=None, add_generation_prompt=opened, **SPECIALS, **variables
    )


def of(template: str, found: TemplateFinding) -> Callable[[Messages, bool], str]:
    return lambda messages, opened: render(template, messages, opened, tools=found.tools, **found.variables)


def replies(messages: Messages) -> list[int]:
    return [at for at, message in enumerate(messages) if message["role"] == "assistant"]


def is_kept(write: Callable[[Messages, bool], str], messages: Messages, at: int) -> bool:
    """Whether the prompt before a reply begins the closed turn, and that the next prompt."""
    prompt, closed = write(messages[:at], True), write(messages[: at + 1], False)
    end = next((n for n in replies(messages) if n > at), len(messages))
    follows = end == at + 1 or write(messages[:end], True).startswith(closed)
    return closed.startswith(prompt) and follows


def _raises(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    try:
        for end in range(1, len(messages) + 1):
            write(messages[:end], messages[end - 1]["role"] != "assistant")
    except Exception:
        return True
    return False


def _ignored(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    """Whether some text or call may be another one, and what is written is the same."""
    for at, message in enumerate(messages):
        other = copy.deepcopy(message)
        if "tool_calls" in other:
            for number, call in enumerate(other["tool_calls"]):
                for name, value in (("name", "zzz"), ("arguments", {"zzz": "zzz"})):
                    one = copy.deepcopy(other)
                    one["tool_calls"][number]["function"][name] = value
                    if call["function"][name] and _same(write, messages, at, one):
                        return True
        if message["content"] and _same(write, messages, at, {**message, "content": "zzz"}):
            return True
    return False


def _same(write: Callable[[Messages, bool], str], messages: Messages, at: int, other: dict[str, Any]) -> bool:
    try:
        return write((*messages[:at], other, *messages[at + 1 :]), False) == write(messages, False)
    except Exception:
        return False


def _trimmed(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    texts = [(messages[at]["content"], write(messages[: at + 1], False)) for at in replies(messages)]
    return any(text and text not in closed for text, closed in texts)


def _changed(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    calls = [call for at in replies(messages) for call in messages[at].get("tool_calls", ())]
    text = write(messages, False)
    given = {key: value for call in calls for key, value in call["function"]["arguments"].items()}
    spelled = [json.dumps(value, ensure_ascii=False).strip('"{}[]') for value in given.values()]
    places = [text.rfind(key) for key in given]
    return any(value not in text for value in spelled) or places != sorted(places)


def _as_text(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    parsed = copy.deepcopy(list(messages))
    for message in parsed:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return write(tuple(parsed), False) != write(messages, False)


def _no_end(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    closed = write(messages[: replies(messages)[-1] + 1], False).rstrip()
    return not closed.endswith(("|>", "</s>")) or not all(is_kept(write, messages, at) for at in replies(messages))


def _lost(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    return not all(is_kept(write, messages, at) for at in replies(messages))


def _thoughtless(write: Callable[[Messages, bool], str], messages: Messages) -> bool:
    at = replies(messages)[-1]
    other = {**messages[at], "reasoning_content": "zzz"}
    return _lost(write, messages) or _same(write, messages[: at + 1], at, other)


SHOWN = {
    "refused": _raises,
    "message dropped": _ignored,
    "call dropped": _ignored,
    "argument values changed": _changed,
    "arguments as text": _as_text,
    "reasoning dropped": _thoughtless,
    "think block dropped": _lost,
    "history rewritten": _lost,
    "opening differs": _lost,
    "opening unasked": _lost,
    "end token differs": _lost,
    "end token only last": _lost,
    "end token missing": _no_end,
    "reply trimmed": _trimmed,
}
"""How each kind shows itself in what is written; the others need a clock or a mask."""


def is_shown(template: str, found: TemplateFinding, messages: Messages | None = None) -> bool:
    """Whether a conversation, by default a finding's own, shows what the finding says."""
    own = found.messages if messages is None else messages
    if found.kind == "reply rewritten":
        return (_trimmed if found.word else _lost)(of(template, found), own)
    return SHOWN[found.kind](of(template, found), own)


def smaller(messages: Messages) -> list[Messages]:
    """A conversation without one of its messages, where somebody could have had that."""
    found = [messages[:at] + messages[at + 1 :] for at in range(len(messages))]
    return [one for one in found if one and _is_talk(one)]


def _is_talk(messages: Messages) -> bool:
    roles = [message["role"] for message in messages if message["role"] != "system"]
    calls = ["tool_calls" in message for message in messages]
    after_call = all(messages[at + 1]["role"] == "tool" for at, called in enumerate(calls[:-1]) if called)
    has_call = all(at and (calls[at - 1] or messages[at - 1]["role"] == "tool") for at, m in enumerate(messages) if m["role"] == "tool")  # fmt: skip
    turns = all(one != two or one == "tool" for one, two in zip(roles, roles[1:], strict=False))
    return bool(roles) and roles[0] == "user" and after_call and has_call and turns
