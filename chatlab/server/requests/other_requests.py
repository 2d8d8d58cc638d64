"""The requests beside the chat: a session's history and parameters, and how full the server is."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from chatlab.engines.sampling import SamplingParams
from chatlab.errors import RequestError, SessionBusy
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.messages import messages_of
from chatlab.server.chat.generation import PARAMS_KEY, checked_params, session_params, told_params
from chatlab.server.limits import check_content_type, check_host, check_origin, json_object, read_body
from chatlab.server.refusal import refusal_of
from chatlab.server.request_handler import (
    PROMPT_KEY,
    AbstractRequestHandler,
    SimpleSessionRequestHandler,
    replace_params,
)
from chatlab.server.resources import resource_usage
from chatlab.server.serving import Serving
from chatlab.server.sessions.session import SessionObject, key_of
from chatlab.server.told import where_of
from chatlab.server.wire.response import refused

S = TypeVar("S", bound="OtherRequests")
FEEDBACK_KEY = "feedback"


def told(handle: Callable[[S, Request], Awaitable[dict[str, Any]]]) -> Callable[[S, Request], Awaitable[Response]]:
    """``{"success": true, "message": …}`` with what a request gives, or its refusal."""

    @functools.wraps(handle)
    async def answer(self: S, request: Request) -> Response:
        try:
            check_host(request.headers, self.allowed_hosts)
            check_origin(request.headers)
            known = await handle(self, request)
            headers = known.pop("headers", {})
            return JSONResponse({"success": True, "message": "", **known}, headers=headers)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            return self.refuse(error)

    return answer


class OtherRequests:
    """What a ChatStream answers beside chats."""

    request_handler: AbstractRequestHandler
    serving: Serving
    params: SamplingParams
    allowed_hosts: frozenset[str] | None
    name: str

    def refuse(self, error: BaseException) -> Response:
        """An error as a response; what went wrong inside is logged by kind and place."""
        refusal = refusal_of(error)
        if refusal.status == 500:
            self.serving.logger.error("a request failed: %s", where_of(error))
        return refused(refusal)

    @told
    async def handle_clear_context_request(self, request: Request) -> dict[str, Any]:
        """Forget the session's history; its parameters stay.

        While a turn of the session runs this is a 409, since the turn would bring the history back.
        """
        await self._body(request)
        session = await self._session(request)
        if PROMPT_KEY in session.get_session():
            if self.serving.admission.has(key_of(session)):
                raise SessionBusy("an answer of this session is under way: stop it first")
            await self._simple.keep(session, PROMPT_KEY, self._simple.create_chat_prompt())
        return {"message": "the context is cleared"}

    @told
    async def handle_get_prompt_request(self, request: Request) -> dict[str, Any]:
        """The session's history: the text a model would read, and its messages."""
        prompt = self._simple.prompt_in(await self._session(request))
        messages = [{**message, "message_id": None} for message in messages_of(prompt)]
        said = [content for content in prompt.get_history() if content.message is not None]
        for message, content in zip(reversed(messages), reversed(said), strict=False):
            message["message_id"] = content.message_id
        return {"prompt": prompt.create_prompt(), "messages": messages}

    @told
    async def handle_set_generation_params_request(self, request: Request) -> dict[str, Any]:
        """Set ``temperature``, ``top_k_value`` or ``top_p_value`` for the session."""
        given = checked_params(await self._body(request))
        session = await self._session(request)
        own = session.get_session().get(PARAMS_KEY)
        params = {**(own if isinstance(own, dict) else {}), **given}
        await self._simple.keep(session, PARAMS_KEY, params)
        return {"headers": self.request_handler.headers_for(session, request), **self._params(session)}

    @told
    async def handle_get_generation_params_request(self, request: Request) -> dict[str, Any]:
        """How the session answers."""
        return self._params(await self._session(request))

    @told
    async def handle_set_feedback_request(self, request: Request) -> dict[str, Any]:
        """Keep what the user thinks of a message: ``{"message_id": …, "feedback": …}``, in the session under ``feedback``."""
        given = await self._body(request)
        session = await self._session(request)
        message_id, feedback = given.get("message_id"), given.get("feedback")
        if not _known(self._simple.prompt_in(session), message_id):
            raise RequestError("message_id must be the id of a message of this session", field="message_id")
        if type(feedback) not in (str, int, float, bool):
            raise RequestError("feedback must be a text, a number, true or false", field="feedback")
        former = session.get_session().get(FEEDBACK_KEY) or {}
        await self._simple.keep(session, FEEDBACK_KEY, {**former, str(message_id): feedback})
        return {}

    @told
    async def handle_get_load_request(self, request: Request) -> dict[str, Any]:
        """How many run and wait, and how many may."""
        load = self.serving.admission.load()
        worker = {
            "name": self.name,
            "processing": load.running,
            "waiting": load.waiting,
            "max_processing": load.max_running,
            "max_waiting": load.max_waiting,
        }
        return {"chatstream_workers": [worker]}

    @told
    async def handle_get_resource_usage_request(self, request: Request) -> dict[str, Any]:
        """The memory of this machine and of its GPUs, in bytes."""
        return resource_usage()

    async def _body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request; one without a body and its type is an empty one."""
        if "content-type" in request.headers:
            check_content_type(request.headers)
        body = await read_body(request, self.serving.limits)
        if body:
            check_content_type(request.headers)
        return json_object(body) if body else {}

    async def _session(self, request: Request) -> SessionObject:
        session = await self.request_handler.session_of(request)
        if session is None:
            raise RequestError(f"{type(self.request_handler).__name__} has no sessions that this could be about")
        return session

    @property
    def _simple(self) -> SimpleSessionRequestHandler:
        handler = self.request_handler
        if not isinstance(handler, SimpleSessionRequestHandler):
            raise RequestError(f"{type(handler).__name__} keeps its histories by itself: ask it")
        return handler

    def _params(self, session: SessionObject) -> dict[str, Any]:
        own = session.get_session().get(PARAMS_KEY)
        return {"generation_params": told_params(replace_params(self.params, session_params(own)))}


def _known(prompt: AbstractChatPrompt, message_id: object) -> bool:
    return any(str(content.message_id) == str(message_id) for content in prompt.get_history())
