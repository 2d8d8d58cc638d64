"""How a prompt was read: under which setting, what came back, and one place where it differs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter

from chatlab.echo.align import Mismatch, find_mismatches
from chatlab.tokenizers.interface import Encoding, Span, Tokenizer

_PROMPT_END = attrgetter("prompt_end")


@dataclass(frozen=True, kw_only=True)
class EchoSetting:
    """A prompt, and the calls that read it: all that decides its echo."""

    tokenizer: Tokenizer
    prompt: str
    add: bool
    skip: bool
    keep: tuple[int | None, int | None]
    """Start and end of the ids that a program passes on."""

    @cached_property
    def encoding(self) -> Encoding:
        """Every id of the prompt, before a program keeps some."""
        return self.tokenizer.encode_spans(self.prompt, add_special_tokens=self.add)

    def without_skipping(self) -> EchoSetting:
        """Return the setting that decodes control tokens too; how it encodes is the same, and done."""
        other = replace(self, skip=False)
        vars(other)["encoding"] = self.encoding
        return other

    def token_ids(self, prompt: str) -> list[int]:
        """Return the ids that another prompt would have."""
        # The batch call of Rust leaves the spans out.
        (token_ids,) = self.tokenizer.encode_batch([prompt], add_special_tokens=self.add)
        return token_ids[slice(*self.keep)]

    def echoes_as(self, reading: EchoReading) -> bool:
        """Tell whether the echo is that of another setting: the null control, without a look at where it differs."""
        token_ids = self.token_ids(self.prompt)
        return self.tokenizer.decode(token_ids, skip_special_tokens=self.skip) == reading.echo

    def read(self) -> EchoReading:
        """Encode, decode and compare."""
        encoding, keep = self.encoding, slice(*self.keep)
        spans = None if encoding.spans is None else encoding.spans[keep]
        token_ids = encoding.token_ids[keep]
        echo = self.tokenizer.decode(token_ids, skip_special_tokens=self.skip)
        found = find_mismatches(self.tokenizer, self.prompt, spans, token_ids, echo, skip=self.skip)
        return EchoReading(setting=self, token_ids=token_ids, spans=spans, echo=echo, mismatches=found)


@dataclass(frozen=True, kw_only=True)
class EchoReading:
    """One prompt read under one setting: what it became, and where it differs."""

    setting: EchoSetting
    token_ids: Sequence[int]
    spans: Sequence[Span] | None
    echo: str
    mismatches: list[Mismatch]

    def near(self, place: Mismatch) -> Iterator[Mismatch]:
        """Yield the mismatches that overlap or touch a place, in the order of the prompt."""
        for number in range(bisect_left(self.mismatches, place.prompt_start, key=_PROMPT_END), len(self.mismatches)):
            if self.mismatches[number].prompt_start > place.prompt_end:
                return
            yield self.mismatches[number]

    def echo_offset(self, prompt_offset: int) -> int:
        """Return where a prompt offset lies in the echo."""
        count = bisect_right(self.mismatches, prompt_offset, key=_PROMPT_END)
        last = self.mismatches[count - 1] if count else None
        return max(0, prompt_offset + (last.echo_end - last.prompt_end if last else 0))

    def token_at(self, offset: int) -> int:
        """Return the index of the id that stands for a character; -1 where none does."""
        return next((i for i, (start, end) in enumerate(self.spans or ()) if start <= offset < end), -1)

    def echo_of(self, place: Mismatch) -> str:
        """Return what the echo has at a place."""
        return self.echo[place.echo_start : place.echo_end]

    def is_dropped(self, place: Mismatch) -> bool:
        """Tell whether no id at all stands for what the prompt has at a place."""
        start, end = place.prompt_start, place.prompt_end
        return (
            start < end
            and self.spans is not None
            and not any(first < end and start < last for first, last in self.spans)
        )

    def unknown_texts(self, place: Mismatch) -> tuple[str, ...]:
        """Return the texts of the prompt under unknown ids; none if no such id stands at the place."""
        spans = self._unknown_spans if self.spans is not None else self._unknown_place(place)
        if not any(start <= place.prompt_end and place.prompt_start <= end for start, end in spans):
            return ()
        prompt = self.setting.prompt
        texts = dict.fromkeys(prompt[start:end].strip() or prompt[start:end] for start, end in spans)
        return tuple(text for text in texts if text and text not in self.setting.tokenizer.special_strs)

    @cached_property
    def _unknown_spans(self) -> list[Span]:
        """The spans of unknown ids, each up to the next id: a mark that was composed with its letter has none."""
        unknown, spans = self.setting.tokenizer.unk_id, self.spans or ()
        if unknown is None:
            return []
        starts = [start for start, _ in spans[1:]] + [len(self.setting.prompt)]
        return [
            (start, max(end, after))
            for token_id, (start, end), after in zip(self.token_ids, spans, starts, strict=True)
            if token_id == unknown and start < end
        ]

    def _unknown_place(self, place: Mismatch) -> list[Span]:
        if not 0 <= place.token_index < len(self.token_ids):
            return []
        is_unknown = self.token_ids[place.token_index] == self.setting.tokenizer.unk_id
        return [(place.prompt_start, place.prompt_end)] if is_unknown else []


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place where an echo differs from its prompt: what the laboratory is to explain."""

    place: Mismatch
    reading: EchoReading

    @cached_property
    def lost(self) -> str:
        """What the prompt has there."""
        return self.reading.setting.prompt[self.place.prompt_start : self.place.prompt_end]

    @cached_property
    def gained(self) -> str:
        """What the echo has there."""
        return self.reading.echo_of(self.place)

    @property
    def is_blank(self) -> bool:
        """Whether only white space differs."""
        return not (self.lost + self.gained).strip()

    @property
    def is_at_end(self) -> bool:
        """Whether it stands at an end of the prompt."""
        return self.place.prompt_start == 0 or self.place.prompt_end == len(self.reading.setting.prompt)

    @cached_property
    def as_echoed(self) -> EchoSetting:
        """The setting with this place of the prompt written as the echo says it."""
        setting = self.reading.setting
        head, tail = setting.prompt[: self.place.prompt_start], setting.prompt[self.place.prompt_end :]
        return replace(setting, prompt=head + self.gained + tail)

    @cached_property
    def is_lost_in_encoding(self) -> bool:
        """Whether the ids cannot tell the prompt from what the echo says: then no way of decoding is to blame."""
        said = self.as_echoed
        return said.token_ids(said.prompt) == list(self.reading.token_ids)

    def is_gone_in(self, after: EchoReading) -> bool:
        """Tell whether another reading no longer damages this place; touching ends are neighbours, not the same place."""
        return not any(self._is(other, after.echo_of(other)) for other in after.near(self.place))

    def is_found_again_in(self, after: EchoReading) -> bool:
        """Tell whether some of what was lost is there again: a cut-off end may come back with small edits in it."""
        return not any(covers(self.place, other) for other in after.near(self.place))

    def _is(self, other: Mismatch, other_gained: str) -> bool:
        place = self.place
        if place.prompt_start < place.prompt_end:
            # What only inserts leaves every character of the prompt in the echo: nothing is lost there any more.
            return max(place.prompt_start, other.prompt_start) < min(place.prompt_end, other.prompt_end)
        # What stands in for other text of the same length inserts nothing.
        is_longer = len(other_gained) - (other.prompt_end - other.prompt_start) >= len(self.gained)
        return (
            other.prompt_start <= place.prompt_start <= other.prompt_end and self.gained in other_gained and is_longer
        )


@dataclass(frozen=True, kw_only=True)
class KeptToken(Difference):
    """A control token that was to be skipped and is still there: gone is what it ought to be."""

    def is_gone_in(self, after: EchoReading) -> bool:
        """Tell whether another reading leaves it out."""
        return any(covers(self.place, other) for other in after.near(self.place))


def covers(place: Mismatch, other: Mismatch) -> bool:
    """Tell whether all of what the prompt has at ``place`` differs in ``other`` too."""
    return other.prompt_start <= place.prompt_start and place.prompt_end <= other.prompt_end
