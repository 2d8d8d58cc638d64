"""Which characters of the prompt became which characters of the echo, token by token.

A plain diff of two strings cannot tell which of three spaces was added. The tokenizer can: each id has a span in
the prompt (its offsets) and a surface in the echo (the text it adds when decoded). Where the two disagree is an
edit, and the id that did it is known. For tokenizers without offsets the control tokens are found in the prompt,
and a string diff stands in between them.
"""

from __future__ import annotations

import os.path
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate
from itertools import count as count_from
from operator import itemgetter
from typing import NamedTuple, cast
from weakref import WeakKeyDictionary

from chatlab.streaming.detokenizer import REPLACEMENT_CHARACTER, StreamingDetokenizer
from chatlab.tokenizers.interface import Span, Tokenizer
from chatlab.tokenizers.pipeline.steps import SPACE_MARK

DIFF_CAP = 20_000
"""Characters up to which a string diff is tried on text without offsets; it is quadratic beyond its common ends."""


class Mismatch(NamedTuple):
    """One place where prompt and echo differ: half-open spans in code points, and the token that did it."""

    prompt_start: int
    prompt_end: int
    echo_start: int
    echo_end: int
    token_index: int
    """Index into the prompt's ids; -1 where no id stands for the place."""


def find_mismatches(
    tokenizer: Tokenizer, prompt: str, spans: Sequence[Span] | None, token_ids: Sequence[int], echo: str, *, skip: bool
) -> list[Mismatch]:
    """Return every difference between ``prompt`` and ``echo``, left to right, each as small as it can be told.

    Replacing each prompt span by its echo span, right to left, turns the prompt into the echo: nothing is left out.

    Args:
        tokenizer: whose echo it is.
        prompt: the text that was encoded.
        spans: one span of ``prompt`` for each id, or ``None`` where the tokenizer keeps none.
        token_ids: the ids of the prompt.
        echo: their decoded text.
        skip: whether special tokens were skipped in decoding.
    """
    if prompt == echo:
        return []
    surfaces = token_surfaces(tokenizer, token_ids, echo, skip=skip)
    segments = _segment_spans(tokenizer, prompt, token_ids) if spans is None else None
    if surfaces is None or (spans is None and segments is None):
        wide = [Mismatch(0, len(prompt), 0, len(echo), -1)]
    else:
        wide = list(_walk(tokenizer, prompt, spans or segments or [], token_ids, surfaces))
    if segments is not None:
        specials = tokenizer.special_strs
        wide = [m if prompt[m.prompt_start : m.prompt_end] in specials else m._replace(token_index=-1) for m in wide]
    unknown = "" if tokenizer.unk_id is None or spans is None else tokenizer.piece(tokenizer.unk_id)
    narrow = [small for big in wide for small in _shrunk(prompt, echo, big, unknown)]
    if not surfaces or all(m.token_index >= 0 and m.echo_start == m.echo_end for m in narrow):
        return narrow
    echo_ends = list(accumulate(map(len, map(_TEXT, surfaces))))
    return [_owned(m, surfaces, echo_ends) for m in narrow]


def _segment_spans(tokenizer: Tokenizer, prompt: str, token_ids: Sequence[int]) -> list[Span] | None:
    """Return spans for ids without any: a control token's own, and for the others their whole segment.

    ``None`` if the control tokens spelled in the prompt are not those among the ids.
    """
    marks = [(tokenizer.special_strs[m[0]], m.span()) for m in tokenizer.special_pattern.finditer(prompt)]
    spelled = {token_id for token_id, _ in marks}
    if [i for i in token_ids if i in spelled] != [token_id for token_id, _ in marks]:
        return None
    spans, start, ahead = list[Span](), 0, [span for _, span in marks]
    for token_id in token_ids:
        if token_id in spelled:
            span = ahead.pop(0)
            start = span[1]
        else:
            span = (start, ahead[0][0] if ahead else len(prompt))
        spans.append(span)
    return spans


Surface = tuple[int, int, str]
"""First token index, token index after the last, and the text that these ids add to the echo."""


_TEXT = itemgetter(2)


def token_surfaces(tokenizer: Tokenizer, token_ids: Sequence[int], echo: str, *, skip: bool) -> list[Surface] | None:
    """Return what each id (or run of ids that make one character) adds to the echo; joined they are the echo.

    Surfaces are looked up by id first, which is right for nearly all decoders and checked by joining. If the join
    is not the echo, the streaming detokenizer finds them one by one. ``None`` if no way joins to the echo.
    """
    for look in (_looked_up, _streamed):
        surfaces = look(tokenizer, token_ids, skip)
        joined = "".join(map(_TEXT, surfaces))
        if joined == echo:
            return surfaces
        shrunk = _without_lost_spaces(surfaces, joined, echo)
        if shrunk is not None:
            return shrunk
    return None


