"""One question of one session on its way to its end: it owns the slot, the history and the callback; readers look on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, TypeVar

from chatlab.engines.engine import FinishReason, PrefixUse
from chatlab.errors import ServerClosing
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.server.admission import Ticket
from chatlab.server.refusal import Refusal, refusal_of
from chatlab.server.serving import Answer, Serving
from chatlab.server.told import where_of
from chatlab.streaming.asked_prompt import Prompt
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.conversation.kept import Lost
from chatlab.streaming.result import Delta

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """It waits, and so many are before it, this one counted."""

    place: int


@dataclass(frozen=True, kw_only=True)
class OwnPrefix:
    """What of a session's own ids was not read again."""

    kept_len: int
    lost_len: int
    """The last id of a reply was never read, so 1 is least."""
    cause: str = ""
    """Why more than that was lost: who is to change (template, program or engine), and what."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """It runs: what is known before the first token."""

    message_id: int | str
    prompt_ids: tuple[int, ...]
    dropped_turns: int
    seed: int | None
    prefix: OwnPrefix | None
    """How much of what the session's last call read and said was read no more, where the engine tells."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The answer is whole, or was stopped, and its history is kept."""

    finish_reason: FinishReason
    text: str
    token_len: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The answer was refused or broke off."""

    refusal: Refusal


Event = Place | Begun | Delta | Ended | Failed
MakePrompt = Callable[[], tuple[AbstractChatPrompt, int | str]]
"""The prompt with its reply opened, and the reply's message id."""
Finish = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a turn does beside answering."""

    make: MakePrompt
    """A copy of the history with the question in it: what fails leaves the history as it was."""
    save: Callable[[AbstractChatPrompt], Awaitable[None]]
    """Keep the copy in the history's place."""
    finish: Finish
    """Told once how it ended, in ChatStream's words."""
    conversation: Conversation | None = None
    """What the session's calls read and said so far; without one each prompt is encoded anew."""
    late: bool = False
    """Whether the history is asked for only when the slot is there, because a turn before it may still change it."""


