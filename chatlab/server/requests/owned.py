"""What is ours in what a program's own handler does: its slot is freed and its callback called, whatever it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from chatlab.server.admission import Ticket
from chatlab.server.delivery import Delivery
from chatlab.server.limits import Limits
from chatlab.server.wire.response import TurnResponse

Callback = Callable[[Request, str], Awaitable[None] | None]
"""A program's own: told with the request how it ended."""


class Finished:
    """A callback that is called once, plain function or coroutine, however many say that it is over."""

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self.told = False
        """Whether it was called."""

    def __call__(self, request: Request, message: str) -> asyncio.Future[Any]:
        """Call it now, unless it was; await what is returned where it is a coroutine's and the end matters."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        if self.told:
            return done
        self.told = True
        said = None if self._callback is None else self._callback(request, message)
        return done if said is None else asyncio.ensure_future(said)


class HandlerResponse(Delivery):
    """A program's own streamed response, sent as ours are: closed when its client goes, with the slot and the callback."""

    def __init__(
        self, inner: StreamingResponse, request: Request, ticket: Ticket, finished: Finished, limits: Limits
    ) -> None:
        super().__init__(self._pieces(inner.body_iterator), limits=limits, status_code=inner.status_code)
        self.raw_headers, self.background = inner.raw_headers, inner.background
        self._request, self._ticket, self._finished = request, ticket, finished
        self._inner, self._whole = inner.body_iterator, False

    async def settle(self) -> None:
        """Close the program's generator too, free the slot, and tell the end if the program did not."""
        try:
            await super().settle()
            if isinstance(self._inner, AsyncGenerator):
                await self._inner.aclose()
        finally:
            self._ticket.leave()
            await self._finished(self._request, "success" if self._whole else "client_disconnected_while_streaming")

    async def _pieces(self, inner: AsyncIterable[Any]) -> AsyncGenerator[bytes]:
        async for piece in inner:
            yield piece.encode(self.charset) if isinstance(piece, str) else bytes(piece)
        self._whole = True


def owned(response: Response, request: Request, ticket: Ticket, finished: Finished, limits: Limits) -> Response:
    """A handler's response with what is ours in it."""
    if isinstance(response, TurnResponse):
        return response
    if isinstance(response, StreamingResponse):
        return HandlerResponse(response, request, ticket, finished, limits)
    ticket.leave()  # it is whole already
    return response
