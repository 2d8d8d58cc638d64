"""Errors in OpenAI's shape: an object with message, type, param and code."""

from __future__ import annotations

from typing import Any

from chatlab.server.refusal import Refusal

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 409: "conflict_error"}
_TYPES |= {429: "rate_limit_error"}
_FIELDS = {"max_new_tokens": "max_tokens", "stop_ids": "stop_token_ids"}
"""Our own names for what OpenAI's interface calls otherwise."""


def error_body(refusal: Refusal, about: str | None = None) -> dict[str, Any]:
    """The body of a refusal, and of the last event of a stream that broke off.

    Args:
        refusal: what is told.
        about: the field that a wrong request is wrong in, where it names none itself.

    >>> error_body(Refusal(status=400, code="unsupported", message="n: …", field="n"))["error"]["param"]
    'n'
    """
    kind = _TYPES.get(refusal.status, "server_error" if refusal.status >= 500 else "invalid_request_error")
    field = refusal.field or (about if refusal.status == 400 else None)
    field = None if field is None else _FIELDS.get(field, field)
    error = {"message": refusal.message, "type": kind, "param": field, "code": refusal.code}
    return {"error": error if refusal.place is None else {**error, "place": refusal.place}}
