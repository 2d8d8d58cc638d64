"""A conversation as a template is given it, and the shapes that separate templates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chatlab.snapshots.recorder import canonical

Message = dict[str, Any]

ARGUMENTS: dict[str, Any] = {"flag": False, "none": None, "num": 1.0, "s": "é<&'", "obj": {"k": [True]}}
"""Arguments that separate templates: JSON and Python spell each of them differently, or a filter escapes them."""

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string", "description": "What."}}},
    },
}


@dataclass(frozen=True)
class Conversation:
    """Messages with what else a render is given; values are never changed in place."""

    messages: tuple[Message, ...]
    tools: bool = False
    """Whether a tool is offered."""
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """One text for equal conversations."""
        return canonical([list(self.messages), self.tools, self.variables])

    @property
    def replies(self) -> Iterator[int]:
        """Yield where the model speaks."""
        return (at for at, message in enumerate(self.messages) if message["role"] == "assistant")

    def until(self, end: int) -> Conversation:
        """Return its beginning."""
        return replace(self, messages=self.messages[:end])

    def next_call(self, reply: int) -> int:
        """Return up to where the messages go that the model's next call after a reply reads."""
        return next((at for at in self.replies if at > reply), len(self.messages))

    def changed(self, at: int, change: Callable[[Message], None]) -> Conversation:
        """Return a copy in which one message is changed."""
        message = copy.deepcopy(self.messages[at])
        change(message)
        return replace(self, messages=(*self.messages[:at], message, *self.messages[at + 1 :]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"messages": list(self.messages), "tools": self.tools, "variables": self.variables}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Conversation:
        """Return what ``to_dict`` wrote."""
        return cls(tuple(data["messages"]), data["tools"], data["variables"])


def user(text: str) -> Message:
    """Return a user's message."""
    return {"role": "user", "content": text}


def said(text: str, **fields: Any) -> Message:
    """Return a reply, with ``reasoning_content`` or ``tool_calls`` where it has them."""
    return {"role": "assistant", "content": text, **fields}


def called(*names: str, arguments: Any = None, **fields: Any) -> Message:
    """Return a reply that calls tools, and says nothing beside, unless ``content`` is given."""
    given = {"key": "a"} if arguments is None else arguments
    calls = [
        {"id": f"call{n:05}", "type": "function", "function": {"name": name, "arguments": given}}
        for n, name in enumerate(names)
    ]
    return {"role": "assistant", "content": "", **fields, "tool_calls": calls}


def result(text: str, number: int = 0, name: str = "look_up") -> Message:
    """Return what a tool gave."""
    return {"role": "tool", "name": name, "tool_call_id": f"call{number:05}", "content": text}


_PING, _PONG, _AGAIN = user("Ping 1"), said("Pong 2"), user("Ping 3")
_THOUGHT = {"reasoning_content": "Hmm 4"}
_SYSTEM = {"role": "system", "content": "Rule 5"}
_FOUND = result("Found 6")

SHAPES: dict[str, Conversation] = {
    "answer, new question": Conversation((_PING, _PONG, _AGAIN)),
    "reasoning, new question": Conversation((_PING, said("Pong 2", **_THOUGHT), _AGAIN)),
    "thoughts in the text, new question": Conversation((_PING, said("<think>\nHmm 4\n</think>\n\nPong 2"), _AGAIN)),
    "call, result": Conversation((_PING, called("look_up"), _FOUND), tools=True),
    "arguments": Conversation((_PING, called("look_up", arguments=ARGUMENTS), _FOUND), tools=True),
    "arguments as text": Conversation((_PING, called("look_up", arguments='{"key": "a"}'), _FOUND), tools=True),
    "reasoning, call, result": Conversation((_PING, called("look_up", **_THOUGHT), _FOUND), tools=True),
    "text beside a call": Conversation((_PING, called("look_up", content="Wait 7"), _FOUND), tools=True),
    "several calls at once": Conversation(
        (
            _PING,
            called("look_up", "look_at"),
            _FOUND,
            result("Found 8", 1, "look_at"),
        ),
        tools=True,
    ),
    "two results, one after the other": Conversation(
        (_PING, called("look_up"), _FOUND, called("look_at"), result("Found 8", 0, "look_at")), tools=True
    ),
    "after a tool loop, new question": Conversation((_PING, called("look_up"), _FOUND, _PONG, _AGAIN), tools=True),
    "reasoning through a tool loop, new question": Conversation(
        (_PING, called("look_up", **_THOUGHT), _FOUND, said("Pong 2", reasoning_content="Hmm 9"), _AGAIN), tools=True
    ),
    "blanks around the answer": Conversation((_PING, said(" \n Pong 2 \n "), _AGAIN)),
    "system, answer, new question": Conversation((_SYSTEM, _PING, _PONG, _AGAIN)),
    "system later": Conversation((_PING, _PONG, _SYSTEM, _AGAIN)),
    "a reply to continue": Conversation((_PING, said("Pong 2 "))),
    "two questions on": Conversation((_PING, _PONG, _AGAIN, said("Pong 10"), user("Ping 11"))),
}
"""What is rendered of every template; the shapes with a switch are added where a template has one."""

SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates turn thinking off."""


def shapes_for(switches: tuple[str, ...]) -> dict[str, Conversation]:
    """Return the shapes, with thinking turned off too where a template has a switch for it."""
    off: dict[str, Any] = dict.fromkeys(switches, False)
    names = ("answer, new question", "call, result") if off else ()
    return SHAPES | {f"no thinking: {name}": replace(SHAPES[name], variables=off) for name in names}
