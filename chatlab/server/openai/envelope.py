"""What stands around an answer: its id, time and model, its counts, and the bytes of it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatlab.engines.engine import FinishReason

DONE = b"data: [DONE]\n\n"
_FINISH_REASONS: Mapping[FinishReason, str] = {"stop": "stop", "eos": "stop", "length": "length"}


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What all chunks of one answer share."""

    model: str
    kind: str
    """OpenAI's word for the whole answer: ``chat.completion`` or ``text_completion``."""
    answer_id: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choice: Mapping[str, Any], **beside: Any) -> dict[str, Any]:
        """An answer in one piece."""
        return self._around(self.kind, [choice], beside)

    def chunk(self, choice: Mapping[str, Any] | None, **beside: Any) -> dict[str, Any]:
        """One piece of a stream; without a choice it is about the answer as a whole."""
        kind = self.kind if self.kind == "text_completion" else f"{self.kind}.chunk"
        return self._around(kind, [] if choice is None else [choice], beside)

    def _around(self, kind: str, choices: Sequence[Mapping[str, Any]], beside: Mapping[str, Any]) -> dict[str, Any]:
        prefix = "cmpl" if self.kind == "text_completion" else "chatcmpl"
        head = {"id": f"{prefix}-{self.answer_id}", "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": list(choices), **beside}


def usage(prompt_len: int, reply_len: int | None, kept_len: int | None = None) -> dict[str, Any]:
    """The counts of an answer.

    Args:
        prompt_len: tokens of the prompt.
        reply_len: tokens of the reply; ``None`` where only its text is known.
        kept_len: what the engine had read of the prompt before, where it tells.
    """
    total_len = None if reply_len is None else prompt_len + reply_len
    counts: dict[str, Any] = {"prompt_tokens": prompt_len, "completion_tokens": reply_len, "total_tokens": total_len}
    return counts if kept_len is None else {**counts, "prompt_tokens_details": {"cached_tokens": kept_len}}


def finish_word(reason: FinishReason | None, *, called: bool = False) -> str | None:
    """OpenAI's word for why an answer ended; ``called`` where the model called tools.

    One that was broken off has none: the error that comes after it is its end.
    """
    if reason is None:
        return None
    return "tool_calls" if called and reason in ("stop", "eos") else _FINISH_REASONS.get(reason)


def model_list(models: Mapping[str, int | None], *, created: int) -> dict[str, Any]:
    """What ``/v1/models`` says: each model's name, and tokens of prompt and answer together."""
    return {"object": "list", "data": [model_entry(name, length, created) for name, length in models.items()]}


def model_entry(name: str, context_len: int | None, created: int) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "chatlab", "max_model_len": context_len}


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; half a character, which UTF-8 cannot write, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def event(value: Mapping[str, Any]) -> bytes:
    """One server-sent event; JSON has no line break outside its escapes, so its data is one line."""
    return b"data: " + json_bytes(value) + b"\n\n"


def comment(text: str) -> bytes:
    """A line that clients pass over, and people who look at the wire can read."""
    return b": " + text.replace("\n", " ").encode() + b"\n\n"