class Turn:
    """A turn under way, in a task of its own.

    **Law L7.** Its events end in exactly one :class:`Ended` or :class:`Failed`, after the slot is free, the history kept and
    the callback called; whoever reads them, at whatever pace or not at all, changes nothing of that.
    """

    def __init__(
        self,
        serving: Serving,
        ticket: Ticket,
        course: Course,
        options: Mapping[str, Any],
    ) -> None:
        """Begin.

        Args:
            serving: what answers.
            ticket: what lets it in; the turn leaves with it.
            course: history and callback.
            options: of :meth:`Serving.answer`.
        """
        self._serving, self._ticket, self._course, self._options = serving, ticket, course, options
        self.events: list[Event] = []
        """What happened so far."""
        self._happened = asyncio.Event()
        self._abandoned = False
        self._made: tuple[AbstractChatPrompt, int | str] | None = None
        self._answer: Answer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name="chatlab-turn")

    @property
    def ended(self) -> bool:
        """Whether the last event is there."""
        return bool(self.events) and isinstance(self.events[-1], Ended | Failed)

    async def batches(self, idle_s: float | None = None) -> AsyncIterator[list[Event]]:
        """The events, as many at a time as there are; an empty list after ``idle_s`` seconds without any."""
        seen = 0
        while True:
            new = self.events[seen:]
            seen += len(new)
            if new:
                yield new
            if seen == len(self.events):
                if self.ended:
                    return
                self._happened.clear()
                try:
                    async with asyncio.timeout(idle_s):  # wait_for of Python 3.11 may lose a cancel
                        await self._happened.wait()
                except TimeoutError:
                    yield []

    async def abandon(self) -> None:
        """The client has gone: end it, keep what came, and return when that is done. After the end it does nothing."""
        self._stop()
        await asyncio.shield(self._task)

    def forget(self) -> None:
        """As :meth:`abandon`, for one who cannot wait."""
        if not self._task.done():
            with suppress(RuntimeError):  # the loop is closed, and so is all that ran in it
                self._task.get_loop().call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._abandoned = True
        if self._reading is not None:
            self._reading.cancel()

    async def _run(self) -> None:
        message, last = await self._ask()
        self._ticket.leave()
        try:
            await through(self._course.finish(message))
        except Exception as error:
            last = self._failed(error, "the callback of a turn")
        self._log(message)
        self._tell(last)

    async def _ask(self) -> tuple[str, Event]:
        """Answer, and keep the history; what the callback is told, and the last event."""
        before, streaming = "client_disconnected_before_streaming", "client_disconnected_while_streaming"
        error: BaseException | None = asyncio.CancelledError()
        if not self._abandoned:
            self._reading = asyncio.create_task(self._read())
            error = await _error_of(self._reading)
        try:
            if error is None or isinstance(error, ServerClosing | asyncio.CancelledError):
                ended = await self._kept()
                if error is None:
                    return "success", ended
        except Exception as raised:
            error = raised
        if isinstance(error, asyncio.CancelledError):
            return before if self._answer is None else streaming, ended
        failed = self._failed(error, "a turn")
        return f"unknown_error_occurred: {failed.refusal.code}", failed

    async def _read(self) -> None:
        """Read the answer to its end, event by event."""
        if not self._course.late:
            self._made = self._course.make()
        prompt = self._make_late if self._made is None else self._kept_on(self._made[0])
        options = dict(self._options, on_place=self._waits)
        async with self._serving.answer(prompt, ticket=self._ticket, keep_key=True, **options) as answer:
            self._answer = answer
            assert self._made is not None
            known = self._known(answer)
            begun = False
            async for delta in answer:
                if not begun:  # not earlier: what an engine kept it says with its first token, and not when it is asked
                    self._tell(self._begun(answer, self._made[1], *known))
                    begun = True
                self._tell(delta)

    def _begun(self, answer: Answer, message_id: int | str, known_ids: Sequence[int], lost: Lost | None) -> Begun:
        return Begun(
            message_id=message_id,
            prompt_ids=answer.prompt_ids,
            dropped_turns=answer.dropped_turns,
            seed=answer.seed,
            prefix=own_prefix(answer.prefix, known_ids, answer.prompt_ids, lost),
        )

    def _make_late(self) -> Prompt:
        self._made = self._course.make()
        return self._kept_on(self._made[0])

    def _kept_on(self, prompt: AbstractChatPrompt) -> Prompt:
        """The prompt, as what goes on with the session's conversation."""
        return prompt if self._course.conversation is None else self._course.conversation.on(prompt)

    def _known(self, answer: Answer) -> tuple[Sequence[int], Lost | None]:
        """What the session read and said before this call, and what of that the call's prompt does not keep."""
        conversation = self._course.conversation
        return ((), None) if conversation is None else (conversation.token_ids, conversation.lost_by(answer.prompt_ids))

    def _waits(self, place: int) -> None:
        self._tell(Place(place=place))

    async def _kept(self) -> Ended:
        """Keep the history with what was said; a turn in which nothing was is as if it had not been."""
        answer = self._answer
        if answer is None or self._made is None:
            return Ended(finish_reason="cancelled", text="", token_len=0)
        reason = answer.finish_reason or "cancelled"
        if answer.text or reason != "cancelled":
            if not answer.text:
                self._made[0].set_responder_last_msg("")
            await through(self._course.save(self._made[0]))
        return Ended(finish_reason=reason, text=answer.text, token_len=len(answer.token_ids))

    def _log(self, message: str) -> None:
        logger, answer = self._serving.logger, self._answer
        lens = (0, 0) if answer is None else (len(answer.prompt_ids), len(answer.token_ids))
        logger.info("a turn ended: %s, %d ids read, %d said", message, *lens)
        if self._serving.log_content and self._made is not None:
            prompt = self._made[0]
            logger.info("asked %a, answered %a", prompt.get_requester_last_msg(), prompt.get_responder_last_msg())

    def _failed(self, error: BaseException, what: str) -> Failed:
        refusal = refusal_of(error)
        if refusal.status == 500:
            self._serving.logger.error("%s failed: %s", what, where_of(error))
        return Failed(refusal=refusal)

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._happened.set()


def own_prefix(
    told: PrefixUse | None, known_ids: Sequence[int], prompt_ids: Sequence[int], lost: Lost | None = None
) -> OwnPrefix | None:
    """What of a session's own ids was kept: how much an engine had kept of others' would tell what they asked.

    >>> own_prefix(PrefixUse(kept_len=3, lost_len=0), (1, 2, 9), (1, 2, 3, 4))
    OwnPrefix(kept_len=2, lost_len=1, cause='')
    >>> own_prefix(PrefixUse(kept_len=0, lost_len=0), (1, 2, 9), (1, 2, 9, 4)).cause
    'engine: it does not hold what this session read any more'
    """
    if told is None:
        return None
    common_len = len(commonprefix([list(known_ids), list(prompt_ids)]))
    kept_len = min(told.kept_len, common_len)
    cause = "" if lost is None else f"{lost.layer}: {lost.why}"
    if not cause and kept_len < min(common_len, len(known_ids) - 1):
        cause = "engine: it does not hold what this session read any more"
    return OwnPrefix(kept_len=kept_len, lost_len=len(known_ids) - kept_len, cause=cause)


async def through(work: Awaitable[T]) -> T:
    """Await work to its end, however often the one who waits is cancelled: half a history must not be kept."""
    working = asyncio.ensure_future(work)
    while not working.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({working})
    return working.result()


async def _error_of(reading: asyncio.Task[None]) -> BaseException | None:
    """What a task ended by; cancelling the one who waits cancels it."""
    while not reading.done():
        try:
            await asyncio.wait({reading})
        except asyncio.CancelledError:
            reading.cancel()
    return asyncio.CancelledError() if reading.cancelled() else reading.exception()
