"""One answer under way: from the admission to its end, as choices in the order in which they are said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from chatlab.engines.engine import Scores
from chatlab.errors import ContextLengthError
from chatlab.server.openai.answers import Choice
from chatlab.server.openai.envelope import DONE, Envelope, comment, event, usage
from chatlab.server.openai.errors import error_body
from chatlab.server.openai.requests.asked import Asked
from chatlab.server.refusal import refusal_of
from chatlab.server.serving import Answer, Serving
from chatlab.server.told import where_of
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.channels import Channels
from chatlab.streaming.result import Delta


class Choices(Protocol):
    """What makes choices of deltas."""

    def begin(self) -> Iterator[Choice]:
        """What stands before the reply."""

    def put(self, delta: Delta, matched: int | str | None = None) -> Iterator[Choice]:
        """The choices of a delta."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be answered, and how it is told."""

    prompt: Prompt
    asked: Asked
    options: dict[str, Any]
    """Of the stream."""
    envelope: Envelope
    choices: Callable[[Sequence[int], Channels | None, Scores], Choices]
    """Made of the ids of the prompt, of how the reply is split, and of the scores of the prompt where they are told."""
    in_one: Callable[[list[Choice]], Choice]
    """The choice of a whole answer, out of its pieces."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that changed nothing."""
    echo_only: bool = False
    """Whether the echo of the prompt is all that is asked for, so that nothing is generated."""
    tells_ids: bool = True
    """Whether the engine tells ids, by which a reply is counted."""
    tells_prefix: bool = True
    """Whether to tell what the engine kept of the prompt from before."""
    scored_len: int | None = None
    """How many likeliest tokens to tell with each of the prompt; ``None`` where it is not scored."""


class Piece(NamedTuple):
    """A choice, and how far the answer was with it."""

    choice: Choice
    reply_len: int
    is_first: bool
    begins_reply: bool
    """Whether it is the first that came after the engine had begun."""


@dataclass(kw_only=True)
class Telling:
    """Answer a job.

    **Law L7.** However :meth:`pieces` is left, the request has ended and its slot is free when it is closed. A client that
    reads slowly holds no slot: what is said waits for it here, as many tokens as it asked for at most.
    """

    serving: Serving
    job: Job
    prompt_ids: tuple[int, ...] = ()
    prefix: Any = None
    """What the engine kept of the prompt from before, where it tells."""
    reply_len: int = 0
    _begun: bool = False
    _replying: bool = False
    _said: asyncio.Queue[int | Piece | Exception | None] = field(default_factory=asyncio.Queue)

    async def pieces(self) -> AsyncGenerator[int | Piece]:
        """The places in the queue while it waits, then the choices.

        Raises:
            ChatlabError: what refused the request or broke it off.
        """
        saying = asyncio.create_task(self._say())
        try:
            while (said := await self._said.get()) is not None:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            saying.cancel()
            while not saying.done():
                try:
                    await asyncio.wait({saying})
                except asyncio.CancelledError:  # a second one: the slot is still to be freed
                    continue

    async def _say(self) -> None:
        try:
            await self._answer()
        except Exception as error:
            self._said.put_nowait(error)
        finally:
            self._said.put_nowait(None)

    async def _answer(self) -> None:
        job = self.job
        if job.echo_only:
            await self._echo()
            return
        entering = self.serving.answer(job.prompt, job.asked.params, on_place=self._said.put_nowait, **job.options)
        async with entering as answer:
            self._check_room(answer)
            choices = await self._begin(answer.prompt_ids, answer.channels)
            async for delta in answer:
                self.prefix = answer.prefix
                self.reply_len += len(delta.token_ids)
                for choice in choices.put(delta, answer.stopped_at):
                    self._tell(choice, of_reply=True)

    async def _echo(self) -> None:
        """Tell the prompt, and that no token more was asked for."""
        special = self.job.options.get("add_special_tokens")
        prompt_ids = await self.serving.read(self.job.prompt, add_special_tokens=special)
        async with self.serving.admission.enter(on_place=self._said.put_nowait):
            choices = await self._begin(prompt_ids, None)
        for choice in choices.put(Delta(text="", raw="", text_start=0, text_end=0, finish_reason="length", timing=0.0)):
            self._tell(choice, of_reply=True)

    async def _begin(self, prompt_ids: Sequence[int], channels: Channels | None) -> Choices:
        self.prompt_ids = tuple(prompt_ids)
        scored_len = self.job.scored_len
        scores = () if scored_len is None else await self.serving.score(self.prompt_ids, scored_len)
        choices = self.job.choices(self.prompt_ids, channels, scores)
        for choice in choices.begin():
            self._tell(choice)
        return choices

    def _tell(self, choice: Choice, *, of_reply: bool = False) -> None:
        begins_reply = of_reply and not self._replying
        self._said.put_nowait(Piece(choice, self.reply_len, not self._begun, begins_reply))
        self._begun, self._replying = True, of_reply

    def _check_room(self, answer: Answer) -> None:
        """Refuse an answer that would be cut by the context before it has the tokens that were asked for."""
        wanted, prompt_len = self.job.asked.max_tokens, len(answer.prompt_ids)
        context_len = answer.params.context_len
        if wanted is not None and prompt_len + wanted > context_len:
            raise ContextLengthError(
                f"the prompt has {prompt_len} tokens and max_tokens is {wanted}, together more than the context's "
                f"{context_len}: ask for less, or leave max_tokens out"
            )


