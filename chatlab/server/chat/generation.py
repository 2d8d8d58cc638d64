"""How a session answers: ChatStream's three parameters a user may set, within its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.engines.sampling import SamplingParams
from chatlab.errors import RequestError

PARAMS_KEY = "generation_params"


@dataclass(frozen=True)
class _Bounds:
    field: str
    """Of ``SamplingParams``."""
    least: float
    most: float
    whole: bool = False


BOUNDS = {
    "temperature": _Bounds("temperature", 0, 1),
    "top_k_value": _Bounds("top_k", 1, 500, whole=True),
    "top_p_value": _Bounds("top_p", 0, 1),
}
"""By the name on the wire."""

_LEAST_TOP_P = 1e-9
"""ChatStream takes 0, where the likeliest token is all that is left; our own parameters begin above it."""


def checked_params(data: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request, by their names on the wire; one that is absent stays as it was.

    Raises:
        RequestError: one is unknown, of another type or out of its bounds; it is named.
    """
    if not data:
        raise RequestError(f"name a parameter to set: {', '.join(BOUNDS)}")
    for name, value in data.items():
        bounds = BOUNDS.get(name)
        if bounds is None:
            raise RequestError(f"no parameter is called {name[:80]!r}: there are {', '.join(BOUNDS)}", field=name[:80])
        kinds = (int,) if bounds.whole else (int, float)
        if type(value) not in kinds or not bounds.least <= value <= bounds.most:
            kind = "a whole number" if bounds.whole else "a number"
            raise RequestError(f"{name} must be {kind} from {bounds.least} to {bounds.most}", field=name)
    return dict(data)


def session_params(own: object) -> dict[str, Any]:
    """A session's parameters as fields of ``SamplingParams``; what a program put there that is none is left out."""
    if not isinstance(own, Mapping):
        return {}
    found = {BOUNDS[name].field: value for name, value in own.items() if name in BOUNDS}
    if found.get("top_p") == 0:
        found["top_p"] = _LEAST_TOP_P
    return found


def told_params(params: SamplingParams) -> dict[str, Any]:
    """The parameters by their names on the wire."""
    return {name: getattr(params, bounds.field) for name, bounds in BOUNDS.items()}
