"""How the pieces of an answer leave: the client's going is seen at once, and one that reads nothing is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from chatlab.errors import ServerError
from chatlab.server.limits import Limits


class AnswerBroken(ServerError):
    """An answer ended in the middle; raised into the web server, which then cuts the connection instead of ending it well."""


class Delivery(StreamingResponse):
    """A streamed response whose source is always closed, here and now: law L7 for whatever way an answer leaves.

    Starlette's own leaves an asynchronous generator that is parked at a ``yield`` to the garbage collector when its client
    goes; what the generator holds (a slot, a running request) then ends at some time or never.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes],
        *,
        limits: Limits | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        """Take what is sent.

        Args:
            content: the pieces; it sees its end as ``CancelledError`` or ``GeneratorExit``, and is closed by whatever way.
            limits: how long a client may read nothing.
            status_code: HTTP's.
            headers: more of them.
            media_type: what the content is.
        """
        super().__init__(content, status_code, headers, media_type)
        self._content = content
        self._stall_s = (limits or Limits()).write_stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until they end or the client goes; an error among them cuts the connection."""
        sending = asyncio.create_task(self.stream_response(self._not_stalled(send)))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await end_all(sending, leaving)
            finally:
                await self.settle()
        if not sending.cancelled():
            sending.result()
        if self.background is not None:
            await self.background()

    async def settle(self) -> None:
        """End what is sent, by whatever way its sending ended."""
        await self._content.aclose()

    def _not_stalled(self, send: Send) -> Send:
        async def send_in_time(message: object) -> None:
            try:
                async with asyncio.timeout(self._stall_s):
                    await send(message)  # type: ignore[arg-type]
            except TimeoutError:
                raise AnswerBroken(f"the client read nothing for {self._stall_s:g} s") from None

        return send_in_time


AGAIN_S = 1.0
"""Seconds after which a task that goes on is cancelled again: ``wait_for`` of Python 3.11, above all, may lose one."""


async def end_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait for its end, also when the one who waits is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error
            pending = {task for task in pending if not task.done()}
    for task in tasks:
        _ = task.cancelled() or task.exception()  # seen, so that asyncio does not complain of it
    if cancelled is not None:
        raise cancelled
