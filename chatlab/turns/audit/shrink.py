"""The smallest conversation that still shows a symptom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from chatlab.turns.audit.conversation import Conversation, Message

TRIES = 400
"""At most so many conversations are tried for one symptom."""

LETTERS = {"user": "q", "assistant": "a", "tool": "r", "system": "s"}
FIELDS = ("reasoning_content", "tool_calls")


def shrink(conversation: Conversation, shows: Callable[[Conversation], bool]) -> Conversation:
    """Return a conversation of which no message, field, argument or character can be left out.

    Args:
        conversation: it shows the symptom.
        shows: whether another one shows the same.
    """
    left = TRIES
    smaller: Conversation | None = conversation
    while smaller is not None and left > 0:
        conversation, smaller = smaller, None
        for candidate in _candidates(conversation):
            left -= 1
            if _is_plausible(candidate) and shows(candidate):
                smaller = candidate
                break
            if left <= 0:
                break
    return conversation


def _is_plausible(conversation: Conversation) -> bool:
    """Whether somebody could have had this conversation; what nobody has shows nothing."""
    roles = ["system" if m["role"] == "system" else m["role"] for m in conversation.messages]
    talk = [role for role in roles if role != "system"]
    if not talk or talk[0] != "user":
        return False
    for at, message in enumerate(conversation.messages):
        before = conversation.messages[at - 1] if at else {"role": ""}
        if message["role"] == "tool" and not ("tool_calls" in before or before["role"] == "tool"):
            return False
        if "tool_calls" in before and message["role"] != "tool":
            return False
        if message["role"] == "assistant" and not (message["content"] or "tool_calls" in message):
            return False
    return all(one != two or one == "tool" for one, two in zip(talk, talk[1:], strict=False))


def _candidates(conversation: Conversation) -> Iterator[Conversation]:
    """Yield smaller conversations, the much smaller ones first."""
    messages = conversation.messages
    for length in range(len(messages) - 1, 0, -1):
        for start in range(len(messages) - length + 1):
            yield replace(conversation, messages=(*messages[:start], *messages[start + length :]))
    yield from _without_loop(conversation)
    if conversation.tools:
        yield replace(conversation, tools=False)
    for name in conversation.variables:
        yield replace(conversation, variables={k: v for k, v in conversation.variables.items() if k != name})
    for at, message in enumerate(messages):
        for smaller in _smaller_messages(message):
            yield replace(conversation, messages=(*messages[:at], smaller, *messages[at + 1 :]))


def _without_loop(conversation: Conversation) -> Iterator[Conversation]:
    """Yield a conversation in which a call and what it gave are an answer and a question."""
    messages = conversation.messages
    for at, message in enumerate(messages[:-1]):
        if "tool_calls" in message and messages[at + 1]["role"] == "tool":
            answer = {key: value for key, value in message.items() if key != "tool_calls"}
            answer["content"] = message["content"] or LETTERS["assistant"]
            end = next((n for n in range(at + 1, len(messages)) if messages[n]["role"] != "tool"), len(messages))
            question = {"role": "user", "content": LETTERS["user"]}
            yield replace(conversation, messages=(*messages[:at], answer, question, *messages[end:]))


def _smaller_messages(message: Message) -> Iterator[Message]:
    for name in FIELDS:
        if name in message:
            left = {key: value for key, value in message.items() if key != name}
            yield left if left["content"] else {**left, "content": LETTERS[message["role"]]}
    if message["content"] and "tool_calls" in message:
        yield {**message, "content": ""}
    for name, letter in (("content", LETTERS[message["role"]]), ("reasoning_content", "t")):
        for text in _smaller_texts(message.get(name, ""), letter):
            yield {**message, name: text}
    for calls in _smaller_calls(message.get("tool_calls", [])):
        yield {**message, "tool_calls": calls}


def _smaller_texts(text: str, letter: str) -> Iterator[str]:
    if text and text != letter:
        yield letter
        blanks = text.lstrip(), text.rstrip(), f" {text.strip()}", f"{text.strip()} "
        half = len(text) // 2
        for smaller in (*blanks, text.replace(text.strip(), letter), text[:half], text[half:]):
            if smaller.strip() and len(smaller) < len(text):
                yield smaller
        for at in range(len(text)) if len(text) <= 40 else ():
            if (text[:at] + text[at + 1 :]).strip():
                yield text[:at] + text[at + 1 :]


def _smaller_calls(calls: list[Any]) -> Iterator[list[Any]]:
    if len(calls) > 1:
        yield from (calls[:at] + calls[at + 1 :] for at in range(len(calls)))
    for at, call in enumerate(calls):
        given = call["function"]["arguments"]
        smaller = [{k: v for k, v in given.items() if k != name} for name in given] if isinstance(given, dict) else []
        for arguments in smaller:
            yield [*calls[:at], {**call, "function": {**call["function"], "arguments": arguments}}, *calls[at + 1 :]]


def contains(conversation: Conversation, smallest: Conversation) -> bool:
    """Whether messages of a conversation, in order, are at least those of a smaller one; then it adds nothing new."""
    if smallest.tools > conversation.tools or not smallest.variables.items() <= conversation.variables.items():
        return False
    rest = iter(conversation.messages)
    return all(any(_covers(message, small) for message in rest) for small in smallest.messages)


def _covers(message: Message, small: Message) -> bool:
    return message["role"] == small["role"] and all(name in message for name in small if name in FIELDS)