class _SurfaceTable(dict[int, str | None]):
    """What an id adds to a text that is already there, by id; ``None`` for ids that are part of a character."""

    def __init__(self, tokenizer: Tokenizer, skip: bool) -> None:
        self._decode = tokenizer.decoder(skip_special_tokens=skip)
        self._skipped = tokenizer.special_ids if skip else frozenset[int]()
        self._anchor_ids, self._anchor_len = self._find_anchor(tokenizer)

    def _find_anchor(self, tokenizer: Tokenizer) -> tuple[list[int], int]:
        for text in ("a", "x", "1"):
            anchor_ids = tokenizer.encode(text)[-1:]
            if anchor_ids and self._decode(anchor_ids).strip() and anchor_ids[0] not in tokenizer.special_ids:
                return anchor_ids, len(self._decode(anchor_ids))
        return [], 0

    def run(self, token_ids: list[int]) -> str:
        """Return what these ids add together."""
        text = self._decode(self._anchor_ids + token_ids)[self._anchor_len :]
        if text or not self._anchor_ids:
            return text
        # Some decoders strip the end of every text: a blank shows only before something else.
        after = self._decode(self._anchor_ids * 2)[self._anchor_len :]
        return self._decode([*self._anchor_ids, *token_ids, *self._anchor_ids])[self._anchor_len :].removesuffix(after)

    def __missing__(self, token_id: int) -> str | None:
        text = "" if token_id in self._skipped else self.run([token_id])
        self[token_id] = None if REPLACEMENT_CHARACTER in text else text
        return self[token_id]


_TABLES: WeakKeyDictionary[Tokenizer, dict[bool, _SurfaceTable]] = WeakKeyDictionary()


def _looked_up(tokenizer: Tokenizer, token_ids: Sequence[int], skip: bool) -> list[Surface]:
    tables = _TABLES.setdefault(tokenizer, {})
    if skip not in tables:
        tables[skip] = _SurfaceTable(tokenizer, skip)
    table = tables[skip]
    specials = table._skipped
    texts = [table[token_id] for token_id in token_ids]
    if None not in texts:
        first = next((n for n, token_id in enumerate(token_ids) if token_id not in specials), None)
        if first is not None:  # the first text of all may lose its space
            texts[first] = table._decode([token_ids[first]])
        return list(zip(count_from(0), count_from(1), cast(list[str], texts)))
    surfaces: list[Surface] = []
    index, at_start, count = 0, True, len(token_ids)
    while index < count:
        token_id = token_ids[index]
        if token_id in specials:
            surfaces.append((index, index + 1, ""))
            index += 1
            continue
        text, end = table[token_id], index + 1
        while text is None and end < count and token_ids[end] not in specials and table[token_ids[end]] is None:
            end += 1
        if at_start or text is None:
            # A character in several ids is one text.
            run = list(token_ids[index:end])
            text, at_start = table._decode(run) if at_start else table.run(run), False
        surfaces.append((index, end, text))
        index = end
    return surfaces


def _streamed(tokenizer: Tokenizer, token_ids: Sequence[int], skip: bool) -> list[Surface]:
    """The slow, obvious way: feed the ids one by one and see what comes out."""
    specials = tokenizer.special_ids if skip else ()
    detokenizer = StreamingDetokenizer(tokenizer.decoder(skip_special_tokens=skip), special_ids=specials)
    surfaces: list[Surface] = []
    start, text = 0, ""
    for index, token_id in enumerate(token_ids):
        text += detokenizer.put([token_id])
        if not detokenizer.held_ids:
            surfaces.append((start, index + 1, text))
            start, text = index + 1, ""
    if start < len(token_ids):
        surfaces.append((start, len(token_ids), text + detokenizer.flush()))
    return surfaces


def _without_lost_spaces(surfaces: list[Surface], joined: str, echo: str) -> list[Surface] | None:
    """Fit surfaces to an echo that only lost spaces after decoding, as clean-up and end-stripping do."""
    if len(joined) <= len(echo):
        return None
    fitted, position = [], 0
    for first, end, text in surfaces:
        kept = []
        for character in text:
            if position < len(echo) and echo[position] == character:
                kept.append(character)
                position += 1
            elif not character.isspace():
                return None
        fitted.append((first, end, "".join(kept)))
    return fitted if position == len(echo) else None


