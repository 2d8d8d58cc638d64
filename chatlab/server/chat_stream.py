"""``ChatStream``: a request in, load control, a streamed response out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from chatlab.engines.engine import Engine
from chatlab.engines.sampling import PenaltyMethod, SamplingParams
from chatlab.errors import ServerError, TooManyRequests
from chatlab.server.admission import Admission
from chatlab.server.chat.mock import mock_engine
from chatlab.server.chat.options import NoModel, engine_of, prompt_maker, refuse_foreign
from chatlab.server.hosts import OnlyHosts
from chatlab.server.limits import Limits, check_request, read_body
from chatlab.server.refusal import refusal_of
from chatlab.server.request_handler import (
    ASKED,
    AbstractRequestHandler,
    Asked,
    Generator,
    SimpleSessionRequestHandler,
)
from chatlab.server.requests.apis import add_routes, chosen
from chatlab.server.requests.other_requests import OtherRequests
from chatlab.server.requests.owned import Callback, Finished, owned
from chatlab.server.serving import Serving
from chatlab.server.sessions.session import key_of
from chatlab.server.shutdown import on_signals
from chatlab.server.wire.response import WireName, told_in_band, wire_name
from chatlab.streaming.request import Overflow


class ChatStream(OtherRequests):
    """Answer chat requests of a FastAPI or Starlette application, so many at once, and each as a stream.

    The options are those that ChatStream documents, with its defaults::

        chat_stream = ChatStream(model=model, tokenizer=tokenizer, device=device, chat_prompt_clazz=ChatPrompt)

        @app.post("/chat_stream")
        async def stream_api(request: Request):
            return await chat_stream.handle_chat_stream_request(request)

    It needs no start: :meth:`start_queue_worker` is there for programs that call it.

    **Law L7.** Every accepted request ends in exactly one terminal event; a slot is freed exactly once; the history of a
    session equals some serial order of its turns.
    """

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        device: Any = None,
        num_of_concurrent_executions: int = 2,
        max_queue_size: int = 5,
        too_many_request_as_http_error: bool = False,
        use_mock_response: bool = False,
        mock_params: Mapping[Any, Any] | None = None,
        chat_prompt_clazz: Any = None,
        max_new_tokens: int = 256,
        context_len: int = 1024,
        temperature: float = 1.0,
        top_k: int | None = 50,
        top_p: float = 1.0,
        repetition_penalty: float | None = None,
        repetition_penalty_method: PenaltyMethod = "multiplicative",
        add_special_tokens: bool | None = None,
        request_handler: AbstractRequestHandler | None = None,
        logger: logging.Logger | None = None,
        *,
        engine: Engine | None = None,
        serving: Serving | None = None,
        overflow: Overflow = "drop_turns",
        busy: Literal["refuse", "queue"] = "refuse",
        allowed_hosts: Collection[str] | None = None,
        limits: Limits | None = None,
        log_content: bool = False,
        seed: int | None = None,
        name: str = "node:0",
        locale: str = "en",
        **foreign: Any,
    ) -> None:
        """Settle how to answer.

        Args:
            model: a causal language model of transformers; without one (and without ``engine`` or a mock) the first request
                is told so.
            tokenizer: its tokenizer.
            device: ``"cpu"``, ``"cuda"`` or ``"mps"``; the model is moved there.
            num_of_concurrent_executions: answers at once.
            max_queue_size: requests that may wait for one.
            too_many_request_as_http_error: tell a full server as HTTP 429; without it ChatStream's form says
                ``{"error": "too_many_requests"}`` with status 200, and the other forms 429.
            use_mock_response: answer with fixed phrases, without a model.
            mock_params: which; see :func:`chatlab.server.chat.mock.mock_engine`. ``{"type": "round"}`` when left out.
            chat_prompt_clazz: makes a prompt; left out, what the tokenizer tells.
            max_new_tokens: tokens of an answer at most.
            context_len: tokens of prompt and answer together.
            temperature: 0 takes the likeliest token.
            top_k: keep the k likeliest tokens; None keeps all.
            top_p: keep the likeliest that reach this probability.
            repetition_penalty: weaken tokens that were said; None does not.
            repetition_penalty_method: ``"multiplicative"``, ``"additive"``, or ChatStream's word for that, ``"subtractive"``.
            add_special_tokens: how the tokenizer is called; None leaves it to the prompt class.
            request_handler: whose histories; a SimpleSessionRequestHandler of this object's own when left out.
            logger: ``logging.getLogger("chatlab.server")`` when left out.
            engine: what answers, instead of a model: local, batch, remote or scripted.
            serving: an engine with its admission and limits, which other faces share; its counts and ``busy`` are
                the admission's.
            overflow: of a history longer than the context allows: ``"drop_turns"`` leaves out the oldest turns and says
                how many, ``"error"`` refuses.
            busy: a second question of one session while the first is answered: 409, or a place in the queue.
            allowed_hosts: host names this server answers to; None is every one.
            limits: what one request may take.
            log_content: also log what is said; without it the log holds lengths alone.
            seed: repeats every answer; None draws one for each.
            name: of this server in its load.
            locale: ``"en"`` or ``"ja"``, of the mock's phrases.
            foreign: options of ChatStream 0.3.0 that are refused with the reason, above all ``client_roles``.

        Raises:
            ServerError: options contradict each other, or are refused.
            SamplingError: a parameter is out of its bounds.
            EngineError: the model is none, or cannot be put on the device.
        """
        refuse_foreign(foreign)
        self.params = SamplingParams(
            max_new_tokens=max_new_tokens,
            context_len=context_len,
            temperature=temperature,
            top_k=0 if top_k is None else top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            repetition_penalty_method=repetition_penalty_method,
            seed=seed,
        )
        mock = None
        if serving is not None:
            self._refuse_beside_serving(model, device, engine, use_mock_response, limits, logger)
            self.serving, self._has_engine, self._closes_engine = serving, True, False
        else:
            mock, engine_for = mock_engine(mock_params, locale) if use_mock_response else (None, None)
            found = mock or engine_of(model, tokenizer, device, engine)
            self._has_engine, self._closes_engine = found is not None, engine is None and found is not None
            self.serving = Serving(
                found or _NoEngine(),
                None if mock is not None else tokenizer,
                admission=Admission(num_of_concurrent_executions, max_queue_size, busy=busy),
                limits=limits,
                logger=logger,
                engine_for=engine_for,
                log_content=log_content,
            )
        tokenizer = tokenizer if tokenizer is not None or mock is not None else self.serving.tokenizer
        self._as_http_error = too_many_request_as_http_error
        self.allowed_hosts = None if allowed_hosts is None else frozenset(allowed_hosts)
        self.name = name
        self.request_handler = request_handler or SimpleSessionRequestHandler()
        generator = Generator(
            serving=self.serving,
            params=self.params,
            options={"overflow": overflow, "add_special_tokens": add_special_tokens},
            new_prompt=prompt_maker(chat_prompt_clazz, tokenizer, mock=mock is not None),
        )
        self.request_handler.bind(generator, chat_prompt_clazz, tokenizer)
        self._console_prompt: Any = None

    @staticmethod
    def _refuse_beside_serving(*given: Any) -> None:
        if any(value not in (None, False) for value in given):
            raise ServerError(
                "a serving has its engine, limits and logger: give no model=, engine=, limits= … beside it"
            )

    @property
    def logger(self) -> logging.Logger:
        """Told what happens, in lengths and kinds."""
        return self.serving.logger

    async def start_queue_worker(self) -> None:
        """Do nothing: requests are answered without a worker. ChatStream's programs call this at their start."""

    async def handle_chat_stream_request(
        self,
        request: Request,
        request_body: bytes | str | None = None,
        callback: Callback | None = None,
        *,
        wire: WireName | None = None,
    ) -> Response:
        """Answer ``{"user_input": "…", "regenerate": false}``.

        Args:
            request: the request.
            request_body: its body where the program has read it already.
            callback: ``callback(request, message)``, a plain function or a coroutine's, called once at the end of every
                request that was let in: ``"success"``, ``"client_disconnected_before_streaming"``,
                ``"client_disconnected_while_streaming"`` or ``"unknown_error_occurred: …"``.
            wire: ``"chatstream"`` (the whole reply so far and ``<::EOS::>``), ``"sse"`` or ``"delta"``; left out, the
                client's ``Accept: text/event-stream`` asks for ``"sse"``.
        """
        finished = Finished(callback)
        try:
            name = wire_name(request, wire)
            asked, body = await self._let_in(request, request_body, name)
        except ClientDisconnect:
            await finished(request, "client_disconnected_before_streaming")
            return Response(status_code=400)
        except TooManyRequests as error:
            return self._too_many(error, name)
        except Exception as error:
            return self.refuse(error)
        ASKED.set(asked)  # not reset: a handler's own stream reads it later, in this context
        try:
            response = await self.request_handler.process_request(request, body, finished)
        except BaseException as error:
            asked.ticket.leave()
            if not isinstance(error, Exception):
                raise
            refusal = self.refuse(error)
            await finished(request, f"unknown_error_occurred: {refusal_of(error).code}")
            return refusal
        return owned(response, request, asked.ticket, finished, self.serving.limits)

    async def _let_in(self, request: Request, request_body: bytes | str | None, name: WireName) -> tuple[Asked, bytes]:
        check_request(request.headers, self.allowed_hosts)
        body = await read_body(request, self.serving.limits, request_body)
        if not self._has_engine:
            raise NoModel(
                "this ChatStream has no model: give it model= and tokenizer=, engine= or use_mock_response=True"
            )
        session = await self.request_handler.session_of(request)
        ticket = self.serving.admission.ask(key_of(session))
        headers = {} if session is None else self.request_handler.headers_for(session, request)
        return Asked(
            ticket=ticket, session=session, wire=name, late=self.serving.admission.busy == "queue", headers=headers
        ), body

    def _too_many(self, error: TooManyRequests, name: WireName) -> Response:
        if name != "chatstream" or self._as_http_error:
            return self.refuse(error)
        return JSONResponse(told_in_band(error.code), headers=dict(refusal_of(error).headers))

    async def handle_console_input(self, user_input: str) -> AsyncIterator[tuple[str, str, str]]:
        """Chat on a console: ``(response_text, updated_text, pos)`` a step, ``pos`` being ``begin``, ``mid`` or ``end``."""
        if not self._has_engine:
            raise NoModel(
                "this ChatStream has no model: give it model= and tokenizer=, engine= or use_mock_response=True"
            )
        prompt = (self._console_prompt or self.request_handler.create_chat_prompt()).copy()
        prompt.add_requester_msg(user_input)
        prompt.add_responder_msg(None)
        async for step in self.request_handler.generate(prompt):
            if step[2] == "end":
                self._console_prompt = prompt
            yield step

    def append_apis(self, app: Starlette, which: Mapping[str, Any] | None = None) -> None:
        """Add the requests to an application: ``{"all": True}``, ``{"include": […]}`` or ``{"exclude": […]}``.

        Raises:
            ServerError: it names a request that there is not.
        """
        handles = {
            "chat_stream": self.handle_chat_stream_request,
            "clear_context": self.handle_clear_context_request,
            "get_prompt": self.handle_get_prompt_request,
            "set_feedback": self.handle_set_feedback_request,
            "set_generation_params": self.handle_set_generation_params_request,
            "get_generation_params": self.handle_get_generation_params_request,
            "get_load": self.handle_get_load_request,
            "get_resource_usage": self.handle_get_resource_usage_request,
        }
        add_routes(app, chosen(handles, which))

    def append_middlewares(self, app: Starlette, opts: Mapping[str, Any] | None = None) -> None:
        """Have the whole application answer to ``allowed_hosts`` alone.

        Sessions need no middleware here, and CORS is the program's to open: neither is added, whatever ``opts`` say.

        Raises:
            ServerError: ``opts`` are given.
        """
        if opts:
            raise ServerError(
                "append_middlewares takes no options: sessions have random ids and no secret, and a program that wants CORS "
                "adds CORSMiddleware with the origins it knows"
            )
        app.add_middleware(OnlyHosts, allowed_hosts=self.allowed_hosts)

    @asynccontextmanager
    async def lifespan(self, app: Any = None, *, grace_s: float = 10.0) -> AsyncIterator[None]:
        """For ``FastAPI(lifespan=chat_stream.lifespan)``: close at the end, and begin with it at SIGINT or SIGTERM.

        A web server tells the application of its end only once all answers are out; so the signal itself is listened to.
        """
        loop = asyncio.get_running_loop()
        closing: list[asyncio.Task[bool]] = []

        def begin() -> None:
            if not closing:
                closing.append(asyncio.ensure_future(self.close(grace_s)))

        with on_signals(begin, loop):
            try:
                yield
            finally:
                begin()
                await closing[0]

    async def close(self, grace_s: float = 10.0) -> bool:
        """Refuse new requests, give the running ones so much time, end the rest, keep their histories; tell whether all ended well."""
        whole = await self.serving.close(grace_s)
        if isinstance(self.request_handler, SimpleSessionRequestHandler):
            await self.request_handler.sessions.close()
        if self._closes_engine:
            await asyncio.to_thread(self.serving.engine.close)
        return whole


class _NoEngine(Engine):
    """In the place of an engine that was not given: no request reaches it."""

    active_len = 0

    def submit(self, prompt_ids: Any, params: SamplingParams | None = None, *, seed: int | None = None) -> Any:
        """Refuse.

        Raises:
            NoModel: always.
        """
        raise NoModel("this ChatStream has no model")

    def close(self) -> None:
        """Do nothing."""
