"""Whether a fault can be seen on a model at all: a template without tools has none to drop."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from chatlab.errors import ChatlabError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.server.faults.fault import Fault, Ids, honest
from chatlab.streaming.asked_prompt import ids_of_prompt
from chatlab.tokenizers.interface import Tokenizer


@dataclass(frozen=True)
class _Sample:
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None


_TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look for a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string", "description": "which"}}},
    },
}
_CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "look", "arguments": {"word": "a", "at": 1}}}
_ASKED = {"role": "user", "content": " In 2024, 1234567 people asked:  who?</s><|im_end|>\n"}
_SAMPLES = (
    _Sample([_ASKED]),
    _Sample([{"role": "system", "content": "Be brief. "}, _ASKED]),
    _Sample([_ASKED, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nI."}, _ASKED]),
    _Sample([_ASKED, {"role": "assistant", "content": "I.", "reasoning_content": "Hm."}, _ASKED]),
    _Sample(
        [
            _ASKED,
            {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "abcdefghi", "name": "look", "content": "here"},
        ],
        [_TOOL],
    ),
    _Sample([{"role": "user", "content": "one two three four five " * 40}]),
)
"""Conversations in which every fault of reading shows, where a model has the thing at all."""


def shows_on(fault: Fault, tokenizer: Tokenizer) -> bool:
    """Whether a fault changes anything of what a model with this tokenizer reads; faults of sampling and telling always do."""
    reads = (fault.messages, fault.prompt, fault.tokenizer, fault.ids)
    if all(layer is honest for layer in reads) and "allow_control_tokens" not in fault.options({}):
        return True
    for sample in _SAMPLES:
        with suppress(ChatlabError):  # a template may refuse a role or a tool
            prompt = prompt_of_messages(sample.messages, partial(ChatTemplatePrompt, tokenizer, tools=sample.tools))
            if read_ids(fault, prompt, tokenizer) != tuple(ids_of_prompt(prompt, tokenizer, warn=False)):
                return True
    return False


def read_ids(
    fault: Fault, prompt: AbstractChatPrompt, tokenizer: Tokenizer, *, add_special_tokens: bool | None = None
) -> Ids:
    """The ids that a server with this fault reads of a prompt."""
    changed = fault.tokenizer(tokenizer)
    ids = ids_of_prompt(
        fault.asked(prompt),
        changed,
        add_special_tokens=add_special_tokens,
        allow_control_tokens=bool(fault.options({}).get("allow_control_tokens")),
        warn=False,
    )
    return fault.ids(tuple(ids), changed)
