"""Where two lists of ids differ: gaps between what they share, with the text that each side has there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Span, Tokenizer
from chatlab.turns.border import common_len

DIFF_CAP = 4_000_000
"""Product of two lengths up to which a diff is tried; beyond it all between the common ends is one gap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Ids with the text they stand for."""

    token_ids: Sequence[int]
    text: str
    spans: Sequence[Span]

    def text_span(self, start: int, end: int) -> Span:
        """Return which text the ids from ``start`` to ``end`` stand for."""
        if start == end:
            at = self.spans[start][0] if start < len(self.spans) else len(self.text)
            return at, at
        return self.spans[start][0], max(self.spans[end - 1][1], self.spans[start][0])

    def begins_at(self, index: int, offset: int) -> bool:
        """Whether an id begins at a place of the text, or the text ends there."""
        return self.spans[index][0] == offset if index < len(self.spans) else offset == len(self.text)

    def index_at(self, offset: int) -> int:
        """Return the first id that begins at a place of the text or behind it."""
        return bisect_left(self.spans, (offset, offset))


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """One place where the sides differ: spans in ids and in text."""

    said: Span
    next: Span
    said_text: Span
    next_text: Span


def side_of(tokenizer: Tokenizer, text: str, token_ids: Sequence[int], *, add_special_tokens: bool = False) -> Side:
    """Return ids with the text they stand for; ids that are not the tokenizer's own of the text, with their own text."""
    encoding = tokenizer.encode_spans(text, add_special_tokens=add_special_tokens)
    if encoding.spans is not None and tuple(encoding.token_ids) == tuple(token_ids):
        return Side(token_ids=token_ids, text=text, spans=_ordered(encoding.spans))
    return streamed_side(tokenizer, (), token_ids)


def streamed_side(tokenizer: Tokenizer, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> Side:
    """Return ids behind a prompt with the text that each adds, control tokens included."""
    detokenizer = StreamingDetokenizer(tokenizer.decoder(skip_special_tokens=False), prompt_ids, special_ids=())
    text, spans = "", list[Span]()
    for token_id in token_ids:
        delta = detokenizer.put([token_id])
        spans.append((len(text), len(text) + len(delta)))
        text += delta
    rest = detokenizer.flush()
    if spans and rest:
        spans[-1] = (spans[-1][0], len(text + rest))
    return Side(token_ids=token_ids, text=text + rest, spans=spans)


def joined(one: Side, other: Side) -> Side:
    """Return two sides in a row."""
    shift = len(one.text)
    spans = [*one.spans, *((start + shift, end + shift) for start, end in other.spans)]
    return Side(token_ids=(*one.token_ids, *other.token_ids), text=one.text + other.text, spans=spans)


def _ordered(spans: Sequence[Span]) -> list[Span]:
    """Spans whose starts never step back: special ids that stand for no text have an empty one at 0."""
    found, at = list[Span](), 0
    for start, end in spans:
        at = max(at, start)
        found.append((at, max(at, end)))
    return found


def iter_gaps(
    said: Side, after: Side, after_len: int | None, stations: Sequence[tuple[int, int]] = ()
) -> Iterator[Gap]:
    """Yield every difference between what was said and the first ids of what comes after, left to right.

    **Law.** Replacing each gap's ``said`` ids by its ``next`` ids gives the first ``n`` ids of ``after``: ``after_len``
    of them where it is told, else those up to where the last shared ids end.

    Args:
        said: prompt and reply.
        after: the next prompt.
        after_len: ids of it that stand for what was said; None where nobody knows.
        stations: offsets in both texts that stand for the same place; one where an id begins on both sides is kept to.
    """
    end = len(after.token_ids) if after_len is None else after_len
    i = j = 0
    for one, other in (*_kept_to(said, after, end, stations), (len(said.token_ids), end)):
        is_last = one == len(said.token_ids) and after_len is None
        for i_from, i_to, j_from, j_to in _gaps(said.token_ids[i:one], after.token_ids[j:other], is_last):
            i_from, i_to, j_from, j_to = i_from + i, i_to + i, j_from + j, j_to + j
            yield Gap(
                said=(i_from, i_to),
                next=(j_from, j_to),
                said_text=said.text_span(i_from, i_to),
                next_text=after.text_span(j_from, j_to),
            )
        i, j = one, other


def _kept_to(said: Side, after: Side, end: int, stations: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last = (0, 0)
    for offset, after_offset in stations:
        one, other = said.index_at(offset), after.index_at(after_offset)
        begins = said.begins_at(one, offset) and after.begins_at(other, after_offset)
        if begins and one >= last[0] and last[1] <= other <= end:
            last = (one, other)
            yield last


def _gaps(one: Sequence[int], other: Sequence[int], is_open: bool) -> Iterator[tuple[int, int, int, int]]:
    head = common_len(one, other)
    tail = 0 if is_open else common_len(one[head:][::-1], other[head:][::-1])
    for i, i_end, j, j_end in _opcodes(one[head : len(one) - tail], other[head : len(other) - tail], is_open):
        yield i + head, i_end + head, j + head, j_end + head


def _opcodes(one: Sequence[int], other: Sequence[int], is_open: bool) -> Iterator[tuple[int, int, int, int]]:
    if not one and (is_open or not other):
        return
    if is_open:
        other = other[: 2 * len(one) + 64]  # what comes behind is no part of it
    if len(one) * len(other) > DIFF_CAP or not one or not other:
        yield 0, len(one), 0, 0 if is_open else len(other)
        return
    for tag, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag != "equal" and (not is_open or i < i_end or i_end < len(one)):
            yield i, i_end, j, j if is_open and i_end == len(one) else j_end
