"""One question about a tokenizer, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chatlab.plain import Plain
from chatlab.severity import Severity


class Question(StrEnum):
    """What is asked of every tokenizer, in the order of the page; the value is what it prints."""

    ECHO = "Does the echo come back?"
    CUT = "What does your way of cutting do?"
    TURNS = "Is the next prompt kept?"
    TEMPLATE = "Is the chat template sane?"
    LOADERS = "Do the loaders agree?"
    PIN = "Is the revision pinned?"
    STOPS = "What ends a reply?"


@dataclass(frozen=True, kw_only=True)
class Answer(Plain):
    """What was found, how bad it is, the smallest example, and the lines that mend it."""

    question: Question
    severity: Severity
    told: str
    """The answer in one sentence."""
    is_known: bool = True
    """False where it could not be asked; the sentence says why."""
    example: str = ""
    cause: str = ""
    cure: str = ""
    fix: tuple[str, ...] = ()
    """Lines to paste; none where nothing is to be mended."""

    @property
    def is_fault(self) -> bool:
        """Whether something is to be mended."""
        return self.severity > Severity.INFO


def not_known(question: Question, why: object) -> Answer:
    """Return the answer to a question that could not be asked."""
    return Answer(question=question, severity=Severity.NONE, told=f"Not known: {why}", is_known=False)
