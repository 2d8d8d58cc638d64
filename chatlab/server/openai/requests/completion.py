"""The body of ``/v1/completions``, as a checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chatlab.server.openai.requests.asked import HARMLESS, MAX_TOP_LOGPROBS, Asked, read_asked
from chatlab.server.openai.requests.body import Body

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A text or ids to go on from."""

    prompt: str | tuple[int, ...]
    add_special_tokens: bool | None
    """``None`` adds them unless the text begins with one."""
    echo: bool
    """Say the prompt again, before the answer."""
    asked: Asked
    ignored: tuple[str, ...] = ()
    """Fields that were there and change nothing."""

    @property
    def says_nothing(self) -> bool:
        """Whether the prompt's echo is all that is asked for."""
        return self.asked.max_tokens == 0

    @property
    def scored_len(self) -> int | None:
        """How many likeliest tokens to tell with each of an echo that is scored; ``None`` where none is."""
        return self.asked.params.logprobs if self.echo else None


def read_completion(data: Mapping[str, Any], *, context_len: int, most_tokens: int | None = None) -> CompletionRequest:
    """Read the body.

    Args:
        data: the body.
        context_len: tokens of prompt and answer together.
        most_tokens: how long an answer may be where the request does not say; ``None`` for as long as fits.

    >>> read_completion({"prompt": "Hi", "temperature": 0, "user": "me"}, context_len=64).ignored
    ('user',)

    Raises:
        RequestError: a field is of another kind, out of bounds, unknown, or asks for what is not done here.
    """
    body = Body(data)
    body.only({"suffix": [""]}, "an answer is not fitted in between")
    logprobs = body.count("logprobs", at_most=MAX_TOP_LOGPROBS)
    prompt, echo = _prompt(body), body.flag("echo")
    request = CompletionRequest(
        prompt=prompt,
        echo=echo,
        add_special_tokens=_optional_flag(body, "add_special_tokens"),
        asked=read_asked(
            body,
            default_max_tokens=min(DEFAULT_MAX_TOKENS, most_tokens or context_len),
            logprobs=logprobs,
            context_len=context_len,
            least_max_tokens=0 if echo else 1,
        ),
    )
    return replace(request, ignored=body.close(HARMLESS))


def _optional_flag(body: Body, name: str) -> bool | None:
    value = body.take(name)
    if value is not None and not isinstance(value, bool):
        raise body.wrong(name, "true or false", value)
    return value


def _prompt(body: Body) -> str | tuple[int, ...]:
    """A text or ids; also as a list of one."""
    value = body.take("prompt")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    elif isinstance(value, list) and value and isinstance(value[0], str | list):
        raise body.refused(
            "prompt", f"{len(value)} prompts are given, and one is answered at a time: ask once for each"
        )
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(item) is int and 0 <= item < 2**31 for item in value):
        return tuple(value)
    raise body.wrong("prompt", "a string or a list of token ids, one at least", value)
