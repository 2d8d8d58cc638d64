"""The response that tells a turn: it waits for the turn to begin, and sends a refusal where it does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Send

from chatlab.errors import ServerError
from chatlab.server.chat.turn import Begun, Event, Failed, Turn
from chatlab.server.delivery import AnswerBroken, Delivery
from chatlab.server.limits import Limits
from chatlab.server.refusal import Refusal
from chatlab.server.wire.plain import Deltas, WholeText
from chatlab.server.wire.sse import PING_S, ServerSentEvents

WireName = Literal["chatstream", "sse", "delta"]

NAMES: tuple[WireName, ...] = get_args(WireName)

MESSAGE_ID = "X-ChatStream-Last-Generated-Message-Id"
DROPPED_TURNS = "X-Chatlab-Dropped-Turns"


class Wire(Protocol):
    """A form of answer: from events to bytes."""

    media_type: str
    tells_errors: bool
    """Whether it has an event for an error; one that has none is cut off instead."""

    def put(self, events: Sequence[Event]) -> bytes:
        """Some events as bytes."""


def wire_name(request: Request, asked: str | None) -> WireName:
    """The form of answer: as the program asks for, else as the client does, else ChatStream's.

    Raises:
        ServerError: the program asks for one that there is not.
    """
    if asked is None:
        kinds = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
        return "sse" if "text/event-stream" in kinds else "chatstream"
    for name in NAMES:
        if asked == name:
            return name
    raise ServerError(f"no wire is called {asked!r}: there are {', '.join(NAMES)}")


def wire_called(name: WireName, *, return_token_ids: bool = False) -> Wire:
    """A fresh writer of the form."""
    if name == "sse":
        return ServerSentEvents(return_token_ids=return_token_ids)
    return WholeText() if name == "chatstream" else Deltas()


def refused(refusal: Refusal) -> JSONResponse:
    """A refusal before any answer, as ChatStream tells one: ``{"error", "detail"}``, and what more is known."""
    known = {"field": refusal.field, "place": refusal.place, "retry_after": refusal.headers.get("Retry-After")}
    more = {name: value for name, value in known.items() if value is not None}
    content = {"error": refusal.code, "detail": refusal.message, **more}
    return JSONResponse(content, refusal.status, headers=dict(refusal.headers))


class TurnResponse(Delivery):
    """A turn as a streamed response; one that is dropped unsent abandons its turn."""

    def __init__(
        self, turn: Turn, wire: Wire, *, limits: Limits | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(self._pieces(), limits=limits, headers=headers, media_type=wire.media_type)
        self._turn, self._wire = turn, wire
        self.headers.setdefault("Cache-Control", "no-store")
        self.headers["X-Accel-Buffering"] = "no"  # or nginx would hold the pieces back

    async def stream_response(self, send: Send) -> None:
        """Send what the turn becomes."""
        first = await self._first()
        if isinstance(first, Failed):
            await self._send_refusal(first.refusal, send)
            return
        if isinstance(first, Begun):
            self.headers[MESSAGE_ID] = str(first.message_id)
            if first.dropped_turns:
                self.headers[DROPPED_TURNS] = str(first.dropped_turns)
        await super().stream_response(send)

    async def settle(self) -> None:
        """Whatever way the sending ended, the turn has ended too when this returns."""
        try:
            await super().settle()
        finally:
            await self._turn.abandon()

    def __del__(self) -> None:
        if hasattr(self, "_turn"):
            self._turn.forget()

    async def _first(self) -> Event:
        """What decides the status: for a form that tells places, anything; for the others, that it runs."""
        async for batch in self._turn.batches():
            for event in batch:
                if self._wire.tells_errors or isinstance(event, Begun | Failed):
                    return event
        return self._turn.events[-1]

    async def _send_refusal(self, refusal: Refusal, send: Send) -> None:
        response = refused(refusal)
        kept = [(key, value) for key, value in self.raw_headers if key == b"set-cookie"]
        await send({"type": "http.response.start", "status": refusal.status, "headers": [*response.raw_headers, *kept]})
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def _pieces(self) -> AsyncGenerator[bytes]:
        async for batch in self._turn.batches(PING_S if self._wire.tells_errors else None):
            if not self._wire.tells_errors and batch and isinstance(batch[-1], Failed):
                if piece := self._wire.put(batch[:-1]):
                    yield piece
                raise AnswerBroken(f"the answer broke off: {batch[-1].refusal.code}") from None
            if piece := self._wire.put(batch):
                yield piece


def told_in_band(code: str) -> dict[str, Any]:
    """ChatStream's answer to a full server where HTTP errors are not wanted."""
    return {"error": code}
