"""What a client is told of an error: a status, a word, and a message without anything of the server's inside."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from chatlab.errors import (
    ChannelError,
    ChatBusy,
    ChatlabError,
    ContextLengthError,
    EncodeError,
    EngineClosed,
    PromptError,
    RemoteBusy,
    RequestError,
    SamplingError,
    ServerError,
    TokenIdError,
    TooManyRequests,
)

_ASKED_WRONGLY = (PromptError, EncodeError, ContextLengthError, SamplingError, TokenIdError, ChannelError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error as a client sees it, before the answer has begun or as its last event."""

    status: int
    code: str
    message: str
    field: str | None = None
    """What was wrong in the request."""
    place: int | None = None
    """The place in the queue that it would have been given."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def refusal_of(error: BaseException) -> Refusal:
    """How an error is told.

    What the client did is told in full; what went wrong inside is told by its kind alone, because its message may hold a
    path, another's text or a key. It stands in the log.
    """
    if isinstance(error, TooManyRequests):
        headers = {"Retry-After": str(math.ceil(error.retry_after))}
        return Refusal(status=429, code=error.code, message=str(error), place=error.place, headers=headers)
    if isinstance(error, RequestError):
        return Refusal(status=error.status, code=error.code, message=str(error), field=error.field)
    if isinstance(error, ServerError) and (error.status != 500 or error.code != ServerError.code):
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        return Refusal(status=error.status, code=error.code, message=str(error), headers=headers)
    if isinstance(error, ChatBusy):
        return Refusal(status=409, code="session_busy", message=str(error))
    if isinstance(error, _ASKED_WRONGLY):
        code = "context_length_exceeded" if isinstance(error, ContextLengthError) else "invalid_request"
        return Refusal(status=400, code=code, message=str(error))
    if isinstance(error, EngineClosed | RemoteBusy):
        message = "the engine takes no more requests" if isinstance(error, EngineClosed) else "the engine is full"
        return Refusal(status=503, code="engine_unavailable", message=message, headers={"Retry-After": "1"})
    kind = type(error).__name__ if isinstance(error, ChatlabError) else "an error"
    return Refusal(status=500, code="internal_server_error", message=f"the answer failed: {kind}")
