"""From a request's messages to a prompt object: the chat template of the tokenizer, or a prompt class that was given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from chatlab.errors import RequestError, TemplateError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.filling import new_prompt, offer
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.sandbox import render
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
    takes = taken_by(getattr(prompt, "chat_template", ""))
    told = messages if takes.text_arguments else _with_objects(messages)
    told = [_in_parts(message) for message in told] if takes.parts else told
    return prompt_of_messages(told, lambda: prompt, open_reply=open_reply)


_WORD = "zyx7"


class Taken(NamedTuple):
    """In which form a template takes what a message can say in two."""

    parts: bool
    """Contents as lists of parts, never as text."""
    text_arguments: bool
    """The arguments of calls as the model wrote them."""


@lru_cache(maxsize=64)
def taken_by(template: str) -> Taken:
    """What a template takes, by trying: the templates of some models fail on the form that those of others need, or pass it over.

    >>> taken_by("{% for m in messages %}{{ m.content[0].text }}{% endfor %}").parts
    True
    """
    asked: dict[str, Any] = {"role": "user", "content": _WORD}
    parts = not _tells(template, [asked]) and _tells(template, [_in_parts(asked)])
    as_object, as_text = (
        [{"role": "user", "content": ""}, _call(form)] for form in ({"a": _WORD}, f'{{"a": "{_WORD}"}}')
    )
    asks = bool(_ASKS_FOR_TEXT.search(template))
    return Taken(parts, asks or (not _tells(template, as_object) and _tells(template, as_text)))


def _tells(template: str, messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a template takes messages, and passes nothing of them over."""
    special = {"bos_token": "", "eos_token": ""}
    variables = {**special, "messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return _WORD in render(template, variables)
    except TemplateError:
        return False


def _call(arguments: object) -> dict[str, Any]:
    call = {"id": "abcdefgh0", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _in_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


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
