"""Server-sent events: ``place``, ``begin``, ``delta``, and one of ``end`` and ``error``, by FastAPI's own writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from chatlab.server.chat.turn import Begun, Ended, Event, Failed, Place
from chatlab.streaming.result import Delta

PING_S = 15.0
"""Seconds without an event after which a comment says that the line is alive."""


class ServerSentEvents:
    """Each delta with its channel, ids and offsets, numbered; exactly one event ends the stream.

    ``place {place}`` may come while the request waits; ``begin {message_id, prompt_len, dropped_turns, seed, prefix}`` once,
    with ``prompt_token_ids`` where they were asked for; ``delta`` for every step that shows something or says an id; then
    ``end {finish_reason, text_len, token_len}`` or ``error {code, message}``. A stream without one of these two was cut.
    """

    media_type = EventSourceResponse.media_type
    tells_errors = True

    def __init__(self, *, return_token_ids: bool = False) -> None:
        self._returns_ids = return_token_ids
        self._number = 0

    def put(self, events: Sequence[Event]) -> bytes:
        """Some events as bytes; none at all is a sign of life."""
        return b"".join(map(self._event, events)) if events else KEEPALIVE_COMMENT

    def _event(self, event: Event) -> bytes:
        name, data = self._told(event)
        number, self._number = self._number, self._number + 1
        return format_sse_event(event=name, data_str=one_line({"kind": name, **data}), id=str(number))

    def _told(self, event: Event) -> tuple[str, dict[str, Any]]:
        match event:
            case Delta():
                return "delta", delta_data(event)
            case Place():
                return "place", {"place": event.place}
            case Begun():
                return "begin", self._begun(event)
            case Ended():
                return "end", {
                    "finish_reason": event.finish_reason,
                    "text_len": len(event.text),
                    "token_len": event.token_len,
                }
            case Failed():
                refusal = event.refusal
                return "error", {"code": refusal.code, "message": refusal.message, "field": refusal.field}

    def _begun(self, event: Begun) -> dict[str, Any]:
        ids = {"prompt_token_ids": list(event.prompt_ids)} if self._returns_ids else {}
        return {
            "message_id": event.message_id,
            "prompt_len": len(event.prompt_ids),
            "dropped_turns": event.dropped_turns,
            "seed": event.seed,
            "prefix": prefix_data(event.prefix),
            **ids,
        }


_ENDS_OF_LINES = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What JSON leaves as it is and careless readers of lines take for an end of one."""


def one_line(data: dict[str, Any]) -> str:
    """Data as JSON in one line, by whatever rule lines are told."""
    return json.dumps(data, ensure_ascii=False).translate(_ENDS_OF_LINES)


def delta_data(delta: Delta) -> dict[str, Any]:
    """A delta as plain data: what a page needs to show it and to say which token wrote which character."""
    return {
        "text": delta.text,
        "channel": delta.channel,
        "delimiter": delta.delimiter,
        "text_start": delta.text_start,
        "text_end": delta.text_end,
        "token_ids": list(delta.token_ids),
        "pieces": list(delta.pieces),
        "first_token": delta.first_token,
        "token_spans": [list(span) for span in delta.token_spans],
        "logprobs": None if delta.logprobs is None else list(delta.logprobs),
        "finish_reason": delta.finish_reason,
    }


def prefix_data(prefix: Any) -> dict[str, Any] | None:
    """What an engine tells of the prefix it kept, as plain data."""
    return asdict(prefix) if is_dataclass(prefix) and not isinstance(prefix, type) else None
