"""Which characters of a prompt are somebody's message, and which are the format's own.

The prompt is built a second time with invisible marks around each message; where the marks come
out, there the message stands. This works for any prompt class and any template, because neither
has to know of it. Marks sit inside the outer whitespace of a message, so that a format which
strips its messages still strips them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from chatlab.errors import ControlTokenError
from chatlab.prompts.base import AbstractChatPrompt, may_be_sorted, prompt_text

# Supplementary private-use planes, less the two noncharacters at the end of each.
_PRIVATE = re.compile("[\U000f0000-\U000ffffd\U00100000-\U0010fffd]")

# The look-behind keeps a long run of whitespace from being tried at each of its characters.
_THOUGHTS = re.compile(r"(?:(?<!\s)\s+)?<(/?)think>\s*")


class _Mark(Enum):
    BEGIN = "begin"
    END = "end"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageSpan:
    """Characters ``start`` to ``end`` (code points, end exclusive) of a prompt that are from one message."""

    start: int
    end: int
    whose: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SpannedPrompt:
    """A prompt text and the spans in it that are messages, in order and apart from each other."""

    text: str
    spans: tuple[MessageSpan, ...] | None
    """None where the class looks into its messages (cuts them short, say), so that the marks did not come through."""

    def masked(self, filler: str) -> str:
        """The text with every character of a message replaced by ``filler``: the format's own part, in place."""
        parts, offset = [], 0
        for span in self.spans or ():
            parts += [self.text[offset : span.start], filler * (span.end - span.start)]
            offset = span.end
        return "".join([*parts, self.text[offset:]])


def span_prompt(prompt: AbstractChatPrompt, opts: Mapping[str, Any] | None = None) -> SpannedPrompt:
    """Build the prompt and find its messages; outer whitespace of a message is left out of its span.

    Raises:
        MessageTypeError: ``create_prompt`` returns no ``str``.
        ControlTokenError: there are more messages than marks, tens of thousands.
    """
    text = prompt_text(prompt, opts)
    marks = _Marks(set(_PRIVATE.findall(text)))
    spans = marks.read(prompt_text(prompt.with_texts(marks.mark), opts), text)
    if spans is None and marks.keys:
        marks = _Marks(marks.taken, spare_keys=True)
        spans = marks.read(prompt_text(prompt.with_texts(marks.mark), opts), text)
    return SpannedPrompt(text=text, spans=spans)


class _Marks:
    """Unused private characters put around each message, by which the messages are found again.

    Templates cut an answer at its thoughts (``</think>``) and show a part of it, so marks stand there too. Where an
    answer comes out in parts, what stands between its thoughts and the rest is the template's; every other tag is
    the message's own.
    """

    def __init__(self, taken: set[str], spare_keys: bool = False) -> None:
        self.taken, self.spare_keys, self.keys = taken, spare_keys, 0
        self._free = (chr(c) for c in range(0xF0000, 0x10FFFE) if c & 0xFFFE != 0xFFFE and chr(c) not in taken)
        self._meaning: dict[str, tuple[int, _Mark]] = {}
        self._whose: list[str] = []

    def mark(self, text: str, whose: str) -> str:
        core = text.strip()
        is_key = may_be_sorted(text, whose)
        self.keys += is_key
        if not core or (is_key and self.spare_keys):
            return text
        before, after = text[: text.index(core)], text[text.index(core) + len(core) :]
        self._whose.append(whose)
        end = next((found.start() for found in _THOUGHTS.finditer(core) if found[1]), None)

        def marked(tag: re.Match[str]) -> str:
            pause = self._new(_Mark.PAUSE) if tag.start() == end else ""
            return pause + tag.group() + self._new(_Mark.RESUME)

        return f"{before}{self._new(_Mark.BEGIN)}{_THOUGHTS.sub(marked, core, 16)}{self._new(_Mark.END)}{after}"

    def _new(self, mark: _Mark) -> str:
        char = next(self._free, None)
        if char is None:
            raise ControlTokenError(f"{len(self._whose):,} messages are too many to tell apart: shorten the dialogue")
        self._meaning[char] = len(self._whose) - 1, mark
        return char

    def read(self, marked: str, text: str) -> tuple[MessageSpan, ...] | None:
        """The spans, or None where the marks did not come through whole."""
        seen: dict[int, list[tuple[int, _Mark]]] = {}
        parts, last, offset = list[str](), 0, 0
        for found in _PRIVATE.finditer(marked):
            if found.group() in self._meaning:
                number, mark = self._meaning[found.group()]
                parts.append(marked[last : found.start()])
                offset += found.start() - last
                last = found.end()
                seen.setdefault(number, []).append((offset, mark))
        if "".join([*parts, marked[last:]]) != text:
            return None
        spans = list[MessageSpan]()
        for number, events in seen.items():
            ranges = _ranges(events)
            if ranges is None:
                return None
            spans += [MessageSpan(start=start, end=end, whose=self._whose[number]) for start, end in ranges]
        return _apart(spans)


def _ranges(events: list[tuple[int, _Mark]]) -> list[tuple[int, int]] | None:
    """Where one message stands: whole, or in the parts between its marks; None where a part has no end."""
    marks = [mark for _, mark in events]
    if marks[0] is _Mark.BEGIN and marks[-1] is _Mark.END and marks.count(_Mark.BEGIN) == 1:
        return [(events[0][0], events[-1][0])]
    ranges, start = list[tuple[int, int]](), None
    for offset, mark in events:
        if mark in (_Mark.BEGIN, _Mark.RESUME):
            start = offset if start is None else start
        elif start is None:
            return None
        else:
            ranges.append((start, offset))
            start = None
    return ranges if start is None else None


def _apart(spans: list[MessageSpan]) -> tuple[MessageSpan, ...]:
    """Spans in order, without those inside another."""
    out: list[MessageSpan] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if span.end > (out[-1].end if out else 0):
            start = max(span.start, out[-1].end) if out else span.start
            out.append(MessageSpan(start=start, end=span.end, whose=span.whose))
    return tuple(out)