async def sse_of(telling: Telling) -> AsyncGenerator[bytes]:
    """An answer as server-sent events; what goes wrong before the first is raised, later it is the last event."""
    job, begun = telling.job, False
    try:
        async with aclosing(telling.pieces()) as pieces:
            async for piece in pieces:
                yield comment(f"place {piece} in the queue") if isinstance(piece, int) else _event(telling, piece)
                begun = True
        if job.asked.include_usage:
            yield event(job.envelope.chunk(None, usage=_usage(telling, telling.reply_len)))
        yield DONE
    except Exception as error:
        if not begun:
            raise
        telling.serving.logger.warning("an answer broke off: %s", where_of(error))
        yield event(error_body(refusal_of(error)))


async def whole_of(telling: Telling) -> dict[str, Any]:
    """An answer in one piece."""
    job = telling.job
    async with aclosing(telling.pieces()) as pieces:
        choices = [piece.choice async for piece in pieces if not isinstance(piece, int)]
    choice, beside = with_prompt_ids(job, telling.prompt_ids, job.in_one(choices))
    if job.asked.return_prefix:
        beside["prefix"] = _prefix(telling)
    return job.envelope.whole(choice, usage=_usage(telling, telling.reply_len), **beside)


def with_prompt_ids(job: Job, prompt_ids: tuple[int, ...], choice: Choice) -> tuple[Choice, dict[str, Any]]:
    """A choice and what stands beside it, with the ids of the prompt where vLLM puts them."""
    if not job.asked.return_token_ids:
        return choice, {}
    told = {"prompt_token_ids": list(prompt_ids)}
    return ({**choice, **told}, {}) if job.envelope.kind == "text_completion" else (choice, told)


def _event(telling: Telling, piece: Piece) -> bytes:
    asked, (choice, beside) = telling.job.asked, (piece.choice, dict[str, Any]())
    if piece.is_first:
        choice, beside = with_prompt_ids(telling.job, telling.prompt_ids, choice)
    if piece.begins_reply and asked.return_prefix:
        beside["prefix"] = _prefix(telling)
    if asked.continuous_usage or asked.include_usage:
        beside["usage"] = _usage(telling, piece.reply_len) if asked.continuous_usage else None
    return event(telling.job.envelope.chunk(choice, **beside))


def _usage(telling: Telling, reply_len: int) -> dict[str, Any]:
    prefix = telling.prefix if telling.job.tells_prefix else None
    counted_len = reply_len if telling.job.tells_ids else None
    return usage(len(telling.prompt_ids), counted_len, None if prefix is None else prefix.kept_len)


def _prefix(telling: Telling) -> dict[str, int] | None:
    prefix = telling.prefix
    return None if prefix is None else {"kept_len": prefix.kept_len, "lost_len": prefix.lost_len}
