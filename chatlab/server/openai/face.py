"""What the OpenAI face makes of each body: a job to answer, or a question about ids that is answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from chatlab.engines.engine import Scores
from chatlab.errors import RequestError
from chatlab.server.openai.answers import ChatChoices, CompletionChoices, whole_chat, whole_completion
from chatlab.server.openai.dialogue import PromptClass, prompt_of
from chatlab.server.openai.envelope import Envelope
from chatlab.server.openai.requests.asked import Asked
from chatlab.server.openai.requests.body import shown
from chatlab.server.openai.requests.chat import read_chat
from chatlab.server.openai.requests.completion import CompletionRequest, read_completion
from chatlab.server.openai.requests.tokens import TokenizeRequest, read_detokenize, read_tokenize, tokenize_answer
from chatlab.server.openai.scores import prompt_scores
from chatlab.server.openai.telling import Job
from chatlab.server.openai.token_names import TokenNames
from chatlab.server.openai.tool_calls import ChatDeltas
from chatlab.server.serving import Serving
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.channels import Channels

UNBOUNDED_LEN = 2**20
"""Tokens of prompt and answer together where the engine names no bound."""


class Face:
    """One model under its name."""

    def __init__(
        self, serving: Serving, model: str, prompt_class: PromptClass | None = None, *, tell_prefix: bool = True
    ) -> None:
        self.model = model
        self._tell_prefix = tell_prefix
        self._serving = serving
        self._prompt_class = prompt_class

    @cached_property
    def _names(self) -> TokenNames:
        return TokenNames(self._serving.tokenizer)

    @property
    def context_len(self) -> int | None:
        """Tokens of prompt and answer together, where the engine has a bound."""
        length: int | None = getattr(self._serving.engine, "context_len", None)
        return length

    @property
    def _bounds(self) -> dict[str, Any]:
        context_len = self.context_len or UNBOUNDED_LEN
        return {"context_len": context_len, "most_tokens": self._serving.limits.max_new_tokens}

    @property
    def _tells_ids(self) -> bool:
        """Whether the engine tells the ids of a reply: another server's may come as text."""
        return bool(getattr(getattr(self._serving.engine, "capabilities", None), "ids_out", True))

    @property
    def _told(self) -> dict[str, Any]:
        return {"tells_ids": self._tells_ids, "tells_prefix": self._tell_prefix}

    def _checked(self, asked: Asked) -> None:
        self.check_model(asked.model)
        if asked.return_token_ids and not self._tells_ids:
            message = "return_token_ids: the engine behind this server tells no ids"
            raise RequestError(message, field="return_token_ids", code="unsupported")
        if asked.return_prefix and not self._tell_prefix:
            message = "return_prefix: this server does not tell what it kept, which others' prompts could be guessed by"
            raise RequestError(message, field="return_prefix", code="unsupported")

    def check_model(self, name: str | None) -> None:
        """Refuse another model's name.

        Raises:
            RequestError: 404, also where the server has no model at all.
        """
        if self._serving.tokenizer is None:
            raise RequestError("this server has no model", field="model", status=404, code="no_model")
        if name not in (None, "", self.model):
            message = f"there is no model {shown(name)} here: ask for {self.model!r}, or leave the name out"
            raise RequestError(message, field="model", status=404, code="model_not_found")

    def chat(self, data: Mapping[str, Any]) -> Job:
        """Read the body of a chat.

        Raises:
            ChatlabError: it is none that can be answered.
        """
        request = read_chat(data, **self._bounds)
        self._checked(request.asked)
        tokenizer = self._serving.tokenizer

        def choices(prompt_ids: Sequence[int], channels: Channels | None, scores: Scores) -> ChatChoices:
            calls = "json" if channels is None else channels.calls
            deltas = ChatDeltas(request.tools, calls, called_len=request.called_len)
            return ChatChoices(request.asked, self._names, deltas)

        return Job(
            prompt=prompt_of(request.messages, request.tools, request.variables, tokenizer, self._prompt_class),
            asked=request.asked,
            options={**request.asked.options, "channels": "auto"},
            envelope=Envelope(model=self.model, kind="chat.completion"),
            choices=choices,
            in_one=whole_chat,
            **self._told,
            ignored=request.ignored,
        )

    def completion(self, data: Mapping[str, Any]) -> Job:
        """Read the body of a completion.

        Raises:
            ChatlabError: it is none that can be answered.
        """
        request = read_completion(data, **self._bounds)
        self._checked(request.asked)
        if request.scored_len is not None and not self._serving.engine.can_score:
            message = "logprobs: this engine does not score prompts, so an echo has none: leave out one of both"
            raise RequestError(message, field="logprobs", code="unsupported")

        def choices(prompt_ids: Sequence[int], channels: Channels | None, scores: Scores) -> CompletionChoices:
            echo = self._echo(request, prompt_ids)
            told = self._scores(request, scores, len(echo)) if scores else None
            return CompletionChoices(request.asked, self._names, echo=echo, scores=told)

        return Job(
            prompt=_as_list(request.prompt),
            asked=request.asked,
            options={**request.asked.options, "add_special_tokens": request.add_special_tokens},
            envelope=Envelope(model=self.model, kind="text_completion"),
            choices=choices,
            in_one=whole_completion,
            **self._told,
            ignored=request.ignored,
            echo_only=request.says_nothing,
            scored_len=request.scored_len,
        )

    def _echo(self, request: CompletionRequest, prompt_ids: Sequence[int]) -> str:
        """The prompt as it was given, or what its ids say."""
        if not request.echo or isinstance(request.prompt, str):
            return str(request.prompt) if request.echo else ""
        skip = request.asked.skip_special_tokens
        return self._serving.tokenizer.decode(list(prompt_ids), skip_special_tokens=skip)

    def _scores(self, request: CompletionRequest, scores: Scores, echo_len: int) -> dict[str, Any]:
        token_ids, skip = [score.token_id for score in scores], request.asked.skip_special_tokens
        skip = skip and not isinstance(request.prompt, str)  # a text is echoed as it is
        offsets = self._names.offsets(token_ids, skip_special_tokens=skip, text_len=echo_len)
        return prompt_scores(scores, self._names, offsets, as_ids=request.asked.tokens_as_ids)

    async def tokenize(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The ids of a text or of messages, as an answer would read them.

        Raises:
            ChatlabError: they cannot be read.
        """
        request = read_tokenize(data)
        self.check_model(request.model)
        token_ids = await self._serving.read(self._prompt(request), add_special_tokens=request.add_special_tokens)
        return tokenize_answer(
            token_ids, self._serving.tokenizer, context_len=self.context_len, with_pieces=request.return_token_strs
        )

    def _prompt(self, request: TokenizeRequest) -> Prompt:
        if request.messages is None:
            return request.prompt or ""
        return prompt_of(
            request.messages,
            request.tools,
            request.variables,
            self._serving.tokenizer,
            self._prompt_class,
            open_reply=request.add_generation_prompt,
        )

    async def detokenize(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The text of ids, special tokens included.

        Raises:
            ChatlabError: an id is outside the vocabulary.
        """
        model, token_ids = read_detokenize(data)
        self.check_model(model)
        decode = self._serving.tokenizer.decode
        return {"prompt": await asyncio.to_thread(decode, list(token_ids), skip_special_tokens=False)}


def _as_list(prompt: str | tuple[int, ...]) -> Prompt:
    return prompt if isinstance(prompt, str) else list(prompt)