def _walk(
    tokenizer: Tokenizer, prompt: str, spans: Sequence[Span], token_ids: Sequence[int], surfaces: list[Surface]
) -> Iterator[Mismatch]:
    """Compare span with surface, left to right; a gap before a span belongs to the ids after it."""
    prompt_at = echo_at = number = 0
    specials = tokenizer.special_ids

    def is_added(index: int) -> bool:
        """Whether the post-processor put it there: it has no place in the prompt, and is no part of its neighbours."""
        return token_ids[index] in specials and spans[index][0] == spans[index][1]

    count = len(surfaces)
    while number < count:
        first, end, text = surfaces[number]
        prompt_end = spans[end - 1][1]
        number += 1
        if prompt[prompt_at:prompt_end] == text and prompt_end >= prompt_at:
            prompt_at, echo_at = prompt_end, echo_at + len(text)
            continue
        number, prompt_end, text = _group(spans, surfaces, number - 1, prompt_at, is_added)
        prompt_end = max(prompt_end, prompt_at)
        echo_end = echo_at + len(text)
        source = prompt[prompt_at:prompt_end]
        marker = tokenizer.piece(token_ids[first]) if not text and source else ""
        if marker and marker in source:
            # A skipped marker may have eaten whitespace too: that is another edit, with another cause.
            start = prompt_at + source.index(marker)
            for i, j in ((prompt_at, start), (start, start + len(marker)), (start + len(marker), prompt_end)):
                if i < j:
                    yield Mismatch(i, j, echo_at, echo_at, first)
        elif source != text:
            yield Mismatch(prompt_at, prompt_end, echo_at, echo_end, first)
        prompt_at, echo_at = prompt_end, echo_end
    if prompt_at < len(prompt):
        yield Mismatch(prompt_at, len(prompt), echo_at, echo_at, len(spans) - 1)


def _group(
    spans: Sequence[Span], surfaces: list[Surface], number: int, prompt_end: int, is_added: Callable[[int], bool]
) -> tuple[int, int, str]:
    """Return the number of the next surface, the end in the prompt, and the text of surfaces whose spans overlap.

    A newline in Llama-2 is two ids, the dummy prefix and a byte, both from the one character.
    """
    texts, begins_added = list[str](), is_added(surfaces[number][0])
    while number < len(surfaces):
        first, end, text = surfaces[number]
        # Padding is one token many times over, and one edit.
        is_new = text != texts[0] if begins_added and texts else spans[first][0] >= prompt_end
        if texts and (is_new or begins_added != is_added(first)):
            break
        texts.append(text)
        prompt_end = max(prompt_end, max(span[1] for span in spans[first:end]))
        number += 1
    return number, prompt_end, "".join(texts)


def _shrunk(prompt: str, echo: str, big: Mismatch, unknown: str) -> Iterator[Mismatch]:
    """Cut a mismatch down to the characters that differ; the letters of ``unknown``, ``<unk>``, stand for none."""
    before, after = prompt[big.prompt_start : big.prompt_end], echo[big.echo_start : big.echo_end]
    if not before:
        yield big
        return
    head = _common_len(before, after)
    tail = _common_len(before[head:][::-1], after[head:][::-1])
    before, after = before[head : len(before) - tail], after[head : len(after) - tail]
    prompt_at, echo_at = big.prompt_start + head, big.echo_start + head
    # What a cut took off an end is one loss, whatever it holds.
    is_cut_off = not after and (prompt_at == 0 or prompt_at + len(before) == len(prompt))
    whole = is_cut_off or (unknown and unknown in after)
    for i, j, k, m in [(0, len(before), 0, len(after))] if whole else _differences(before, after):
        yield Mismatch(prompt_at + i, prompt_at + j, echo_at + k, echo_at + m, big.token_index)


def _differences(before: str, after: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield the spans that differ, of two texts without common ends."""
    if not before or not after or len(before) + len(after) > DIFF_CAP:
        yield from _blanks_apart(before, after, (0, len(before), 0, len(after)))
        return
    # A typed space mark comes back as a space: the two belong together, what is beside them is another edit.
    as_read = before.replace(SPACE_MARK, " ")
    for tag, i, j, k, m in SequenceMatcher(None, as_read, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield from _blanks_apart(before, after, (i, j, k, m))
        else:
            yield from ((n, n + 1, n - i + k, n - i + k + 1) for n in range(i, j) if before[n] == SPACE_MARK)


def _blanks_apart(before: str, after: str, span: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the white space at both ends of a difference and the text between them: they have causes of their own."""
    i, j, k, m = span
    lost, gained = before[i:j], after[k:m]
    stands_for_text = gained and not gained.strip() and lost == lost.strip()
    if not lost.strip() or stands_for_text:
        yield span
        return
    lost_head, gained_head = len(lost) - len(lost.lstrip()), len(gained) - len(gained.lstrip())
    lost_tail, gained_tail = len(lost.rstrip()), len(gained.rstrip())
    if not gained.strip():  # all of its white space stands in front
        gained_head = gained_tail = len(gained)
    for a, b, c, d in (
        (0, lost_head, 0, gained_head),
        (lost_head, lost_tail, gained_head, gained_tail),
        (lost_tail, len(lost), gained_tail, len(gained)),
    ):
        if lost[a:b] != gained[c:d]:
            yield i + a, i + b, k + c, k + d


def _common_len(a: str, b: str) -> int:
    return len(os.path.commonprefix((a, b))) if a and b else 0


def _owned(mismatch: Mismatch, surfaces: list[Surface], echo_ends: list[int]) -> Mismatch:
    """Name the id whose surface holds the first character that differs."""
    if mismatch.token_index >= 0 and mismatch.echo_start == mismatch.echo_end:
        return mismatch
    number = min(bisect_right(echo_ends, mismatch.echo_start), len(surfaces) - 1)
    return mismatch._replace(token_index=surfaces[number][0])
