"""A way to get the reply out of the decoded text: the known ones, and your own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import Literal, TypeVar, get_args

from chatlab.echo.cutting.case import CutCase
from chatlab.echo.cutting.outcome import NOT_APPLICABLE, Outcome, judge
from chatlab.errors import CutError

Way = Literal["length", "search", "ids", "own"]
WAYS: tuple[Way, ...] = get_args(Way)
Answer = TypeVar("Answer")

_EXAMPLE = 'CutStrategy(name="mine", cut=lambda case: case.text[len(case.prompt_text):])'


def _behind_what_it_skips(case: CutCase) -> str:
    raise NotImplementedError  # stands for a cut that was left out


@dataclass(frozen=True, kw_only=True, slots=True)
class CutStrategy:
    """One way to get the reply out of the decoded text: what it returns, or how many characters it skips.

    A program's own way is measured beside the known ones:

    >>> from chatlab.echo.cut import CutStrategy, make_case
    >>> from chatlab.testing import CodePointTokenizer
    >>> mine = CutStrategy(name="mine", skip_echo_len=lambda case: len(case.prompt_text) + 1)
    >>> case = make_case(CodePointTokenizer(), [65, 66], [67, 68], prompt_text="AB")
    >>> mine.result(case), str(mine.outcome(case, "CD"))
    ('D', 'eats 1')

    Raises:
        CutError: it has no name, or neither ``cut`` nor ``skip_echo_len``, or one that is no function.
    """

    name: str
    description: str = ""
    cut: Callable[[CutCase], str] = _behind_what_it_skips
    """Gives the reply; left out, what stands behind ``skip_echo_len`` characters is the reply."""
    skip_echo_len: Callable[[CutCase], int] | None = None
    """Characters it plans to skip; ``None`` where it plans no length."""
    strips: bool = False
    """Whether it strips the reply, and so cannot be blamed for blank ends."""
    applies: Callable[[CutCase], bool] | None = None
    """Whether a program would use it on that generation; ``None`` for always. Elsewhere it is neither right nor wrong."""
    way: Way = "own"
    """What it goes by: a length, a search for the prompt, or ids."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise CutError(f"a CutStrategy has a name, not {self.name!r:.80}: as in {_EXAMPLE}")
        if self.cut is _behind_what_it_skips:
            if self.skip_echo_len is None:
                raise CutError(f"{self.name} needs cut or skip_echo_len, a function of a CutCase: as in {_EXAMPLE}")
            object.__setattr__(self, "cut", partial(_skipped, self))
        functions = {"cut": self.cut, "skip_echo_len": self.skip_echo_len, "applies": self.applies}
        for field, function in functions.items():
            if function is not None and not callable(function):
                raise CutError(f"{field} of {self.name} is a function of a CutCase, not {function!r:.80}")
        if self.way not in WAYS:
            raise CutError(f"way of {self.name} must be one of {', '.join(WAYS)}, not {self.way!r:.80}")

    def skip_len(self, case: CutCase) -> int | None:
        """Return the characters it skips; ``None`` where it plans no length.

        Raises:
            CutError: ``skip_echo_len`` fails, or gives no whole number.
        """
        if self.skip_echo_len is None:
            return None
        found: object = _asked(self.name, self.skip_echo_len, case)
        try:
            return index(found)  # type: ignore[arg-type]  # what it is if not a number is told below
        except TypeError as error:
            raise CutError(f"skip_echo_len of {self.name} gives {found!r:.80}, not a number of characters") from error

    def result(self, case: CutCase) -> str:
        """Return what it makes of a generation, where it applies.

        Raises:
            CutError: it fails, or gives no text.
        """
        found: object = _asked(self.name, self.cut, case)
        if not isinstance(found, str):
            raise CutError(f"{self.name} gives {found!r:.80}, not text: return the reply, as in {_EXAMPLE}")
        return found

    def outcome(self, case: CutCase, reply: str) -> Outcome:
        """Return what it does to the true reply; stripped, where it strips.

        Raises:
            CutError: it fails, or gives no text.
        """
        if not self.applies_to(case):
            return NOT_APPLICABLE
        return judge(self.result(case), reply.strip() if self.strips else reply)

    def outcomes(self, cases: Sequence[CutCase], replies: Sequence[str]) -> Iterable[Outcome]:
        """Return the outcome of each case; ``replies`` are stripped already, where it strips.

        Raises:
            CutError: it fails, or gives no text.
        """
        if self.applies is not None:
            return map(self.outcome, cases, replies)
        try:
            results = list(map(self.cut, cases))
            if set(map(type, results)) <= {str}:
                return map(judge, results, replies)
        except Exception:
            results = []
        # Asked again, one by one, it says on which case it failed.
        return map(judge, map(self.result, cases), replies)

    def applies_to(self, case: CutCase) -> bool:
        """Tell whether a program would use it on a generation."""
        return self.applies is None or bool(_asked(self.name, self.applies, case))


def _skipped(strategy: CutStrategy, case: CutCase) -> str:
    text = case.text[strategy.skip_len(case) :]
    return text.strip() if strategy.strips else text


def _asked(name: str, function: Callable[[CutCase], Answer], case: CutCase) -> Answer:
    """Call a function that may be a user's own."""
    try:
        return function(case)
    except CutError:
        raise
    except Exception as error:
        raise CutError(
            f"{name} failed on a prompt that ends in {case.prompt_text[-40:]!r}: {type(error).__name__}: {error}"
        ) from error
