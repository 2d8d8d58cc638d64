"""A serving with a fault: what it reads, counts and tells is all of one piece, and one thing of it is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from chatlab.engines.engine import Engine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import RequestError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.server.faults.fault import Fault
from chatlab.server.faults.shown import read_ids, shows_on
from chatlab.server.serving import Answer, Serving
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.open_reply import OpenReply
from chatlab.streaming.request import Request
from chatlab.streaming.result import Delta
from chatlab.streaming.stream import AsyncTextStream
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer


class DishonestServing(Serving):
    """A :class:`Serving` that has one :class:`Fault`.

    Raises:
        RequestError: the fault would change nothing with this model, so that the server were an honest one.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None, *, fault: Fault, **options: Any) -> None:
        """Take what :class:`Serving` takes, and a fault."""
        honest_tokenizer = as_tokenizer(engine.tokenizer if tokenizer is None else tokenizer)
        if not shows_on(fault, honest_tokenizer):
            raise RequestError(
                f"the fault {fault.name} changes nothing with {honest_tokenizer.name}, whose tokenizer and template have "
                "no such thing: serve another model, or take another fault",
                field="fault",
            )
        super().__init__(engine, fault.tokenizer(honest_tokenizer), **options)
        self.fault, self._honest_tokenizer = fault, honest_tokenizer

    keeps_ids = False  # a server with this fault makes the ids of each prompt itself

    def settle(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        engine: Engine | None = None,
        **options: Any,
    ) -> Request:
        """Settle a request as a server with this fault does; the prompt that was given gets the reply."""
        options = {"engine": engine, **self.fault.options(options)}
        if isinstance(prompt, str):
            return self._changed(super().settle(prompt, params, **options))
        prompt = _in_template(prompt, self.tokenizer)
        if not isinstance(prompt, AbstractChatPrompt):  # ids are what a client made of them
            request = super().settle(prompt, params, **options)
            return replace(request, params=self.fault.params(request.params))
        with OpenReply(prompt) as open_reply:
            asked = self.fault.asked(prompt)
            request = super().settle(prompt.copy() if asked is prompt else asked, params, **options)
            request.open_reply.end()
            return replace(self._changed(request), open_reply=open_reply)

    async def read(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> tuple[int, ...]:
        """The ids of a prompt as an answer would read them, with the fault in them."""
        if isinstance(prompt, AbstractChatPrompt) and not any(c.is_open_reply() for c in prompt.get_history()[-1:]):
            given = {"add_special_tokens": add_special_tokens}
            return await asyncio.to_thread(read_ids, self.fault, prompt, self._honest_tokenizer, **given)
        return await super().read(prompt, add_special_tokens=add_special_tokens)

    def answer_of(self, reply: AsyncTextStream) -> Answer:
        """An answer that is told as a server with this fault tells it."""
        return DishonestAnswer(reply, self.fault)

    def _changed(self, request: Request) -> Request:
        ids = self.fault.ids(request.prompt_ids, request.tokenizer)
        return replace(request, prompt_ids=ids, params=self.fault.params(request.params))


class DishonestAnswer(Answer):
    """An answer under way, told in other words."""

    def __init__(self, reply: AsyncTextStream, fault: Fault) -> None:
        super().__init__(reply)
        self._fault = fault

    @property
    def prefix(self) -> Any:
        """What the server says it kept."""
        told = super().prefix
        return told if told is None else replace(told, kept_len=self._fault.kept_len(told.kept_len))

    @property
    def text(self) -> str:
        """The text so far, as it is told."""
        return super().text if self._fault.retelling is None else super().text.strip()

    def message(self, tools: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The reply so far as a message, as it is told."""
        message = super().message(tools)
        if self._fault.retelling is not None and isinstance(message.get("content"), str):
            message["content"] = message["content"].strip()
        return message

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """The deltas, as they are told."""
        retelling = None if self._fault.retelling is None else self._fault.retelling()
        async for delta in super().__aiter__():
            yield delta if retelling is None else retelling.put(delta)


def _in_template(prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    """Messages behind the tokenizer's chat template; anything else as it is."""
    if (
        isinstance(prompt, AbstractChatPrompt | str | Conversation)
        or not len(prompt)
        or not isinstance(prompt[0], Mapping)
    ):
        return prompt
    return prompt_of_messages(prompt, lambda: ChatTemplatePrompt(tokenizer))  # type: ignore[arg-type]  # messages
