"""End text that arrives in fragments at a stop string, with SentenceStop's documented interface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from chatlab.buffering.fragment_buffer import FragmentBuffer
from chatlab.buffering.scanner import Scanner, check_stops, compile_patterns
from chatlab.buffering.text_modes import Options, TextModes
from chatlab.errors import BufferingError


class StopResult(TypedDict):
    """What :meth:`SentenceStop.put` returns."""

    text: str
    """The text that is certain: its new piece, or with ``out_type`` "full" all of it. Never part of a stop."""
    stop_str_found: bool
    """Whether a stop string was found, now or by an earlier put."""
    possible: bool
    """Whether a stop string might be beginning: some text is held."""
    stop_str: str | None
    """The stop string that was found."""


class SentenceStop(FragmentBuffer):
    """End text that arrives in fragments at the first stop string.

    Law: however the text is cut, and in all four modes, the text given out is the text before the stop that
    completes first (of two that complete together, the longer one), or all text if there is none; only the
    longest suffix that could still begin a stop is held. After a stop, what is held and what still arrives is
    discarded, and every put says ``stop_str_found`` until ``flush`` or ``clear`` begins a new text.

    ``opts`` are TokFlow's ``in_type`` and ``out_type``, and two more, read at the first put of a text:

    - ``skip_existing_stop_str=True``: stop strings inside the first text do not stop. They are passed by
      position, left to right and longest first: the search begins after the last of them. A stop that begins
      in the rest of the first text and completes later does stop.
    - ``mask_char`` is accepted and has no effect: nothing is masked, so nothing can collide with a mask.

    >>> sentence = SentenceStop(["<NL>"])
    >>> [sentence.put(s)["text"] for s in ["Yes.", "<", "NL>No."]], sentence.stop_str
    (['Yes.', '', ''], '<NL>')

    Args:
        stop_strs: the stop strings.
        mask_char: accepted and unneeded, as the option.

    Raises:
        BufferingError: a single string instead of a list, or a stop string that is empty or no ``str``.
    """

    def __init__(self, stop_strs: Iterable[str], mask_char: str | None = None) -> None:
        stops = check_stops(stop_strs)
        super().__init__(Scanner(stops=stops), TextModes({"skip_existing_stop_str": bool, "mask_char": str}))
        self._existing = compile_patterns(stops)
        self._skip_next = False

    @property
    def stop_str(self) -> str | None:
        """The stop string that ended the current text, or ``None``."""
        return self._scanner.stop

    def put(self, text: str, opts: Options | None = None) -> StopResult:
        """Take a fragment (``in_type`` "full": the whole text so far) and say what is certain.

        Raises:
            FullTextMismatch: a full input does not extend the one before it; the state is as before.
            BufferingError: unknown options, or other modes than this text began with.
        """
        scanner = self._scanner
        text = scanner.put(text) if self._plain and opts is None else self._put(text, opts)
        stop = scanner.stop
        return {
            "text": text,
            "stop_str_found": stop is not None,
            "possible": scanner.held != "",
            "stop_str": stop,
        }

    def _take(self, text: str, opts: Options | None) -> str:
        first = self._modes.first
        self._modes.fix(opts)
        wanted = bool(opts and opts.get("skip_existing_stop_str"))
        if first is None:
            self._skip_next = wanted
        elif wanted and not first.get("skip_existing_stop_str"):
            raise BufferingError("skip_existing_stop_str concerns the first text: give it with the first put")
        return "" if self._scanner.stop is not None else self._modes.take(text)

    def _search(self, new: str) -> str:
        if not self._skip_next:
            return self._scanner.put(new)
        searched_from = max((match.end() for match in self._existing.finditer(new)), default=0)
        self._skip_next = False
        return self._scanner.skip(new[:searched_from]) + self._scanner.put(new[searched_from:])
