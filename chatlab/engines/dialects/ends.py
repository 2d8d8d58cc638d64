"""How a reply ended, in the words of each server: whole, or by a failure."""

from __future__ import annotations

import re
from typing import Any

from chatlab.engines.dialects.values import shown
from chatlab.engines.engine import FinishReason
from chatlab.errors import ContextLengthError, EngineError, RemoteError

_WORDS: dict[str, FinishReason] = {
    "stop": "eos",  # OpenAI's word for both an end token and a stop text; see ``CompletionReader``
    "eos": "eos",
    "eos_token": "eos",
    "end_turn": "eos",
    "tool_calls": "eos",
    "function_call": "eos",
    "stop_sequence": "stop",
    "stop_string": "stop",
    "word": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_new_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "limit": "length",
}
# vLLM and OpenAI, SGLang, llama.cpp, TGI, FastChat and LMDeploy, in this order.
_TOO_LONG = re.compile(
    r"context[_ ]length[_ ]exceeded|maximum context length|longer than the model's context length"
    r"|exceeds? the model's (maximum )?context|exceed_context_size|exceeds the available context size"
    r"|`inputs` must have less than|`inputs` tokens \+ `max_new_tokens` must be|\b40303\b"
    r"|(prompt|input)s?( length| tokens)? (is |are )?(too long|exceeds? the (maximum|context))|context window",
    re.IGNORECASE,
)
_NOT_YET = frozenset({"", "null", "none"})


def is_end(word: str | None) -> bool:
    """Whether a server's word says that the reply ended: some send an empty one with every piece."""
    return word is not None and word.strip().lower() not in _NOT_YET


def end_of(word: str) -> FinishReason:
    """The reason that a server's word stands for.

    Raises:
        RemoteError: it stands for none, such as ``content_filter`` or ``abort``: the reply is not whole.
    """
    reason = _WORDS.get(word.strip().lower())
    if reason is None:
        raise RemoteError(f"the server ended the reply with {word!r}: it is not whole")
    return reason


def failure_of(value: dict[str, Any]) -> EngineError | None:
    """The error that a chunk tells of, if it does: each server has its own field for it."""
    told = value.get("error") or value.get("errors")
    if told:
        return failure(f"the server failed: {_words(told)}", shown(value))
    code = value.get("error_code")
    if code not in (None, 0) or value.get("object") == "error" or value.get("type") == "error":
        return failure(f"the server failed: {_words(value)}", shown(value))
    if not {"choices", "content", "done"} & set(value) and (value.get("detail") or value.get("message")):
        return failure(f"the server failed: {_words(value)}", shown(value))
    return None


def failure(message: str, words: str) -> EngineError:
    """The typed error for a server's words."""
    if _TOO_LONG.search(words):
        return ContextLengthError(
            f"{message} (the prompt leaves no room in the server's context: shorten it, or let "
            "stream(..., overflow='drop_turns') leave out the oldest turns)"
        )
    return RemoteError(message)


def _words(told: Any) -> str:
    """The message of an error object, with its type or code where there is one."""
    if not isinstance(told, dict):
        return str(told)[:500]
    words = next((str(told[name]) for name in ("message", "detail", "text", "error") if told.get(name)), "")
    more = ", ".join(str(told[name]) for name in ("type", "error_type", "code", "error_code") if told.get(name))
    return (f"{words} ({more})" if words and more else words or shown(told))[:500]
