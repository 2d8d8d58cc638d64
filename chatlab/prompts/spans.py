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
from typing import Any

from chatlab.prompts.base import AbstractChatPrompt

# Supplementary private-use planes, less the two noncharacters at the end of each.
_PRIVATE = re.compile("[\U000f0000-\U000ffffd\U00100000-\U0010fffd]")


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
    """Build the prompt and find its messages; outer whitespace of a message is left out of its span."""
    text = prompt.create_prompt(opts) or ""
    marks = _Marks(set(_PRIVATE.findall(text)))
    marked = prompt.with_texts(marks.mark).create_prompt(opts) or ""
    return SpannedPrompt(text=text, spans=marks.read(marked, text))


class _Marks:
    """Hands out a pair of unused private characters for each message, and reads them back."""

    def __init__(self, taken: set[str]) -> None:
        self._free = (chr(c) for c in range(0xF0000, 0x10FFFE) if c & 0xFFFE != 0xFFFE and chr(c) not in taken)
        self.cores: dict[str, tuple[str, str]] = {}
        self._start_of: dict[str, str] = {}

    def mark(self, text: str, whose: str) -> str:
        core = text.strip()
        if not core:
            return text
        start, end = next(self._free), next(self._free)
        self.cores[start], self._start_of[end] = (core, whose), start
        before = text.index(core)
        return f"{text[:before]}{start}{core}{end}{text[before + len(core) :]}"

    def read(self, marked: str, text: str) -> tuple[MessageSpan, ...] | None:
        """The spans, or None where the marks did not come through whole."""
        spans, opened, parts, offset = list[MessageSpan](), dict[str, int](), list[str](), 0
        last = 0
        for found in _PRIVATE.finditer(marked):
            mark = found.group()
            if mark not in self.cores and mark not in self._start_of:
                continue
            parts.append(marked[last : found.start()])
            offset += found.start() - last
            last = found.end()
            if mark in self.cores:
                opened[mark] = offset
                continue
            start = self._start_of[mark]
            core, whose = self.cores[start]
            # A format may show the end of a message only, such as an answer without its thoughts.
            begin = opened.pop(start, None)
            if begin is None:
                begin = offset - _common_suffix_len("".join(parts), core)
            spans.append(MessageSpan(start=begin, end=offset, whose=whose))
        parts.append(marked[last:])
        if opened or "".join(parts) != text:
            return None
        return _apart(spans)


def _apart(spans: list[MessageSpan]) -> tuple[MessageSpan, ...]:
    """Spans in order, without those inside another."""
    out: list[MessageSpan] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if span.end > (out[-1].end if out else 0):
            start = max(span.start, out[-1].end) if out else span.start
            out.append(MessageSpan(start=start, end=span.end, whose=span.whose))
    return tuple(out)


def _common_suffix_len(left: str, right: str) -> int:
    length = 0
    for a, b in zip(reversed(left), reversed(right), strict=False):
        if a != b:
            break
        length += 1
    return length
