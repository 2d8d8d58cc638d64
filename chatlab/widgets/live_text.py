"""The kernel's side of a text that grows in a browser: what to send, and what to send again. No front end here."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab.buffering.scanner import Replacements, Scanner

if TYPE_CHECKING:
    from chatlab.streaming.result import Delta

TEXT_CAP = 200_000
"""Characters of one text on screen at most; the kernel keeps all of it."""
STEP_CAP = 2_000
"""Token chips and rows on screen at most."""


Run = tuple[int, str]
"""Where a stretch of a text begins, and what it is: a channel, or ``delimiter``."""


class TextStep(NamedTuple):
    """One delta, as the views of tokens and of the buffer draw it."""

    token_id: int | None
    piece: str
    logprob: float | None
    special: bool
    raw: str
    """New text of the model."""
    text: str
    """New text that was shown."""
    held: str
    """Text kept back after this step."""
    waiting: str
    """Why it, or the whole step, is kept back."""


class LiveText:
    r"""One text that grows: takes fragments or deltas, gives messages.

    **Law.** A reader that draws each :meth:`full`, appends each :meth:`delta` whose ``start`` is where its own text
    ends, and asks for a ``full`` when ``start`` lies beyond, ends with this text, whatever it lost on the way.

    Offsets count code points. A ``full`` goes out compressed, so that repeating the text at the end costs little.

    >>> text = LiveText(0, "assistant")
    >>> text.put("Hel"), text.put("lo"), text.delta()["text"], text.put("!"), text.delta()["start"], text.text
    (None, None, 'Hello', None, 5, 'Hello!')
    """

    def __init__(self, message_id: int, role: str, **explain: Any) -> None:
        """Begin an empty text; ``explain`` is what :meth:`explain` takes."""
        self.message_id = message_id
        self.role = role
        self.finish_reason: str | None = None
        self.error = ""
        self.seconds: float | None = None
        self.token_len = 0
        """Token ids that came; a fragment is text, and nobody knows of how many."""
        self._pending: list[str | Delta] = []
        self._read: list[str | Delta] = []
        self._text = ""
        self._runs: list[Run] = []
        self._sent_len = 0
        self._sent_steps = 0
        self._reading = threading.RLock()  # between reading and counting what was sent, no other thread reads
        self.explain(**explain)

    def explain(
        self, *, replacements: Replacements = (), stops: Iterable[str] = (), special_ids: Collection[int] = ()
    ) -> None:
        """Tell what the buffer before this text searches for and which ids are never shown: why text waits."""
        self._explained: dict[str, Any] = {"replacements": replacements, "stops": stops, "special_ids": special_ids}
        self._scanner = Scanner(replacements, stops)
        self._special_ids = special_ids

    def explain_as(self, other: LiveText) -> None:
        """Know what another text's buffer searches for."""
        self.explain(**other._explained)

    @property
    def text(self) -> str:
        """The whole text so far."""
        self._read_pending()
        return self._text

    @property
    def runs(self) -> list[Run]:
        """Where its channels begin; none where all of it is content."""
        self._read_pending()
        return self._runs[:]

    @property
    def is_pending(self) -> bool:
        """Whether something came that no message has told."""
        return bool(self._pending) or self._sent_steps < len(self._read)

    def put(self, new: str | Delta) -> None:
        """Add a fragment, or a delta with its tokens; this is the hot path, so the work waits for the next message."""
        self._pending.append(new)

    def finish(self, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        """Say why no more will come; what was said first stays."""
        if self.finish_reason is None:
            self.finish_reason, self.error, self.seconds = finish_reason, error, seconds

    def steps(self, start: int = 0) -> list[TextStep]:
        """Return the steps from number ``start`` on; what a user wrote came in none."""
        self._read_pending()
        return self._steps(start)

    def delta(self, *, with_steps: bool = False) -> dict[str, Any] | None:
        """Return what is new since the last message, ``None`` when nothing is."""
        with self._reading:
            return self._delta(with_steps)

    def full(self, *, with_steps: bool = False) -> dict[str, Any]:
        """Return all that a reader needs to begin here: the end of the text that fits the screen, steps, the reason."""
        with self._reading:
            return self._full(with_steps)

    def _delta(self, with_steps: bool) -> dict[str, Any] | None:
        self._read_pending()
        if self._sent_steps == len(self._read):
            return None
        held, waiting = self._held()
        message = {
            "kind": "delta",
            "id": self.message_id,
            "start": self._sent_len,
            "text": self._text[self._sent_len :],
            "runs": [run for run in self._runs if run[0] >= self._sent_len],
            "tokens": self.token_len,
            "held": held,
            "waiting": waiting,
            "steps_start": self._sent_steps,
            "steps": self._steps(self._sent_steps) if with_steps else [],
        }
        self._sent_len, self._sent_steps = len(self._text), len(self._read)
        return message

    def _full(self, with_steps: bool) -> dict[str, Any]:
        self._read_pending()
        shown = self._text[-TEXT_CAP:]
        steps_start = max(len(self._read) - STEP_CAP, 0) if with_steps else len(self._read)
        held, waiting = self._held()
        self._sent_len, self._sent_steps = len(self._text), len(self._read)
        return {
            "id": self.message_id,
            "role": self.role,
            "start": len(self._text) - len(shown),
            "text": shown,
            "runs": self._runs,
            "tokens": self.token_len,
            "held": held,
            "waiting": waiting,
            "steps_start": steps_start,
            "steps": self._steps(steps_start),
            "why": self.finish_reason,
            "error": self.error,
            "seconds": self.seconds,
        }

    def _steps(self, start: int) -> list[TextStep]:
        """The steps read so far: what is put while a message is made belongs to the next one, text and steps alike."""
        return [] if self.role == "user" else [self._step(new) for new in self._read[start:]]

    def _read_pending(self) -> None:
        """Take what was put; a list's copy and its cut are atomic, so no put is lost between."""
        with self._reading:
            new = self._pending[:]
            del self._pending[: len(new)]
            if not new:
                return
            self._read += new
            start = len(self._text)
            text = "".join([item if isinstance(item, str) else item.delimiter + item.text for item in new])
            self._text += text.encode("utf-8", "replace").decode()  # no wire carries a lone surrogate
            self._find_runs(new, start)
            self.token_len += sum(len(item.token_ids) for item in new if not isinstance(item, str))

    def _find_runs(self, new: list[str | Delta], start: int) -> None:
        """Note where what was read goes from one channel to another; a fragment goes on with the last."""
        if not self._runs and not any(not isinstance(i, str) and (i.delimiter or i.channel != "content") for i in new):
            return
        if not self._runs:
            self._runs.append((0, "content"))
        for item in new:
            kind = self._runs[-1][1] if isinstance(item, str) else item.channel
            parts = (
                [("", ""), (kind, item)]
                if isinstance(item, str)
                else [("delimiter", item.delimiter), (kind, item.text)]
            )
            for name, text in parts:
                if text and name != self._runs[-1][1]:
                    if self._runs[-1][0] == start:
                        self._runs.pop()
                    self._runs.append((start, name))
                start += len(text)

    def _held(self) -> tuple[str, str]:
        last = self._step(self._read[-1]) if self._read else None
        return (last.held, last.waiting) if last is not None and self.finish_reason is None else ("", "")

    def _step(self, new: str | Delta) -> TextStep:
        if isinstance(new, str):
            text = new.encode("utf-8", "replace").decode()
            return TextStep(None, "", None, False, text, text, "", "")
        token_id = new.token_ids[-1] if new.token_ids else None
        special = token_id is not None and token_id in self._special_ids
        return TextStep(
            token_id=token_id,
            piece="".join(new.pieces),
            logprob=new.logprobs[-1] if new.logprobs else None,
            special=special,
            raw=new.raw,
            text=new.text,
            held=new.held,
            waiting=self._waiting(new, special),
        )

    def _waiting(self, delta: Delta, special: bool) -> str:
        if delta.finish_reason is not None:
            return ""
        if delta.held:
            self._scanner.clear()
            self._scanner.put(delta.held)
            return "may begin " + (", ".join(self._scanner.waiting_for) or "a delimiter")
        if special:
            return "special token, not shown"
        return "part of a character" if delta.token_ids and not delta.raw else ""


def packed(message: Any) -> bytes:
    """Return a message as compressed JSON."""
    return zlib.compress(json.dumps(message, ensure_ascii=False).encode())
