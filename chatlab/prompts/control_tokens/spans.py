"""Which characters of a prompt are somebody's message, and which are the format's own.

The prompt is built a second time with invisible marks around each message; where the marks come
out, there the message stands. This works for any prompt class and any template, because neither
has to know of it. Marks sit inside the outer whitespace of a message, so that a format which
strips its messages still strips them.

A template may test a text: compare it, count its characters (Mistral's ``id | length != 9``), ask what it begins
with. Where that changes the prompt or refuses it, the texts at fault are found by halving, and each is marked
inside: one of its characters gives way to a mark, so that length and ends stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from chatlab.errors import ControlTokenError, TemplateLimitError
from chatlab.prompts.base import AbstractChatPrompt, may_be_sorted, prompt_text

# Supplementary private-use planes, less the two noncharacters at the end of each.
_PRIVATE = re.compile("[\U000f0000-\U000ffffd\U00100000-\U0010fffd]")

_WORD = re.compile(r"[\w.-]*")
"""What alone may go unmarked beside texts that are marked: names and numbers, which spell no control token."""

_RENDERS = 200
"""Renders spent on finding the texts that a template tests."""

Mark = Literal["around", "inside"]
Way = Callable[[int], Mark | None]
"""How each text is marked, by its number, if at all."""

# The look-behind keeps a long run of whitespace from being tried at each of its characters.
_THOUGHTS = re.compile(r"(?:(?<!\s)\s+)?<(/?)think>\s*")


class _Mark(Enum):
    BEGIN = "begin"
    END = "end"
    PAUSE = "pause"
    RESUME = "resume"
    INSIDE = "inside"


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
    unmarked: tuple[str, ...] = ()
    """Texts that are in no span, because the class or template tests them and says something else to a marked one."""

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
    taken = set(_PRIVATE.findall(text))

    def spans_by(way: Way) -> tuple[MessageSpan, ...] | None:
        marks = _Marks(taken, way)
        marked = prompt.with_texts(marks.mark)
        try:
            return marks.read(prompt_text(marked, opts), text)
        except TemplateLimitError:
            raise
        except Exception:  # a template or a class, foreign code both, that refuses what is marked
            return None

    spans = spans_by(lambda number: "around")
    if spans is not None:
        return SpannedPrompt(text=text, spans=spans)
    texts = texts_of(prompt)
    spans, unmarked = _spans_despite_tests(spans_by, texts)
    return SpannedPrompt(text=text, spans=spans, unmarked=tuple(texts[number][0] for number in sorted(unmarked)))


def _spans_despite_tests(
    spans_by: Callable[[Way], tuple[MessageSpan, ...] | None], texts: Sequence[tuple[str, str]]
) -> tuple[tuple[MessageSpan, ...] | None, set[int]]:
    """The spans of a prompt that tests some of its texts, and those that bear no mark: keys are sorted, words compared."""
    every = set(range(len(texts)))
    keys = {number for number, (key, whose) in enumerate(texts) if may_be_sorted(key, whose)}
    spans = spans_by(lambda number: None if number in keys else "around") if keys else None
    if spans is not None:
        return spans, keys

    def spoils(ways: Mapping[int, Mark], group: set[int], mark: Mark) -> bool:
        return spans_by(lambda number: mark if number in group else ways.get(number)) is None

    tested = _halved(lambda group: spoils({}, group, "around"), every)
    around: dict[int, Mark] = dict.fromkeys(every - tested, "around")
    compared = _halved(lambda group: spoils(around, group, "inside"), tested - keys) | tested & keys
    inside: dict[int, Mark] = dict.fromkeys(tested - compared, "inside")
    are_words = all(_WORD.fullmatch(texts[number][0].strip()) for number in compared)
    spans = spans_by((around | inside).get) if are_words else None
    return (spans, compared) if spans is not None else (None, every)


def texts_of(prompt: AbstractChatPrompt) -> list[tuple[str, str]]:
    """Every text that came from outside and whose it is, in the order in which they are marked."""
    texts: list[tuple[str, str]] = []

    def note(text: str, whose: str) -> str:
        texts.append((text, whose))
        return text

    prompt.with_texts(note)
    return texts


def _halved(spoils: Callable[[set[int]], bool], numbers: set[int]) -> set[int]:
    """Those of ``numbers`` that spoil a prompt, found by halving; all of them where that takes too many renders."""
    found, groups, renders = set[int](), [sorted(numbers)], 0
    while groups:
        group = groups.pop()
        renders += 1
        if renders > _RENDERS:
            return set(numbers)
        if group and spoils({*group}):
            half = len(group) // 2
            groups += [group[:half], group[half:]] if half else []
            found |= set() if half else {*group}
    return found


class _Marks:
    """Unused private characters put around each message, by which the messages are found again.

    Templates cut an answer at its thoughts (``</think>``) and show a part of it, so marks stand there too. Where an
    answer comes out in parts, what stands between its thoughts and the rest is the template's; every other tag is
    the message's own.
    """

    def __init__(self, taken: set[str], way: Way) -> None:
        self._way, self._number = way, -1
        self._free = (chr(c) for c in range(0xF0000, 0x10FFFE) if c & 0xFFFE != 0xFFFE and chr(c) not in taken)
        self._meaning: dict[str, tuple[int, _Mark]] = {}
        self._whose: list[str] = []
        self._inside: dict[str, tuple[str, int]] = {}

    def mark(self, text: str, whose: str) -> str:
        self._number += 1
        core, way = text.strip(), self._way(self._number)
        if not core or way is None:
            return text
        before, after = text[: text.index(core)], text[text.index(core) + len(core) :]
        self._whose.append(whose)
        if way == "inside":
            return before + self._marked_inside(core) + after
        end = next((found.start() for found in _THOUGHTS.finditer(core) if found[1]), None)

        def marked(tag: re.Match[str]) -> str:
            pause = self._new(_Mark.PAUSE) if tag.start() == end else ""
            return pause + tag.group() + self._new(_Mark.RESUME)

        return f"{before}{self._new(_Mark.BEGIN)}{_THOUGHTS.sub(marked, core, 16)}{self._new(_Mark.END)}{after}"

    def _marked_inside(self, core: str) -> str:
        """``core`` with a mark for one of its characters: a letter or digit near its middle, where there is one."""
        middle = len(core) // 2
        at = min(range(len(core)), key=lambda n: (not core[n].isalnum(), abs(n - middle)))
        char = self._new(_Mark.INSIDE)
        self._inside[char] = core, at
        return core[:at] + char + core[at + 1 :]

    def _new(self, mark: _Mark) -> str:
        char = next(self._free, None)
        if char is None:
            raise ControlTokenError(f"{len(self._whose):,} messages are too many to tell apart: shorten the dialogue")
        self._meaning[char] = len(self._whose) - 1, mark
        return char

    def read(self, marked: str, text: str) -> tuple[MessageSpan, ...] | None:
        """The spans, or None where the marks did not come through whole."""
        seen: dict[int, list[tuple[int, _Mark]]] = {}
        spans, parts, last, offset = list[MessageSpan](), list[str](), 0, 0
        for found in _PRIVATE.finditer(marked):
            if found.group() in self._meaning:
                number, mark = self._meaning[found.group()]
                parts.append(marked[last : found.start()])
                offset += found.start() - last
                last = found.end()
                if mark is _Mark.INSIDE:
                    core, at = self._inside[found.group()]
                    start = offset - at
                    if text[max(start, 0) : start + len(core)] != core:
                        return None
                    spans.append(MessageSpan(start=start, end=start + len(core), whose=self._whose[number]))
                    parts.append(core[at])
                    offset += 1
                else:
                    seen.setdefault(number, []).append((offset, mark))
        if "".join([*parts, marked[last:]]) != text:
            return None
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
