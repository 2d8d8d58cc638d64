"""One difference at a border: what the laboratory is to explain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from chatlab.turns.causes.align import Gap
from chatlab.turns.causes.reading import TurnReading


@dataclass(frozen=True, kw_only=True)
class Place:
    """One difference at a border: what the laboratory is to explain."""

    gap: Gap
    reading: TurnReading

    @cached_property
    def said(self) -> str:
        """What was seen and said there."""
        return self.reading.said_text[slice(*self.gap.said_text)]

    @cached_property
    def next(self) -> str:
        """What the next prompt has there."""
        return self.reading.next_text[slice(*self.gap.next_text)]

    @property
    def same_text(self) -> bool:
        """Whether only the ids are others."""
        return self.reading.is_text_kept or self.said == self.next

    @property
    def in_head(self) -> bool:
        """Whether it lies before the reply was opened."""
        return self.gap.said_text[0] < self.reading.head_len

    @cached_property
    def is_thought(self) -> bool:
        """Whether a delimiter of thoughts stands in what was said there, or touches it."""
        start, end = self.gap.said_text
        near = self.reading.said_text[max(0, start - 12) : end + 12]
        states = [state for _, state in self.reading.case.channels.states]
        leads = {c.text.strip() for s in states for c in s.crossings if "reasoning" in (s.channel, self._channel(c.to))}
        return any(text in near for text in leads if text)

    def _channel(self, name: str) -> str:
        return dict(self.reading.case.channels.states)[name].channel

    @property
    def in_reply(self) -> bool:
        """Whether it lies in what the model said."""
        return self.gap.said_text[1] >= len(self.reading.prompt)

    def is_gone_in(self, after: TurnReading) -> bool:
        """Tell whether another reading no longer differs here."""
        start, end = self.gap.said_text
        return not any(_touches(start, end, *gap.said_text) for gap in after.gaps)


def _touches(start: int, end: int, other_start: int, other_end: int) -> bool:
    if start < end and other_start < other_end:
        return max(start, other_start) < min(end, other_end)
    return max(start, other_start) <= min(end, other_end)
