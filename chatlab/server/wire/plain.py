"""The plain forms: ChatStream's whole text so far, and deltas alone. They have no room for an error: it cuts the answer."""

from __future__ import annotations

from collections.abc import Sequence

from chatlab.server.chat.turn import Ended, Event
from chatlab.streaming.result import Delta

EOS = "<::EOS::>"
"""Ends each piece of ChatStream's form."""


class WholeText:
    """ChatStream's form: each piece is the whole reply so far and ``<::EOS::>``.

    A client splits at that mark and shows the last piece. One that reads slowly gets fewer pieces, so what waits for it does
    not grow with the square of the reply.
    """

    media_type = "text/plain"
    tells_errors = False

    def __init__(self) -> None:
        self._text = ""
        self._sent = False

    def put(self, events: Sequence[Event]) -> bytes:
        """The piece for some events, if they changed the text; at the end there has been one, also for an empty reply."""
        new = "".join(event.text for event in events if isinstance(event, Delta))
        self._text += new
        ended = bool(events) and isinstance(events[-1], Ended)
        if not new and (self._sent or not ended):
            return b""
        self._sent = True
        return (self._text + EOS).encode()


class Deltas:
    """New text alone."""

    media_type = "text/plain"
    tells_errors = False

    def put(self, events: Sequence[Event]) -> bytes:
        """The new text of some events."""
        return "".join(event.text for event in events if isinstance(event, Delta)).encode()
