"""What TokFlow and SentenceStop share: modes, end of text, adapters for whole streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from typing import overload

from chatlab.buffering.scanner import Scanner
from chatlab.buffering.text_modes import SPOT, Options, TextModes
from chatlab.buffering.trace import BufferStep, BufferTrace


class FragmentBuffer:
    """One text at a time through one scanner: ``put`` until it ends, then ``flush``; ``clear`` forgets it."""

    def __init__(self, scanner: Scanner, modes: TextModes) -> None:
        self._scanner = scanner
        self._modes = modes
        self._plain = False  # a spot text in mid-course: a put needs nothing but the scanner

    @property
    def held(self) -> str:
        """The text that is kept back for now, as it came in."""
        return self._scanner.held

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The patterns that might begin in the held text."""
        return self._scanner.waiting_for

    def flush(self, opts: Options | None = None) -> str:
        """End the text: give what is held (``out_type`` "full": the whole text), and be ready for the next one.

        So a second flush gives ``""``, and a put after it begins a new text, options included.
        """
        self._modes.fix(opts)
        text = self._modes.give(self._scanner.flush())
        self.clear()
        return text

    def clear(self) -> None:
        """Forget the text, what is held of it, its stop and its options."""
        self._scanner.clear()
        self._modes.clear()
        self._plain = False

    @overload
    def stream(self, fragments: Iterable[str], opts: Options | None = None) -> Generator[str, None, None]: ...
    @overload
    def stream(self, fragments: AsyncIterable[str], opts: Options | None = None) -> AsyncGenerator[str, None]: ...
    def stream(
        self, fragments: Iterable[str] | AsyncIterable[str], opts: Options | None = None
    ) -> Generator[str, None, None] | AsyncGenerator[str, None]:
        """Wrap a whole stream of fragments: its text, without empty pieces, the flushed end included.

        An async iterable gives an async iterator. It begins with :meth:`clear` and ends at the end of the
        fragments or at a stop. If the fragments raise, the held text comes first, then their exception. If the
        consumer leaves early, nothing more is given: what is held stays for one :meth:`flush`, or until the
        next text. A generator of fragments is closed with the stream.
        """
        if isinstance(fragments, AsyncIterable):
            return self._stream_async(fragments, opts)
        return self._stream_sync(fragments, opts)

    def trace(self, fragments: Iterable[str], opts: Options | None = None) -> BufferTrace:
        """Run a whole text, and write down for each put what came in, what went out, what is held and why."""
        self.clear()
        steps = []
        for fragment in fragments:
            new = self._take(fragment, opts)
            steps.append(self._step("put", new, self._search(new)))
            if self._scanner.stop is not None:
                break
        else:
            steps.append(self._step("flush", "", self._scanner.flush()))
        self.clear()
        return BufferTrace(steps=tuple(steps))

    def _take(self, text: str, opts: Options | None) -> str:
        """The new part of what was put."""
        self._modes.fix(opts)
        return self._modes.take(text)

    def _put(self, text: str, opts: Options | None) -> str:
        if self._plain and (opts is None or opts == self._modes.first):
            return self._scanner.put(text)
        released = self._search(self._take(text, opts))
        self._plain = self._modes.in_type == self._modes.out_type == SPOT
        return self._modes.give(released)

    def _search(self, new: str) -> str:
        """What new text releases."""
        return self._scanner.put(new)

    def _end(self) -> str:
        tail = self._scanner.flush()
        text = self._modes.give(tail) if tail else ""
        self.clear()
        return text

    def _step(self, call: str, fragment: str, delta: str) -> BufferStep:
        scanner = self._scanner
        return BufferStep(
            call=call,
            fragment=fragment,
            delta=delta,
            held=scanner.held,
            waiting_for=scanner.waiting_for,
            stop_str=scanner.stop,
            raw_len=scanner.raw_len,
            released_len=scanner.released_len,
            shown_len=scanner.shown_len,
        )

    def _stream_sync(self, fragments: Iterable[str], opts: Options | None) -> Generator[str, None, None]:
        self.clear()
        try:
            for fragment in fragments:
                if released := self._search(self._take(fragment, opts)):
                    yield self._modes.give(released)
                if self._scanner.stop is not None:
                    return
        except Exception:
            if text := self._end():
                yield text
            raise
        else:
            if text := self._end():
                yield text
        finally:
            if isinstance(fragments, Generator):
                fragments.close()

    async def _stream_async(self, fragments: AsyncIterable[str], opts: Options | None) -> AsyncGenerator[str, None]:
        self.clear()
        try:
            async for fragment in fragments:
                if released := self._search(self._take(fragment, opts)):
                    yield self._modes.give(released)
                if self._scanner.stop is not None:
                    return
        except Exception:
            if text := self._end():
                yield text
            raise
        else:
            if text := self._end():
                yield text
        finally:
            if isinstance(fragments, AsyncGenerator):
                await fragments.aclose()
