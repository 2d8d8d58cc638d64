"""Request handlers: whose history a question belongs to, and how it is answered; a program derives its own."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from chatlab.engines.sampling import SamplingParams
from chatlab.errors import PromptError, ServerError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.server.admission import Ticket
from chatlab.server.chat.generation import PARAMS_KEY, session_params
from chatlab.server.chat.question import Question
from chatlab.server.chat.turn import Course, Turn
from chatlab.server.limits import json_object
from chatlab.server.serving import Serving
from chatlab.server.sessions.conversations import SessionConversations
from chatlab.server.sessions.keeper import SessionKeeper
from chatlab.server.sessions.session import Session, SessionObject, key_of
from chatlab.server.sessions.sqlite import SqliteSessions
from chatlab.server.wire.response import TurnResponse, WireName, wire_called
from chatlab.streaming.conversation.conversation import Conversation

Finished = Callable[[Request, str], Awaitable[None]]
"""``streaming_finished_callback``: told once how it ended; to be awaited, or not, as a program likes."""

PROMPT_KEY = "chat_prompt"


@dataclass(frozen=True, kw_only=True)
class Generator:
    """What a ChatStream gives its handler to answer with."""

    serving: Serving
    params: SamplingParams
    options: Mapping[str, Any]
    """Of ``stream``, such as ``overflow`` and ``add_special_tokens``."""
    new_prompt: Callable[[], AbstractChatPrompt]


@dataclass(kw_only=True)
class Asked:
    """What was settled of a request before its handler was called."""

    ticket: Ticket
    session: SessionObject | None
    wire: WireName
    late: bool
    headers: dict[str, str] = field(default_factory=dict)
    generated: bool = False
    """Whether the slot is taken."""


ASKED: ContextVar[Asked | None] = ContextVar("chatlab_asked", default=None)


class AbstractRequestHandler:
    """Derive from it to keep histories elsewhere: in a database, by login.

    A derived class overrides :meth:`process_request`. There it builds the prompt with the question in it, and either returns
    :meth:`respond`, which does all the rest, or streams :meth:`generate` itself and calls ``streaming_finished_callback``.
    """

    chat_prompt_clazz: Any = None
    tokenizer: Any = None
    generator: Generator | None = None
    """Given by the ChatStream that the handler serves."""

    def bind(self, generator: Generator, chat_prompt_clazz: Any, tokenizer: Any) -> None:
        """Serve one ChatStream.

        Raises:
            ServerError: it serves another one already, whose prompts and tokenizer it would lose.
        """
        if self.generator is not None:
            raise ServerError(f"this {type(self).__name__} serves another ChatStream: give each one of its own")
        self.generator, self.chat_prompt_clazz, self.tokenizer = generator, chat_prompt_clazz, tokenizer

    def get_request_handler_type(self) -> str:
        """What kind of handler it is."""
        return "http_session"

    def create_chat_prompt(self) -> AbstractChatPrompt:
        """A prompt for a new dialogue, with the messages it begins with.

        Raises:
            PromptError: there is no class for it.
        """
        prompt = self._generator.new_prompt()
        prompt.set_tokenizer(self.tokenizer)
        prompt.build_initial_prompt(prompt)
        return prompt

    async def session_of(self, request: Request) -> SessionObject | None:
        """The session a request belongs to, which has one running turn at a time; ``None`` is nobody's."""
        return None

    def headers_for(self, session: SessionObject, request: Request) -> dict[str, str]:
        """Headers that give a session away to its client, such as a cookie."""
        return {}

    async def process_request(
        self, request: Request, request_body: bytes, streaming_finished_callback: Finished
    ) -> Response:
        """Answer a chat request.

        Args:
            request: as the web framework has it.
            request_body: its body, within the limits.
            streaming_finished_callback: to be called once with the request and how it ended.

        Raises:
            ServerError: the class does not define it.
        """
        raise ServerError(f"{type(self).__name__} has no process_request: define it to answer chat requests")

    def respond(
        self,
        request: Request,
        chat_prompt: AbstractChatPrompt,
        streaming_finished_callback: Finished,
        *,
        save: Callable[[AbstractChatPrompt], Any] = lambda prompt: None,
        params: SamplingParams | None = None,
        return_token_ids: bool = False,
    ) -> Response:
        """Answer a prompt in the form that was asked for.

        Args:
            request: the request.
            chat_prompt: a history that ends with the question, or with an open reply.
            streaming_finished_callback: as it was given to :meth:`process_request`.
            save: keeps the history with the reply in it, before the client is told the end; may be a coroutine's function.
            params: how to answer; ChatStream's own when left out.
            return_token_ids: whether the answer tells the ids of its prompt.
        """

        def make() -> tuple[AbstractChatPrompt, int | str]:
            last = chat_prompt.get_history()[-1:]
            if not last or last[0].message is not None:
                return chat_prompt, chat_prompt.add_responder_msg(None)
            return chat_prompt, last[0].message_id

        async def keep(prompt: AbstractChatPrompt) -> None:
            await awaited(save(prompt))

        course = Course(
            make=make, save=keep, finish=lambda message: awaited(streaming_finished_callback(request, message))
        )
        return self._response(course, params, return_token_ids)

    async def generate(
        self,
        chat_prompt: AbstractChatPrompt,
        generation_params: SamplingParams | None = None,
        output_type: Literal["updated_text", "response_text"] | None = None,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Answer a prompt, whose open reply is filled: ``(response_text, updated_text, pos)`` a step.

        Args:
            chat_prompt: a history that ends with the question, or with an open reply.
            generation_params: how to answer; ChatStream's own when left out.
            output_type: ``"updated_text"`` gives the new text alone, ``"response_text"`` the whole so far.
            options: of :meth:`chatlab.server.serving.Serving.answer`.

        Raises:
            ServerError: ``output_type`` is another.
            ChatlabError: what ``answer`` raises.
        """
        if output_type not in (None, "updated_text", "response_text"):
            raise ServerError(f"output_type is 'updated_text', 'response_text' or None, not {output_type!r}")
        asked = ASKED.get()
        given = {**self._generator.options, **options}
        if asked is not None and not asked.generated:
            asked.generated = True  # a second one asks for a slot of its own
            given.setdefault("ticket", asked.ticket)
        text, pos = "", "begin"
        async with self._generator.serving.answer(
            chat_prompt, generation_params or self._generator.params, **given
        ) as answer:
            async for delta in answer:
                text += delta.text
                if delta.text or delta.finish_reason is not None:
                    pos = "end" if delta.finish_reason is not None else pos
                    yield {"updated_text": delta.text, "response_text": text, None: (text, delta.text, pos)}[
                        output_type
                    ]
                    pos = "mid"

    def _response(self, course: Course, params: SamplingParams | None, return_token_ids: bool) -> Response:
        asked = ASKED.get()
        if asked is None:
            raise ServerError(
                "a handler answers requests that its ChatStream hands to it: call handle_chat_stream_request"
            )
        generator = self._generator
        channels = {"channels": "auto"} if asked.wire == "sse" else {}
        params = params or generator.params
        # JavaScript reads a number of more than 53 bits only nearly, and a seed is told to repeat the answer by.
        seed = secrets.randbelow(2**53) if params.seed is None else params.seed
        options = {**generator.options, "params": params, "seed": seed, **channels}
        turn = Turn(generator.serving, asked.ticket, course, options)
        wire = wire_called(asked.wire, return_token_ids=return_token_ids)
        return TurnResponse(turn, wire, limits=generator.serving.limits, headers=asked.headers)

    @property
    def _generator(self) -> Generator:
        if self.generator is None:
            raise ServerError(f"this {type(self).__name__} serves no ChatStream: give it as request_handler=")
        return self.generator


class SimpleSessionRequestHandler(AbstractRequestHandler):
    """Keep a prompt a session: in the session object of the program's own middleware, or in one of ours.

    A question is asked of a copy of the history, which takes its place when the answer is there, so that a request that
    fails leaves no trace. After a client has gone the history has what came.
    """

    def __init__(self, store: SqliteSessions | None = None, *, sessions: SessionKeeper | None = None) -> None:
        """Begin without sessions.

        Args:
            store: where our own sessions outlive the process.
            sessions: how our own are kept, with other times and numbers than the usual.

        Raises:
            ServerError: both are given.
        """
        if store is not None and sessions is not None:
            raise ServerError("give a store, or sessions that have one: SessionKeeper(store)")
        self.sessions = sessions or SessionKeeper(store)
        self.sessions.revive_by(self._revived)
        self._conversations = SessionConversations()

    async def session_of(self, request: Request) -> SessionObject | None:
        """The program's own session where its middleware put one, else ours."""
        theirs = getattr(request.state, "session", None)
        if isinstance(theirs, SessionObject):
            return theirs
        return await self.sessions.find(request)

    def headers_for(self, session: SessionObject, request: Request) -> dict[str, str]:
        """The cookie of a session of ours that is new."""
        cookie = self.sessions.cookie_for(session, request) if isinstance(session, Session) else None
        return {} if cookie is None else {"set-cookie": cookie}

    def prompt_in(self, session: SessionObject) -> AbstractChatPrompt:
        """The history of a session, or a new one."""
        found = session.get_session().get(PROMPT_KEY)
        return found if isinstance(found, AbstractChatPrompt) else self.create_chat_prompt()

    async def process_request(
        self, request: Request, request_body: bytes, streaming_finished_callback: Finished
    ) -> Response:
        """Answer ``{"user_input": "…", "regenerate": false}`` out of the session's history."""
        asked, question = ASKED.get(), Question.read(json_object(request_body))
        session = asked.session if asked is not None else None
        if session is None:
            raise ServerError("this request has no session")
        params = replace_params(self._generator.params, session_params(session.get_session().get(PARAMS_KEY)))

        def make() -> tuple[AbstractChatPrompt, int | str]:
            twin = self.prompt_in(session).copy()
            return twin, question.put_to(twin)

        course = Course(
            make=make,
            conversation=self._conversation(session),
            save=lambda prompt: self.keep(session, PROMPT_KEY, prompt),
            finish=lambda message: awaited(streaming_finished_callback(request, message)),
            late=asked is not None and asked.late,
        )
        return self._response(course, params, question.return_token_ids)

    async def keep(self, session: SessionObject, name: str, value: Any) -> None:
        """Put a value into a session and save it; what cannot be saved was not put."""
        data = session.get_session()
        before, was_there = data.get(name), name in data
        data[name] = value
        try:
            await awaited(session.save_session())
        except BaseException:
            if was_there:
                data[name] = before
            else:
                del data[name]
            raise
        if isinstance(value, AbstractChatPrompt) and value.is_empty():
            self._conversations.forget(key_of(session))

    def _conversation(self, session: SessionObject) -> Conversation | None:
        """What keeps a session's ids, where the engine tells them; what cannot be kept is read anew, and told."""
        serving = self._generator.serving
        if not serving.keeps_ids:
            return None
        prompt = self.prompt_in(session)
        return self._conversations.of(
            key_of(session), lambda: Conversation(prompt, serving.tokenizer, on_break="reread")
        )

    def _revived(self, data: Mapping[str, Any]) -> AbstractChatPrompt | None:
        fresh = self._generator.new_prompt()
        try:
            prompt = (
                type(fresh).from_dict(data, self.tokenizer)
                if isinstance(fresh, ChatTemplatePrompt)
                else type(fresh).from_dict(data)
            )
        except PromptError:
            self._generator.serving.logger.warning("a kept history is of another prompt class: its session begins anew")
            return None
        prompt.set_tokenizer(self.tokenizer)
        return prompt


def replace_params(params: SamplingParams, own: Mapping[str, Any]) -> SamplingParams:
    """The parameters with a session's own."""
    return replace(params, **own)


async def awaited(value: Any) -> Any:
    """What a plain function returned, or what a coroutine's gives when awaited."""
    return await value if inspect.isawaitable(value) else value
