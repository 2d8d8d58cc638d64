"""From a request's messages to a prompt object: the chat template of the tokenizer, or a prompt class that was given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatlab.errors import RequestError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.filling import new_prompt, offer
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.server.openai.requests.messages import check_nesting
from chatlab.tokenizers.interface import Tokenizer

PromptClass = Callable[[], AbstractChatPrompt]

_ASKS_FOR_TEXT = re.compile(r"arguments\s+is\s+(not\s+)?(string|mapping)\b")
"""A template that looks whether arguments are text takes them as the model wrote them."""


def prompt_of(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any],
    tokenizer: Tokenizer,
    prompt_class: PromptClass | None = None,
    *,
    open_reply: bool = True,
) -> AbstractChatPrompt:
    """The prompt that holds a request's messages.

    Args:
        messages: as :func:`chatlab.server.openai.requests.messages.read_messages` gives them.
        tools: those that are offered.
        variables: what the template is told beside them.
        tokenizer: of the model, for its chat template.
        prompt_class: instead of the chat template.
        open_reply: let the prompt end where a reply begins.

    Raises:
        RequestError: the model has no chat template, the last message is the model's own, or the arguments of a call are
            no JSON object.
        PromptError: a message, tool or variable has no place in the prompt.
    """
    if open_reply and messages[-1]["role"] == "assistant":
        message = (
            "the last message is the assistant's: there is nothing to answer, and /v1/completions goes on from a text"
        )
        raise RequestError(message, field=f"messages[{len(messages) - 1}].role")
    prompt = new_prompt(prompt_class or (lambda: ChatTemplatePrompt(_with_template(tokenizer))))
    offer(prompt, tools, variables)
    template = getattr(prompt, "chat_template", "")
    told = messages if _ASKS_FOR_TEXT.search(template) else _with_objects(messages)
    return prompt_of_messages(told, lambda: prompt, open_reply=open_reply)


def _with_template(tokenizer: Tokenizer) -> Any:
    if tokenizer.wrapped is None or not getattr(tokenizer.wrapped, "chat_template", None):
        raise RequestError("this model has no chat template: use /v1/completions", field="messages", code="unsupported")
    return tokenizer.wrapped


def _with_objects(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the arguments of calls as objects, as transformers' templates expect them."""
    return [
        {**message, "tool_calls": [_with_object(call, f"messages[{number}]") for call in message["tool_calls"]]}
        if "tool_calls" in message
        else dict(message)
        for number, message in enumerate(messages)
    ]


def _with_object(call: Mapping[str, Any], place: str) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            message = f"{place}.tool_calls: the chat template takes arguments as a JSON object, and these are none"
            raise RequestError(message, field=f"{place}.tool_calls")
        check_nesting(arguments, f"{place}.tool_calls")
    return {**call, "function": {**call["function"], "arguments": arguments}}
