"""The routes of the OpenAI face: bodies in, answers out, and every error in its shape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chatlab.errors import RequestError
from chatlab.server.delivery import Delivery
from chatlab.server.limits import check_request, json_object, read_body
from chatlab.server.openai.dialogue import PromptClass
from chatlab.server.openai.envelope import json_bytes, model_entry, model_list
from chatlab.server.openai.errors import error_body
from chatlab.server.openai.face import Face
from chatlab.server.openai.telling import Job, Telling, sse_of, whole_of
from chatlab.server.refusal import refusal_of
from chatlab.server.serving import Serving
from chatlab.server.told import where_of

T = TypeVar("T")
IGNORED_HEADER = "x-chatlab-ignored"
"""Tells the fields of a request that changed nothing."""


def openai_routes(
    serving: Serving,
    *,
    model: str,
    prompt_class: PromptClass | None = None,
    allowed_hosts: Collection[str] | None = None,
    tell_prefix: bool = True,
) -> APIRouter:
    """OpenAI's interface to a server: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``, ``/tokenize``, ``/detokenize``.

    Args:
        serving: what answers.
        model: the name it is asked by; a request may leave it out, and another name is a 404.
        prompt_class: makes the prompt of messages; left out, the tokenizer's own chat template does.
        allowed_hosts: names it answers to; ``None`` for all.
        tell_prefix: tell what the engine kept of a prompt, on request and among the counts. People who must not know
            whether somebody asked the same before need ``False``, and engines of their own.
    """
    face = Face(serving, model, prompt_class, tell_prefix=tell_prefix)
    routes = _Routes(serving, face, allowed_hosts)
    router = APIRouter()
    for path, answer in (
        ("/v1/chat/completions", routes.chat),
        ("/v1/completions", routes.completion),
        ("/tokenize", routes.tokenize),
        ("/detokenize", routes.detokenize),
    ):
        router.add_api_route(path, answer, methods=["POST"], response_model=None)
    router.add_api_route("/v1/models", routes.models, methods=["GET"], response_model=None)
    router.add_api_route("/v1/models/{name:path}", routes.one_model, methods=["GET"], response_model=None)
    return router


class _Routes:
    def __init__(self, serving: Serving, face: Face, allowed_hosts: Collection[str] | None) -> None:
        self._serving = serving
        self._face = face
        self._allowed_hosts = allowed_hosts
        self._created = int(time.time())

    async def chat(self, request: Request) -> Response:
        """``/v1/chat/completions``."""
        return await self._answered(request, self._face.chat, "messages")

    async def completion(self, request: Request) -> Response:
        """``/v1/completions``."""
        return await self._answered(request, self._face.completion, "prompt")

    async def tokenize(self, request: Request) -> Response:
        """``/tokenize``."""
        return await self._told(request, self._face.tokenize)

    async def detokenize(self, request: Request) -> Response:
        """``/detokenize``."""
        return await self._told(request, self._face.detokenize)

    async def models(self, request: Request) -> Response:
        """``/v1/models``."""
        face = self._face
        return await self._refusing(request, _made(model_list({face.model: face.context_len}, created=self._created)))

    async def one_model(self, request: Request) -> Response:
        """``/v1/models/NAME``."""

        async def entry() -> Response:
            self._face.check_model(request.path_params["name"])
            return _json(model_entry(self._face.model, self._face.context_len, self._created))

        return await self._refusing(request, entry())

    async def _answered(self, request: Request, job_of: Callable[[Mapping[str, Any]], Job], about: str) -> Response:
        async def answered() -> Response:
            job = job_of(await self._read(request))
            headers = {IGNORED_HEADER: ", ".join(job.ignored)} if job.ignored else {}
            telling = Telling(serving=self._serving, job=job)
            if not job.asked.stream:
                return _json(await unless_left(request, whole_of(telling)), headers)
            pieces = _after_the_first(sse_of(telling))
            await unless_left(request, anext(pieces))
            headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
            limits = self._serving.limits
            return Delivery(pieces, limits=limits, headers=headers, media_type="text/event-stream")

        return await self._refusing(request, answered(), about)

    async def _told(self, request: Request, tell: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> Response:
        async def told() -> Response:
            return _json(await tell(await self._read(request)))

        return await self._refusing(request, told(), "prompt")

    async def _read(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request, self._serving.limits))

    async def _refusing(
        self, request: Request, making: Coroutine[Any, Any, Response], about: str | None = None
    ) -> Response:
        """A response, or the error that there is instead, told of the field ``about`` where it names none itself."""
        try:
            check_request(request.headers, self._allowed_hosts, has_body=request.method == "POST")
            return await making
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal.status >= 500 and not isinstance(error, RequestError):
                self._serving.logger.error("a request failed: %s", where_of(error))
            return _json(error_body(refusal, about), refusal.headers, refusal.status)
        finally:
            making.close()


async def _after_the_first(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Pieces, after an empty one that says that there is a first: what is raised before it is still an HTTP status."""
    async with aclosing(pieces):
        first = await anext(pieces)
        yield b""
        yield first
        async for piece in pieces:
            yield piece


async def _made(value: dict[str, Any]) -> Response:
    return _json(value)


def _json(value: Mapping[str, Any], headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return Response(json_bytes(value), status, dict(headers or {}), "application/json")


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """Do work for a client that waits for it; one that leaves ends it.

    Raises:
        ClientDisconnect: it has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _ended(working, leaving)
    if working.cancelled():
        raise ClientDisconnect
    return working.result()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs and wait for its end, also when this is cancelled itself."""
    open_tasks = [task for task in tasks if not task.done()]
    for task in open_tasks:
        task.cancel()
    while not all(task.done() for task in open_tasks):
        with suppress(asyncio.CancelledError):
            await asyncio.wait(open_tasks)
