"""One answer of an engine to one request, let in by the admission: the one way in which every face answers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from chatlab.engines.engine import Engine, FinishReason, Scores, check_prompt
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatlabError, EngineError, RemoteLacks, RequestError, ServerClosing
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.server.admission import Admission, OnPlace, Ticket
from chatlab.server.limits import Limits
from chatlab.streaming.asked_prompt import AskedPrompt, Prompt
from chatlab.streaming.channel_formats.registry import Asked
from chatlab.streaming.channels import Channels
from chatlab.streaming.request import Request, build_request
from chatlab.streaming.result import Delta
from chatlab.streaming.stream import AsyncTextStream
from chatlab.tokenizers.load import as_tokenizer

T = TypeVar("T")

LOGGER = "chatlab.server"

MakePrompt = Callable[[], Prompt | Awaitable[Prompt]]


class Answer:
    """A reply under way: ``async for delta in answer``; the last delta has a ``finish_reason``, an error comes after it."""

    def __init__(self, reply: AsyncTextStream) -> None:
        self._reply = reply
        self._finish_reason: FinishReason | None = None
        self._closing: ServerClosing | None = None

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """What the model read."""
        return self._reply.request.prompt_ids

    @property
    def dropped_turns(self) -> int:
        """Turns left out of the prompt to fit the context."""
        return self._reply.request.dropped_turns

    @property
    def params(self) -> SamplingParams:
        """How the ids are chosen, stops of the prompt included."""
        return self._reply.request.params

    @property
    def seed(self) -> int | None:
        """Repeats the answer when given again."""
        return self._reply.events.seed

    @property
    def prefix(self) -> Any:
        """What the engine kept of the prompt from before (``kept_len``, ``lost_len``); ``None`` where it does not tell."""
        return getattr(self._reply.events, "prefix", None)

    @property
    def text(self) -> str:
        """The shown text so far."""
        return self._reply.text

    @property
    def raw_text(self) -> str:
        """The model's own text so far."""
        return self._reply.raw_text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The ids so far."""
        return self._reply.token_ids

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended; ``None`` before."""
        return self._finish_reason or ("cancelled" if self._reply.ended else None)

    @property
    def channels(self) -> Channels | None:
        """How it is split into channels; ``None`` where it is not."""
        return self._reply.channels

    @property
    def stopped_at(self) -> int | str | None:
        """The stop string or stop id that ended it; ``None`` before, and where something else did."""
        if self.finish_reason != "stop":
            return None
        last = self.token_ids[-1] if self.token_ids else None
        return self._reply.stop_str or (last if last in self.params.stop_ids else None)

    def message(self, tools: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The reply so far as a message of OpenAI's interface."""
        return self._reply.message(tools)

    def stop(self) -> None:
        """End the generation; the reader gets what is held and the reason ``cancelled``."""
        self._reply.stop()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """The deltas.

        Raises:
            GenerationError: the model or the decoder raised.
            ServerClosing: the server shut down before it was whole.
        """
        while (delta := await anext(self._reply, None)) is not None:
            self._finish_reason = delta.finish_reason
            yield delta
        if self._closing is not None and self.finish_reason == "cancelled":
            raise self._closing

    def _end_for_closing(self) -> None:
        self._closing = ServerClosing("the server shut down before the answer was whole")
        self.stop()


class Serving:
    """An engine behind an admission.

    **Law L7.** Every accepted request ends once; leaving the block of :meth:`answer` by any way (its end, an error, a
    cancelled task, a client that goes) cancels the engine within one step and frees the slot exactly once.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any = None,
        *,
        admission: Admission | None = None,
        limits: Limits | None = None,
        logger: logging.Logger | None = None,
        engine_for: Callable[[Prompt], Engine] | None = None,
        log_content: bool = False,
    ) -> None:
        """Put an engine behind an admission.

        Args:
            engine: what continues ids.
            tokenizer: instead of the engine's own.
            admission: how many may run and wait; 2 and 5 when left out.
            limits: what one request may take.
            logger: ``logging.getLogger("chatlab.server")`` when left out. No text of a message is logged
                unless ``log_content``.
            engine_for: an engine for one prompt alone, such as an echo's.
            log_content: whether faces may log what is said.
        """
        self.engine = engine
        self.tokenizer = engine.tokenizer if tokenizer is None else as_tokenizer(tokenizer)
        self.admission = admission or Admission()
        self.limits = limits or Limits()
        self.logger = logger or logging.getLogger(LOGGER)
        self.log_content = log_content
        self._engine_for = engine_for
        self._answers: set[Answer] = set()
        self._ending = False

    @property
    def keeps_ids(self) -> bool:
        """Whether a conversation may be kept in the ids that were read and said."""
        return self._engine_for is None and self.engine.tells_ids and not self.engine.reads_text

    @asynccontextmanager
    async def answer(
        self,
        prompt: Prompt | MakePrompt,
        params: SamplingParams | None = None,
        *,
        channels: Asked | None = None,
        key: Hashable | None = None,
        on_place: OnPlace | None = None,
        ticket: Ticket | None = None,
        keep_key: bool = False,
        seed: int | None = None,
        **stream_options: Any,
    ) -> AsyncIterator[Answer]:
        """Answer a prompt inside the block.

        Args:
            prompt: as :func:`chatlab.streaming.stream.stream` takes it; or a function (a coroutine's, too) that gives one,
                asked once the slot is there, for a session whose history the turn before may still change.
            params: how; single fields may also be given by name.
            channels: how the reply is split.
            key: one running turn for each, such as a session.
            on_place: told the place in the queue, at first and whenever it changes.
            ticket: of ``admission.ask``, where a face had to know at once whether the request is let in.
            keep_key: free the slot alone at the end: whoever gave the ticket leaves with it once the history is kept.
            seed: stands in for ``params.seed``.
            stream_options: the other options of ``stream``.

        Raises:
            TooManyRequests: as many run and wait as may.
            SessionBusy: another request of this key is under way.
            ServerClosing: the server shuts down.
            RequestError: more tokens are asked for than the limits allow.
            ChatlabError: what ``stream`` raises.
        """
        ticket = self.admission.ask(key) if ticket is None else ticket
        options = {"channels": channels, **({} if seed is None else {"seed": seed}), **stream_options}
        try:
            # What is wrong with a prompt that is there is told before its turn comes.
            built = None if callable(prompt) else await self._build(prompt, params, options)
            try:
                await ticket.wait(on_place)
            except BaseException:
                if built is not None:
                    built[0].open_reply.withdraw()
                raise
            request, engine = built or await self._build(await _asked(prompt), params, options)
            reply = await _in_thread(lambda: _submitted(engine, request), _close)
            answer = self.answer_of(reply)
            self._answers.add(answer)
            if self._ending:
                answer._end_for_closing()
            try:
                yield answer
            finally:
                self._answers.discard(answer)
                await reply.aclose()
        finally:
            ticket.rest() if keep_key else ticket.leave()

    def settle(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        engine: Engine | None = None,
        **stream_options: Any,
    ) -> Request:
        """Settle what is read and how it goes on: the one place where a prompt becomes ids, whoever asked.

        Raises:
            ChatlabError: what :func:`chatlab.streaming.stream.stream` raises.
        """
        engine = engine or self.engine
        tokenizer = self.tokenizer if engine is self.engine else engine.tokenizer
        return build_request(prompt, engine, params, tokenizer=tokenizer, **stream_options)

    def answer_of(self, reply: AsyncTextStream) -> Answer:
        """The answer that a reply under way is told as."""
        return Answer(reply)

    async def read(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> tuple[int, ...]:
        """The ids of a prompt as an answer would read them; nothing is answered, and no slot is taken.

        A dialogue that does not end in an open reply is read up to its last message.
        """
        options: dict[str, Any] = {"add_special_tokens": add_special_tokens, "warn": False}
        if isinstance(prompt, AbstractChatPrompt) and not any(c.is_open_reply() for c in prompt.get_history()[-1:]):
            asked = AskedPrompt.ask(prompt, self.tokenizer)
            return tuple(await asyncio.to_thread(lambda: asked.token_ids(**options)))
        request = await _in_thread(lambda: self.settle(prompt, **options), _withdraw)
        request.open_reply.withdraw()
        return request.prompt_ids

    async def score(self, token_ids: Sequence[int], top_len: int) -> Scores:
        """How likely the engine finds ids, read in a thread; a cancel ends it within one step.

        Raises:
            EngineError: the engine does not score ids.
        """
        cancelled = threading.Event()
        scoring = asyncio.ensure_future(
            asyncio.to_thread(self.engine.score, token_ids, top_len=top_len, cancelled=cancelled.is_set)
        )
        try:
            return await asyncio.shield(scoring) or ()
        except asyncio.CancelledError:
            cancelled.set()
            with suppress(ChatlabError):
                await scoring
            raise

    async def close(self, grace_s: float = 0.0) -> bool:
        """Take no more requests, give those that run so much time, end the rest; tell whether none had to be ended."""
        if await self.admission.close(grace_s):
            return True
        self._ending = True
        for answer in list(self._answers):
            answer._end_for_closing()
        await self.admission.close(1.0)
        return False

    async def _build(
        self, prompt: Prompt, params: SamplingParams | None, options: Mapping[str, Any]
    ) -> tuple[Request, Engine]:
        """Encode in a thread, so that a long prompt holds up nobody else."""
        engine = self.engine if self._engine_for is None else self._engine_for(prompt)
        settle = {"engine": engine, "warn": False, **options}
        request = await _in_thread(lambda: self.settle(prompt, params, **settle), _withdraw)
        try:
            self._check(request, engine)
        except BaseException:
            request.open_reply.withdraw()
            raise
        return request, engine

    def _check(self, request: Request, engine: Engine) -> None:
        """What the engine would refuse, and what the limits do."""
        cap, asked_len = self.limits.max_new_tokens, request.params.max_new_tokens
        if cap is not None and asked_len > cap:
            raise RequestError(f"this server writes {cap} tokens at most, not {asked_len}", field="max_new_tokens")
        context_len = request.params.context_len
        context_len = min(context_len, getattr(engine, "context_len", None) or context_len)
        check_prompt(request.prompt_ids, vocab_len=getattr(engine, "vocab_len", None), context_len=context_len)


def _submitted(engine: Engine, request: Request) -> AsyncTextStream:
    """The reply that an engine begins; what it has no way to do is the request's fault.

    Raises:
        RequestError: the engine cannot do what is asked for, such as a seed or log probabilities.
    """
    try:
        return AsyncTextStream(engine, request, None)
    except RemoteLacks as error:  # its message tells where the other server is
        raise RequestError(
            "the engine behind this server cannot do all that is asked for", code="unsupported"
        ) from error
    except EngineError as error:
        if type(error) is EngineError:
            raise RequestError(str(error), code="unsupported") from error
        raise


async def _asked(prompt: Prompt | MakePrompt) -> Prompt:
    made = prompt() if callable(prompt) else prompt
    return await made if isinstance(made, Awaitable) else made


async def _in_thread(work: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Do work in a thread; a cancel waits for its end and takes back what it did."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        with suppress(ChatlabError):
            undo(await working)
        raise


def _withdraw(request: Request) -> None:
    request.open_reply.withdraw()


def _close(reply: AsyncTextStream) -> None:
    reply.cut()
