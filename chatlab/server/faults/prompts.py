"""Faults of the template, its switches and its tools; a prompt class without a template has none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatlab.errors import TemplateError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt

OTHER_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + (message['content'] or '') + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""What a server falls back on that did not find the model's own."""

_NO_OPENING = "{%- set add_generation_prompt = false -%}"
_LONGER_OPENING = "{%- if add_generation_prompt %}{{ '\\n' }}{% endif -%}"
_THINKING = (("enable_thinking", False), ("enable_thinking", True), ("thinking", True), ("reasoning_effort", "high"))
"""Switches that templates have, with the value that is not the default of some."""


def template(edit: Callable[[str], str]) -> Callable[[AbstractChatPrompt], AbstractChatPrompt]:
    """An edit of the template's source."""
    return lambda prompt: _changed(prompt, chat_template=lambda twin: edit(twin.chat_template))


def no_opening(source: str) -> str:
    """A template that is never asked to open the reply."""
    return _NO_OPENING + source


def longer_opening(source: str) -> str:
    """A template that opens the reply with a line break more."""
    return source + _LONGER_OPENING


def other_thinking(prompt: AbstractChatPrompt) -> AbstractChatPrompt:
    """A prompt whose template thinks where it would not, or does not where it would; only what the client left open."""
    if not isinstance(prompt, ChatTemplatePrompt):
        return prompt
    before = _rendered(prompt)
    for name, value in _THINKING:
        if name not in prompt.variables:
            twin = prompt.copy()
            twin.variables = {**prompt.variables, name: value}
            if _rendered(twin) != before:
                return twin
    return prompt


def without_tools(prompt: AbstractChatPrompt) -> AbstractChatPrompt:
    """A prompt that offers no tools."""
    return _changed(prompt, tools=lambda twin: None)


def rewritten_tools(prompt: AbstractChatPrompt) -> AbstractChatPrompt:
    """A prompt whose tools are written as the server's own schema has them: sorted, without descriptions."""
    return _changed(prompt, tools=lambda twin: _bare(twin.tools))


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(value[key]) for key in sorted(value) if key != "description"}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _rendered(prompt: AbstractChatPrompt) -> str:
    try:
        return prompt.create_prompt()
    except TemplateError:
        return ""


def _changed(prompt: AbstractChatPrompt, **changes: Callable[[ChatTemplatePrompt], Any]) -> AbstractChatPrompt:
    if not isinstance(prompt, ChatTemplatePrompt):
        return prompt
    twin = prompt.copy()
    for name, change in changes.items():
        setattr(twin, name, change(prompt))
    return twin
