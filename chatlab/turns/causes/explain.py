"""From the gaps of one border to edits, each with the cause that the laboratory proved; else ``UNEXPLAINED``."""

from __future__ import annotations

from collections.abc import Iterator

from chatlab.laboratory.experiment import in_words
from chatlab.laboratory.laboratory import Laboratory, Proof
from chatlab.turns.causes.case import Case, TurnSetting
from chatlab.turns.causes.place import Place
from chatlab.turns.causes.reading import TurnReading, read_turn, shows_as
from chatlab.turns.causes.suspects import suspects_of
from chatlab.turns.edits import Cause, Edit, Evidence

CONTEXT_LEN = 12
"""Characters of the next prompt shown on each side of an edit as evidence."""

TurnLaboratory = Laboratory[TurnSetting, TurnReading, Place]

OLD_THOUGHTS = "the vendor drops old reasoning at a new question, to save context"
EMPTY_THOUGHTS = "the vendor's way to switch thinking off: an empty block in the opening alone"


def laboratory_of(case: Case) -> TurnLaboratory:
    """Return a laboratory that knows every experiment on a border."""
    return Laboratory(
        setting=TurnSetting(tokenizer=case.tokenizer, case=case),
        observe=read_turn,
        agrees=shows_as,
        experiments=suspects_of(case),
    )


def iter_edits(laboratory: TurnLaboratory) -> Iterator[Edit]:
    """Yield every difference with its proven cause, left to right."""
    reading = laboratory.before
    for gap in reading.gaps:
        place = Place(gap=gap, reading=reading)
        yield _edit(place, laboratory.explain(place))


def _edit(place: Place, proof: Proof[TurnSetting, TurnReading, Place] | None) -> Edit:
    gap, reading = place.gap, place.reading
    piece = reading.case.tokenizer.piece
    cause, *also = [Cause(e.cause) for e in proof.experiments] if proof else [Cause.UNEXPLAINED]
    said_ids = (*reading.border.prompt_ids, *reading.border.reply_ids)[slice(*gap.said)]
    next_ids = reading.border.next_ids[slice(*gap.next)]
    return Edit(
        said_span=gap.said,
        next_span=gap.next,
        said_ids=said_ids,
        next_ids=next_ids,
        said_pieces=tuple(map(piece, said_ids)),
        next_pieces=tuple(map(piece, next_ids)),
        said_offset=gap.said_text[0],
        next_offset=gap.next_text[0],
        said_text=place.said,
        next_text=place.next,
        same_text=place.same_text,
        cause=cause,
        also=tuple(also),
        evidence=_evidence(place, proof) if proof else None,
        design=_design(place, cause),
    )


def _evidence(place: Place, proof: Proof[TurnSetting, TurnReading, Place]) -> Evidence:
    before, after, at = place.reading.next_text, proof.after.next_text, place.gap.next_text[0]
    return Evidence(changed=in_words(proof.experiments), next_before=_around(before, at), next_after=_around(after, at))


def _around(text: str, offset: int) -> str:
    return text[max(0, offset - CONTEXT_LEN) : offset + 2 * CONTEXT_LEN]


def _design(place: Place, cause: Cause) -> str:
    """Why a vendor means a break to be, where it is known to be meant."""
    asked = any(message["role"] == "user" for message in place.reading.case.new_messages)
    if cause is Cause.REASONING_DROPPED and asked:
        return OLD_THOUGHTS
    if cause is Cause.OPENING_DIFFERS and "</think>" in place.said:
        return EMPTY_THOUGHTS
    return ""
