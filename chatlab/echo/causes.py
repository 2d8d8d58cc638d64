"""From the mismatches of one reading to edits, each with the cause that the laboratory proved.

What no experiment undoes is ``UNEXPLAINED``. The law of the proof stands in :mod:`chatlab.laboratory.laboratory`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import merge

from chatlab.echo.align import Mismatch
from chatlab.echo.edits import Cause, Edit, Evidence
from chatlab.echo.reading import Difference, EchoReading, EchoSetting, KeptToken
from chatlab.echo.suspects import LAST_RESORTS, NOT_NORMALIZED, SAME_IDS, SUSPECTS
from chatlab.laboratory.experiment import in_words
from chatlab.laboratory.laboratory import Laboratory, Proof

CONTEXT_LEN = 12
"""Characters of echo shown on each side of an edit as evidence."""

EchoLaboratory = Laboratory[EchoSetting, EchoReading, Difference]
EchoProof = Proof[EchoSetting, EchoReading, Difference]


def laboratory_of(setting: EchoSetting) -> EchoLaboratory:
    """Return a laboratory that knows every experiment on an echo."""
    return Laboratory(
        setting=setting,
        observe=EchoSetting.read,
        agrees=EchoSetting.echoes_as,
        experiments=SUSPECTS,
        last_resorts=LAST_RESORTS,
    )


def iter_edits(laboratory: EchoLaboratory) -> Iterator[Edit]:
    """Yield every mismatch, and every control token that skipping left in, with its proven cause."""
    reading = laboratory.before
    places = (Difference(place=mismatch, reading=reading) for mismatch in reading.mismatches)
    found = (_edit(place, laboratory.explain(place)) for place in places)
    kept = (_edit(place, laboratory.prove(place, NOT_NORMALIZED)) for place in _kept_tokens(reading))
    yield from merge(found, kept, key=lambda edit: edit.prompt_span[0])


def _kept_tokens(reading: EchoReading) -> Iterator[KeptToken]:
    """Yield the control tokens of the prompt that are text to the tokenizer, and so are echoed all the same."""
    if not reading.setting.skip:
        return
    mismatches = reading.mismatches
    starts = [mismatch.prompt_start for mismatch in mismatches]
    for spelled in reading.setting.tokenizer.special_pattern.finditer(reading.setting.prompt):
        start, end = spelled.span()
        before = bisect_left(starts, end) - 1
        if before >= 0 and mismatches[before].prompt_end > start:
            continue
        offset = reading.echo_offset(start)
        place = Mismatch(start, end, offset, offset + end - start, reading.token_at(start))
        yield KeptToken(place=place, reading=reading)


def _edit(difference: Difference, proof: EchoProof | None) -> Edit:
    place, reading, lost, gained = difference.place, difference.reading, difference.lost, difference.gained
    cause, *also = [Cause(e.cause) for e in proof.experiments] if proof else [Cause.UNEXPLAINED]
    index = place.token_index
    return Edit(
        kind="insert" if not lost else "delete" if not gained else "keep" if lost == gained else "replace",
        prompt_span=(place.prompt_start, place.prompt_end),
        echo_span=(place.echo_start, place.echo_end),
        prompt_text=lost,
        echo_text=gained,
        token_index=index,
        piece=reading.setting.tokenizer.piece(reading.token_ids[index]) if index >= 0 else "",
        cause=cause,
        also=tuple(also),
        evidence=_evidence(difference, proof) if proof else None,
    )


def _evidence(difference: Difference, proof: EchoProof) -> Evidence:
    place, before = difference.place, difference.reading
    changed = in_words(proof.experiments)
    # The other prompt has the same ids and so the same echo; there is no other place to show.
    offset = place.echo_start if changed == SAME_IDS else proof.after.echo_offset(place.prompt_start)
    return Evidence(
        changed=changed,
        echo_before=_around(before.echo, place.echo_start),
        echo_after=_around(proof.after.echo, offset),
    )


def _around(echo: str, offset: int) -> str:
    return echo[max(0, offset - CONTEXT_LEN) : offset + CONTEXT_LEN]
