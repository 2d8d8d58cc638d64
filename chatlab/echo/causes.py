"""Find the cause of each edit by experiment: change one thing, read the echo again, see whether the edit is gone.

**Law L4.** A cause is given only with the experiment that proves it; what no experiment undoes is ``UNEXPLAINED``.
An edit's shape only decides which experiment is tried first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, combinations
from operator import attrgetter
from typing import NamedTuple

from chatlab.echo.align import Mismatch, find_mismatches
from chatlab.echo.edits import Cause, Edit, Evidence
from chatlab.streaming.detokenizer import REPLACEMENT_CHARACTER
from chatlab.tokenizers.changes import CHANGES, SPACE_MARK
from chatlab.tokenizers.interface import Span, Tokenizer

CONTEXT_LEN = 12
"""Characters of echo shown on each side of an edit as evidence."""

_PROMPT_END = attrgetter("prompt_end")


class Reading(NamedTuple):
    """One prompt read by one tokenizer: what it became, and where it differs."""

    prompt: str
    token_ids: Sequence[int]
    spans: Sequence[Span] | None
    echo: str
    mismatches: list[Mismatch]


def read(tokenizer: Tokenizer, prompt: str, *, add: bool, skip: bool, keep: slice = slice(None)) -> Reading:
    """Encode, decode and compare; ``keep`` is the part of the ids that a program passes on."""
    encoding = tokenizer.encode_spans(prompt, add_special_tokens=add)
    token_ids = encoding.token_ids[keep]
    spans = None if encoding.spans is None else encoding.spans[keep]
    echo = tokenizer.decode(token_ids, skip_special_tokens=skip)
    return Reading(
        prompt, token_ids, spans, echo, find_mismatches(tokenizer, prompt, spans, token_ids, echo, skip=skip)
    )


class Suspect(NamedTuple):
    """A cause, and the one change that would undo it."""

    cause: Cause
    change: str
    """A name of ``chatlab.tokenizers.changes``, or one of the experiments on the call and the prompt below."""
    argument: object = None


KEEP_SPECIALS = "decode with skip_special_tokens=False"
ADD_NO_SPECIALS = "encode with add_special_tokens=False"
WHOLE_IDS = "decode all ids of the prompt"
SAME_IDS = "write in the prompt what the echo says; the ids stay the same"
NO_MARK = "write a letter where the prompt has U+2581"

_FLAGS_OFF = {"lstrip": False, "rstrip": False}

NOT_NORMALIZED = Suspect(Cause.ADDED_TOKEN_NORMALIZED, "added_token_flags", {"normalized": False})

SINGLE_CHANGES = (
    Suspect(Cause.DUMMY_PREFIX, "prefix_first_only"),
    Suspect(Cause.DUMMY_PREFIX, "prefix_never"),
    NOT_NORMALIZED,
    Suspect(Cause.SPACES_BETWEEN_SPECIALS, "no_spaces_between_specials"),
    Suspect(Cause.DECODER_JOIN, "join_without_spaces"),
    Suspect(Cause.ADDED_TOKEN_STRIP, "added_token_flags", _FLAGS_OFF),
    Suspect(Cause.LEADING_SPACE, "prefix_always_added"),
    Suspect(Cause.CLEAN_UP, "clean_up_off"),
    Suspect(Cause.CLEAN_UP, "wordpiece_cleanup_off"),
    Suspect(Cause.DECODER_STRIP, "decoder_keeps_ends"),
    Suspect(Cause.NORMALIZER, "keep_text"),
    Suspect(Cause.NORMALIZER, "keep_extra_whitespace"),
    Suspect(Cause.BYTE_FALLBACK, "add_byte_fallback_decoder"),
    Suspect(Cause.TRUNCATION, "no_truncation"),
    Suspect(Cause.PADDING, "no_padding"),
)
"""Every experiment on the tokenizer alone, likeliest first among those of one shape."""

_INSERTED_SPACE = SINGLE_CHANGES[:5]
_LOST_SPACE = SINGLE_CHANGES[5:12]


@dataclass(kw_only=True)
class Laboratory:
    """One prompt under study: its reading, and the readings of the experiments made so far."""

    tokenizer: Tokenizer
    prompt: str
    add: bool
    skip: bool
    keep: slice
    reading: Reading
    _made: dict[str, Reading | None] = field(default_factory=dict)

    def edits(self) -> Iterator[Edit]:
        """Yield every mismatch, and every control token that skipping left in, with its proven cause."""
        found = (self._explain(mismatch) for mismatch in self.reading.mismatches)
        yield from merge(found, self._kept() if self.skip else (), key=lambda edit: edit.prompt_span[0])

    def _kept(self) -> Iterator[Edit]:
        """Yield the control tokens of the prompt that are text to the tokenizer, and so are echoed all the same."""
        mismatches = self.reading.mismatches
        starts = [mismatch.prompt_start for mismatch in mismatches]
        for spelled in self.tokenizer.special_pattern.finditer(self.prompt):
            start, end = spelled.span()
            before = bisect_left(starts, end) - 1
            if before >= 0 and mismatches[before].prompt_end > start:
                continue
            offset = _echo_offset(mismatches, start)
            place = Mismatch(start, end, offset, offset + end - start, self._token_at(start))
            after = self._read_changed([NOT_NORMALIZED])
            if after is None or not any(_covers(place, other) for other in _near(after.mismatches, place)):
                yield self._edit(place, Cause.UNEXPLAINED, (), None)
            else:
                yield self._edit(place, NOT_NORMALIZED.cause, (), self._evidence(place, [NOT_NORMALIZED], after))

    def _token_at(self, offset: int) -> int:
        return next((i for i, (start, end) in enumerate(self.reading.spans or ()) if start <= offset < end), -1)

    def _explain(self, mismatch: Mismatch) -> Edit:
        tried = set()
        for suspect in (*self._by_shape(mismatch), *SINGLE_CHANGES):
            key = f"{suspect.change} {suspect.argument!r}"
            if key not in tried:
                tried.add(key)
                if evidence := self._prove(mismatch, [suspect]):
                    return self._edit(mismatch, suspect.cause, (), evidence)
        lost = self.prompt[mismatch.prompt_start : mismatch.prompt_end]
        # Without its normalizer a tokenizer may meet a spelling it never learnt.
        respelt = (Suspect(Cause.NORMALIZER, "keep_text"), Suspect(Cause.UNKNOWN_TOKEN, "know_the_unknown", [lost]))
        for pair in chain([respelt] if lost.strip() else [], combinations(SINGLE_CHANGES, 2)):
            if pair[0].cause is not pair[1].cause and (evidence := self._prove(mismatch, pair)):
                return self._edit(mismatch, pair[0].cause, (pair[1].cause,), evidence)
        return self._edit(mismatch, Cause.UNEXPLAINED, (), None)

    def _by_shape(self, mismatch: Mismatch) -> Iterator[Suspect]:
        """Yield the likeliest causes first, so that most edits cost one experiment."""
        lost = self.prompt[mismatch.prompt_start : mismatch.prompt_end]
        gained = self.reading.echo[mismatch.echo_start : mismatch.echo_end]
        specials = self.tokenizer.special_strs
        if lost and not gained and self._is_end(mismatch):
            yield Suspect(Cause.TRUNCATION, WHOLE_IDS)
            yield Suspect(Cause.TRUNCATION, "no_truncation")
        if self.skip and not gained and lost in specials:
            yield Suspect(Cause.SPECIAL_REMOVED, KEEP_SPECIALS)
        if not lost and mismatch.prompt_end == len(self.prompt):
            yield Suspect(Cause.PADDING, "no_padding")
        if self.add and not lost and gained.strip() in specials:
            yield Suspect(Cause.BOS_EOS_SHOWN, ADD_NO_SPECIALS)
        if unknown := self._unknown_text(mismatch):
            yield Suspect(Cause.UNKNOWN_TOKEN, "know_the_unknown", unknown)
        if _shows_bytes(gained):
            yield Suspect(Cause.BYTE_FALLBACK, "add_byte_fallback_decoder")
            yield Suspect(Cause.BYTE_FALLBACK, WHOLE_IDS)
        if SPACE_MARK in lost:
            yield Suspect(Cause.SPACE_MARK, SAME_IDS)
            yield Suspect(Cause.SPACE_MARK, NO_MARK)
        if _is_blank(lost) and _is_blank(gained):
            yield from _LOST_SPACE if len(lost) > len(gained) else _INSERTED_SPACE
            if self.add and not lost:  # the blank between an added token and the text
                yield Suspect(Cause.BOS_EOS_SHOWN, ADD_NO_SPECIALS)
            yield Suspect(Cause.PRE_TOKENIZER, SAME_IDS)
        elif lost and lost not in specials:
            yield Suspect(Cause.NORMALIZER, "keep_text")
            if not gained:  # what came back as other text was known, if not by this spelling
                yield Suspect(Cause.UNKNOWN_TOKEN, "know_the_unknown", [lost])

    def _is_end(self, mismatch: Mismatch) -> bool:
        return mismatch.prompt_end == len(self.prompt) or mismatch.prompt_start == 0

    def _unknown_text(self, mismatch: Mismatch) -> list[str]:
        """Return the text under the unknown id, if it is one that did it."""
        spans, index = self.reading.spans, mismatch.token_index
        if index < 0 or self.reading.token_ids[index] != self.tokenizer.unk_id:
            return []
        text = (
            self.prompt[mismatch.prompt_start : mismatch.prompt_end]
            if spans is None
            else self.prompt[slice(*spans[index])]
        )
        return [text.strip() or text] if text and text not in self.tokenizer.special_strs else []

    def _prove(self, mismatch: Mismatch, suspects: Sequence[Suspect]) -> Evidence | None:
        """Make the experiment; return its evidence if the edit is gone."""
        if suspects[0].change == SAME_IDS:
            return self._prove_same_ids(mismatch)
        after = self._read_changed(suspects)
        if after is None or self._is_there(mismatch, after, cut_off=suspects[0].cause is Cause.TRUNCATION):
            return None
        return self._evidence(mismatch, suspects, after)

    def _evidence(self, mismatch: Mismatch, suspects: Sequence[Suspect], after: Reading) -> Evidence:
        offset = _echo_offset(after.mismatches, mismatch.prompt_start)
        return Evidence(
            changed=" and ".join(_in_words(suspect) for suspect in suspects),
            echo_before=_around(self.reading.echo, mismatch.echo_start),
            echo_after=_around(after.echo, offset),
        )

    def _is_there(self, mismatch: Mismatch, after: Reading, *, cut_off: bool) -> bool:
        near = _near(after.mismatches, mismatch)
        if cut_off:
            return any(_covers(mismatch, other) for other in near)
        gained = self.reading.echo[mismatch.echo_start : mismatch.echo_end]
        return any(_same_place(mismatch, gained, m, after.echo[m.echo_start : m.echo_end]) for m in near)

    def _read_changed(self, suspects: Iterable[Suspect]) -> Reading | None:
        key = " + ".join(f"{suspect.change} {suspect.argument!r}" for suspect in suspects)
        if key not in self._made:
            self._made[key] = self._reread(suspects)
        return self._made[key]

    def _reread(self, suspects: Iterable[Suspect]) -> Reading | None:
        tokenizer, prompt = self.tokenizer, self.prompt
        add, skip, keep = self.add, self.skip, self.keep
        for suspect in suspects:
            if suspect.change == KEEP_SPECIALS:
                skip = False
            elif suspect.change == ADD_NO_SPECIALS:
                add = False
            elif suspect.change == NO_MARK:
                prompt = prompt.replace(SPACE_MARK, "x")
            elif suspect.change == WHOLE_IDS:
                if keep == slice(None):
                    return None
                keep = slice(None)
            else:
                changed = tokenizer.change(suspect.change, suspect.argument)
                if changed is None:
                    return None
                tokenizer = changed
        return read(tokenizer, prompt, add=add, skip=skip, keep=keep)

    def _prove_same_ids(self, mismatch: Mismatch) -> Evidence | None:
        """The ids cannot tell the prompt from what the echo says: encoding forgot the difference."""
        gained = self.reading.echo[mismatch.echo_start : mismatch.echo_end]
        said = self.prompt[: mismatch.prompt_start] + gained + self.prompt[mismatch.prompt_end :]
        token_ids = self.tokenizer.encode(said, add_special_tokens=self.add)[self.keep]
        if list(token_ids) != list(self.reading.token_ids):
            return None
        place = _around(self.reading.echo, mismatch.echo_start)
        return Evidence(changed=SAME_IDS, echo_before=place, echo_after=place)

    def _edit(self, mismatch: Mismatch, cause: Cause, also: tuple[Cause, ...], evidence: Evidence | None) -> Edit:
        lost = self.prompt[mismatch.prompt_start : mismatch.prompt_end]
        gained = self.reading.echo[mismatch.echo_start : mismatch.echo_end]
        index = mismatch.token_index
        return Edit(
            kind="insert" if not lost else "delete" if not gained else "keep" if lost == gained else "replace",
            prompt_span=(mismatch.prompt_start, mismatch.prompt_end),
            echo_span=(mismatch.echo_start, mismatch.echo_end),
            prompt_text=lost,
            echo_text=gained,
            token_index=index,
            piece=self.tokenizer.piece(self.reading.token_ids[index]) if index >= 0 else "",
            cause=cause,
            also=also,
            evidence=evidence,
        )


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _shows_bytes(text: str) -> bool:
    return REPLACEMENT_CHARACTER in text or "<0x" in text


def _near(mismatches: Sequence[Mismatch], edit: Mismatch) -> Iterator[Mismatch]:
    """Those that overlap or touch the place of ``edit``; they stand in the order of the prompt."""
    for number in range(bisect_left(mismatches, edit.prompt_start, key=_PROMPT_END), len(mismatches)):
        if mismatches[number].prompt_start > edit.prompt_end:
            return
        yield mismatches[number]


def _same_place(edit: Mismatch, gained: str, other: Mismatch, other_gained: str) -> bool:
    """Tell whether ``other`` still damages the place of ``edit``; touching ends are neighbours, not the same place."""
    if edit.prompt_start < edit.prompt_end:
        # What only inserts leaves every character of the prompt in the echo: nothing is lost there any more.
        return max(edit.prompt_start, other.prompt_start) < min(edit.prompt_end, other.prompt_end)
    # What stands in for other text of the same length inserts nothing.
    is_longer = len(other_gained) - (other.prompt_end - other.prompt_start) >= len(gained)
    return other.prompt_start <= edit.prompt_start <= other.prompt_end and gained in other_gained and is_longer


def _covers(edit: Mismatch, other: Mismatch) -> bool:
    """Tell whether all of what ``edit`` lost is still lost: a cut-off end may come back with small edits in it."""
    return other.prompt_start <= edit.prompt_start and edit.prompt_end <= other.prompt_end


def _echo_offset(mismatches: Sequence[Mismatch], prompt_offset: int) -> int:
    """Return where a prompt offset lies in the echo that has these mismatches."""
    count = bisect_right(mismatches, prompt_offset, key=_PROMPT_END)
    shift = mismatches[count - 1].echo_end - mismatches[count - 1].prompt_end if count else 0
    return max(0, prompt_offset + shift)


def _around(echo: str, offset: int) -> str:
    return echo[max(0, offset - CONTEXT_LEN) : offset + CONTEXT_LEN]


def _in_words(suspect: Suspect) -> str:
    words = (CHANGES[suspect.change].__doc__ or "").split("\n")[0].rstrip(".") if suspect.change in CHANGES else ""
    name = suspect.change if suspect.argument is None else f"{suspect.change} {suspect.argument}"
    return f"{words} ({name})" if words else name
