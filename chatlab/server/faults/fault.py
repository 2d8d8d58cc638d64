"""A fault as a value: what it changes, layer by layer, between what a client asks and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chatlab.engines.sampling import SamplingParams
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.filling import add_message
from chatlab.prompts.messages import messages_of
from chatlab.streaming.result import Delta
from chatlab.tokenizers.interface import Tokenizer

Message = dict[str, Any]
Messages = list[Message]
Ids = tuple[int, ...]


def honest(value: Any, *_: Any) -> Any:
    """Change nothing."""
    return value


class Retelling(Protocol):
    """What tells a reply in other words: fed its deltas in order, it gives those to tell instead."""

    def put(self, delta: Delta) -> Delta:
        """The delta to tell."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that a server does to a request or its answer without being asked, and nothing else.

    **Law.** Every layer is a pure function, the identity unless the fault is there, and what it changes is read, counted
    and told as changed: a server with a fault is consistent, as a misconfigured one is. It does not lie.
    """

    name: str
    does: str
    """What such a server does, in one sentence."""
    messages: Callable[[Messages], Messages] = honest
    """Of the messages, before they are rendered."""
    prompt: Callable[[AbstractChatPrompt], AbstractChatPrompt] = honest
    """Of the prompt: its template, tools and variables; the one given is left as it is."""
    tokenizer: Callable[[Tokenizer], Tokenizer] = honest
    ids: Callable[[Ids, Tokenizer], Ids] = honest
    """Of the ids that a text or messages became; ids that a client sent are left alone."""
    params: Callable[[SamplingParams], SamplingParams] = honest
    options: Callable[[Mapping[str, Any]], Mapping[str, Any]] = honest
    """Of the other options of :func:`chatlab.streaming.stream.stream`."""
    retelling: Callable[[], Retelling] | None = None
    """Of the deltas of a reply."""
    kept_len: Callable[[int], int] = honest
    """Of the number of ids that were kept from before."""

    def asked(self, prompt: AbstractChatPrompt) -> AbstractChatPrompt:
        """The prompt that is read instead of ``prompt``, which stays as it is."""
        return self.prompt(with_messages(prompt, self.messages))


def with_messages(prompt: AbstractChatPrompt, edit: Callable[[Messages], Messages]) -> AbstractChatPrompt:
    """A copy of a prompt whose messages are edited; the prompt itself where nothing changes."""
    before = messages_of(prompt)
    after = edit(before)
    if repr(after) == repr(before):  # equal objects may have their keys in another order, and templates write that
        return prompt
    history = prompt.get_history()
    twin = prompt.copy()
    twin.clear_history()
    twin.set_system_prompt(None)
    for number, message in enumerate(after, 1):
        add_message(twin, number, message)
    if history and history[-1].is_open_reply():
        twin.add_responder_msg(None)
    return twin
