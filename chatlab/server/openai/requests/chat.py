"""The body of ``/v1/chat/completions``, as a checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chatlab.server.openai.requests.asked import HARMLESS, MAX_TOP_LOGPROBS, Asked, read_asked
from chatlab.server.openai.requests.body import Body
from chatlab.server.openai.requests.messages import read_messages, read_tools, read_variables


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """Messages to answer."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    variables: dict[str, Any] = field(default_factory=dict)
    """What is told to the chat template beside them."""
    asked: Asked
    ignored: tuple[str, ...] = ()
    """Fields that were there and change nothing."""

    @property
    def called_len(self) -> int:
        """How many tool calls the messages hold, so that the ids of new ones differ from theirs."""
        return sum(len(message.get("tool_calls", ())) for message in self.messages)


def read_chat(data: Mapping[str, Any], *, context_len: int, most_tokens: int | None = None) -> ChatRequest:
    """Read the body.

    Args:
        data: the body.
        context_len: tokens of prompt and answer together.
        most_tokens: how long an answer may be where the request does not say; ``None`` for as long as fits.

    >>> read_chat({"messages": [{"role": "user", "content": "Hi"}]}, context_len=64).messages
    [{'role': 'user', 'content': 'Hi'}]

    Raises:
        RequestError: a field is of another kind, out of bounds, unknown, or asks for what is not done here.
    """
    body = Body(data)
    body.only(
        {"modalities": [["text"]], "audio": [], "prediction": [], "web_search_options": []}, "text is all there is"
    )
    body.only({"echo": [False], "continue_final_message": [False]}, "a chat is answered: use /v1/completions to go on")
    body.only({"add_generation_prompt": [True]}, "a chat is answered")
    body.only({"verbosity": [], "include_reasoning": [True]}, "the model decides")
    body.only({"add_special_tokens": [False]}, "the chat template writes them")
    request = ChatRequest(
        messages=read_messages(body),
        tools=read_tools(body),
        variables=read_variables(body),
        asked=read_asked(
            body, default_max_tokens=most_tokens or context_len, logprobs=_logprobs(body), context_len=context_len
        ),
    )
    return replace(request, ignored=body.close(HARMLESS))


def _logprobs(body: Body) -> int | None:
    wanted, top = body.flag("logprobs"), body.count("top_logprobs", at_most=MAX_TOP_LOGPROBS)
    if top is not None and not wanted:
        raise body.refused("top_logprobs", "set logprobs to true, too")
    return (top or 0) if wanted else None
