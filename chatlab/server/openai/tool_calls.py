"""The deltas of a chat: what is said goes on at once, a tool call when it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channels import Passage
from chatlab.streaming.result import Delta


class ChatDeltas:
    """Make OpenAI's deltas of a reply's.

    **Law.** The deltas, added up as OpenAI's clients do, are ``reply.message(tools)``: content, reasoning and tool calls,
    also where a call cannot be read, which then is content as the model wrote it. Where no tools were offered all that is
    no reasoning is content.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]] | None, calls: str, *, called_len: int = 0) -> None:
        """Begin a reply.

        Args:
            tools: those that were offered; ``None`` where none were, so that nothing is a call.
            calls: how the model writes a call.
            called_len: how many calls the dialogue holds already, which the ids of new ones are counted on from.
        """
        self._tools = None if tools is None else list(tools)
        self._calls = calls
        self._called_len = called_len
        self._open: list[Passage] = []
        self.call_len = 0
        """How many calls were told."""

    def put(self, delta: Delta) -> list[dict[str, Any]]:
        """The deltas that are now certain, oldest first."""
        if delta.channel == "tool_call" and self._tools is not None:
            self._open += _passages(delta)
            return self.flush() if delta.finish_reason is not None else []
        if not delta.text and not (delta.delimiter and delta.channel == "tool_call"):
            return self.flush() if delta.delimiter or delta.finish_reason is not None else []
        told = self.flush()
        if delta.channel == "reasoning":
            return [*told, {"reasoning_content": delta.text}]
        written = delta.delimiter + delta.text if delta.channel == "tool_call" else delta.text
        return [*told, {"content": written}]

    def flush(self) -> list[dict[str, Any]]:
        """What the calls under way come to, as if they ended here."""
        if not self._open:
            return []
        message = message_of(self._open, self._calls, self._tools or ())
        self._open = []
        told = [{"content": message["content"]}] if message["content"] else []
        return [*told, *(self._told(call, number) for number, call in enumerate(message.get("tool_calls", ())))]

    def _told(self, call: Mapping[str, Any], number: int) -> dict[str, Any]:
        own_id = call["id"] if call["id"] != f"call{number:05d}" else f"call{self._called_len + self.call_len:05d}"
        self.call_len += 1
        return {
            "tool_calls": [
                {"index": self.call_len - 1, "id": own_id, "type": "function", "function": dict(call["function"])}
            ]
        }


def _passages(delta: Delta) -> list[Passage]:
    found = [Passage(delta.channel, delta.delimiter, True), Passage(delta.channel, delta.text)]
    return [passage for passage in found if passage.text]


def add_up(deltas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The message that deltas make, added up as OpenAI's clients do."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for delta in deltas:
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            message.setdefault("tool_calls", []).append({key: value for key, value in call.items() if key != "index"})
    if "tool_calls" in message and not message["content"]:
        message["content"] = None
    return message
