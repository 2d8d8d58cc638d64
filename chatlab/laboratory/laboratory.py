"""Run experiments on one setting, each with its null control.

**Law L4.** A cause is given only with the experiment that proves it: change that one thing and the difference is gone,
*while the same copy with nothing changed still shows what the original shows*. Two causes together are given only
where neither alone is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Generic

from chatlab.laboratory.experiment import Experiment, Place, Seen, Setting, in_words
from chatlab.tokenizers.interface import is_panic


@dataclass(frozen=True, kw_only=True)
class Proof(Generic[Setting, Seen, Place]):
    """The experiments that only together undid a difference, mostly one, and what was observed after them."""

    experiments: tuple[Experiment[Setting, Seen, Place], ...]
    after: Seen


@dataclass(kw_only=True)
class Laboratory(Generic[Setting, Seen, Place]):
    """One setting under study; what was observed in its changed copies is kept, for other differences to use."""

    setting: Setting
    observe: Callable[[Setting], Seen]
    agrees: Callable[[Setting, Seen], bool]
    """Whether a setting shows what was observed: what a null control must hold."""
    experiments: Sequence[Experiment[Setting, Seen, Place]]
    """Every experiment that changes something, likeliest first among those that apply to one shape."""
    last_resorts: Sequence[Experiment[Setting, Seen, Place]] = ()
    """Those tried where no change undoes a difference, alone or beside another."""
    before: Seen = field(init=False)
    uncounted: list[str] = field(init=False, default_factory=list)
    """Why experiments did not count: their control failed, or they did."""
    _seen: dict[Setting, Seen | None] = field(init=False, default_factory=dict)
    _controlled: dict[tuple[int, ...], bool] = field(init=False, default_factory=dict)
    _controls: dict[Setting, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self._seen[self.setting] = self.observe(self.setting)

    def explain(self, place: Place) -> Proof[Setting, Seen, Place] | None:
        """Return the first proof of one experiment, else the first of two that are not enough alone."""
        for likely in (True, False):
            for experiment in self.experiments:
                if experiment.applies(place) is likely and (proof := self.prove(place, experiment)):
                    return proof
        for one, other in combinations(sorted(self.experiments, key=lambda experiment: experiment.comes_last), 2):
            if one.cause is not other.cause and (proof := self.prove(place, one, other)):
                return proof
        return next(filter(None, (self.prove(place, experiment) for experiment in self.last_resorts)), None)

    def prove(self, place: Place, *experiments: Experiment[Setting, Seen, Place]) -> Proof[Setting, Seen, Place] | None:
        """Make experiments together; return the proof if the difference is gone and the control still shows it."""
        after = self._after(place, experiments)
        if after is None or not all(experiment.undoes(place, after) for experiment in experiments):
            return None
        if not any(experiment.suffices(place) for experiment in experiments) or not self._has_control(experiments):
            return None
        likely = sorted(experiments, key=lambda experiment: not experiment.applies(place))
        return Proof(experiments=tuple(likely), after=after)

    def _after(self, place: Place, experiments: Sequence[Experiment[Setting, Seen, Place]]) -> Seen | None:
        setting, seen = self.setting, self.before
        for experiment in experiments:
            try:
                changed = experiment.changed(setting, seen, place)
            except BaseException as error:
                self._note_failure(experiment, error)
                return None
            again = None if changed is None else self._observed(changed, experiments)
            if changed is None or again is None:
                return None
            setting, seen = changed, again
        return seen

    def _observed(self, setting: Setting, experiments: Sequence[Experiment[Setting, Seen, Place]]) -> Seen | None:
        if setting not in self._seen:
            try:
                self._seen[setting] = self.observe(setting)
            except BaseException as error:
                self._seen[setting] = None
                self._note_failure(experiments[-1], error)
        return self._seen[setting]

    def _has_control(self, experiments: Sequence[Experiment[Setting, Seen, Place]]) -> bool:
        key = tuple(map(id, experiments))
        if key not in self._controlled:
            setting: Setting | None = self.setting
            for experiment in experiments:
                setting = None if setting is None else experiment.control(setting)
            why = self._control_fault(setting)
            self._controlled[key] = not why
            if why:
                self._note(f"{in_words(experiments)}: the same copy with nothing changed {why}")
        return self._controlled[key]

    def _control_fault(self, setting: Setting | None) -> str:
        if setting is None:
            return "cannot be made"
        if setting != self.setting and setting not in self._controls:
            try:
                agrees = self.agrees(setting, self.before)
                self._controls[setting] = "" if agrees else "shows something else"
            except BaseException as error:
                if not isinstance(error, Exception) and not is_panic(error):
                    raise
                self._controls[setting] = f"fails: {type(error).__name__}: {error}"
        return self._controls.get(setting, "")

    def _note_failure(self, experiment: Experiment[Setting, Seen, Place], error: BaseException) -> None:
        if not isinstance(error, Exception) and not is_panic(error):
            raise error
        self._note(f"{experiment.in_words()}: {type(error).__name__}: {error}")

    def _note(self, why: str) -> None:
        if why not in self.uncounted:
            self.uncounted.append(why)
