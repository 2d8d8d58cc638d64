"""Law L4: the difference goes with the one change, and stays in the same copy with nothing changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.laboratory.experiment import Experiment
from chatlab.laboratory.laboratory import Laboratory


class Fault(StrEnum):
    """What a lamp may lack."""

    BULB = "bulb"
    FUSE = "fuse"
    PLUG = "plug"


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """It is lit when nothing is broken."""

    broken: frozenset[Fault]
    copied: bool = False

    def is_lit(self) -> bool:
        return not self.broken


@dataclass(frozen=True, kw_only=True)
class Dark:
    """The symptom: there is no light."""

    def is_gone_in(self, after: bool) -> bool:
        return after


@dataclass(frozen=True, kw_only=True)
class Mend(Experiment[Lamp, bool, Dark]):
    cause: Fault
    control_lights: bool = False
    raises: type[BaseException] | None = None

    def in_words(self) -> str:
        return f"another {self.cause}"

    def changed(self, setting: Lamp, seen: bool, place: Dark) -> Lamp | None:
        if self.raises:
            raise self.raises("broke")
        whole = setting.broken - {self.cause}
        return None if whole == setting.broken else replace(setting, broken=whole, copied=True)

    def control(self, setting: Lamp) -> Lamp | None:
        return replace(setting, broken=frozenset(), copied=True) if self.control_lights else setting


def laboratory(*broken: Fault, mends: list[Mend] | None = None) -> Laboratory[Lamp, bool, Dark]:
    return Laboratory(
        setting=Lamp(broken=frozenset(broken)),
        observe=Lamp.is_lit,
        agrees=lambda lamp, seen: lamp.is_lit() == seen,
        experiments=mends or [Mend(cause=fault) for fault in Fault],
    )


@given(st.sets(st.sampled_from(Fault), min_size=1, max_size=2))
def test_all_causes_are_named_and_no_more_than_needed(broken: set[Fault]) -> None:
    proof = laboratory(*broken).explain(Dark())
    assert proof is not None
    assert {experiment.cause for experiment in proof.experiments} == broken
    assert proof.after


def test_what_two_changes_do_not_undo_has_no_proof() -> None:
    assert laboratory(*Fault).explain(Dark()) is None


def test_an_experiment_whose_control_shows_something_else_does_not_count() -> None:
    """The copy lights up by being copied: that it lights up with a new bulb says nothing of the bulb."""
    studied = laboratory(Fault.BULB, mends=[Mend(cause=Fault.BULB, control_lights=True)])
    assert studied.explain(Dark()) is None
    assert studied.uncounted == ["another bulb: the same copy with nothing changed shows something else"]


class PanicException(BaseException):
    """As Rust's: no ``Exception``."""


@pytest.mark.parametrize("error", [RuntimeError, PanicException])
def test_an_experiment_that_raises_is_not_the_end_of_the_others(error: type[BaseException]) -> None:
    studied = laboratory(Fault.FUSE, mends=[Mend(cause=Fault.BULB, raises=error), Mend(cause=Fault.FUSE)])
    proof = studied.explain(Dark())
    assert proof is not None
    assert [experiment.cause for experiment in proof.experiments] == [Fault.FUSE]
    assert studied.uncounted == [f"another bulb: {error.__name__}: broke"]


def test_an_interrupt_is_no_failed_experiment() -> None:
    with pytest.raises(KeyboardInterrupt):
        laboratory(Fault.BULB, mends=[Mend(cause=Fault.BULB, raises=KeyboardInterrupt)]).explain(Dark())


def test_one_setting_is_observed_once() -> None:
    observed: list[Lamp] = []

    def observe(lamp: Lamp) -> bool:
        observed.append(lamp)
        return lamp.is_lit()

    studied = Laboratory[Lamp, bool, Dark](
        setting=Lamp(broken=frozenset(Fault)),
        observe=observe,
        agrees=lambda lamp, seen: True,
        experiments=[Mend(cause=fault) for fault in Fault],
    )
    for _ in range(3):
        assert studied.explain(Dark()) is None
    assert len(observed) == len(set(observed)) == 7
