"""A table of borders in a few numbers and three plain sentences, added up batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import ChatlabError
from chatlab.results import Result
from chatlab.turns.edits import KNOWN, Cause, Told

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

_NEEDED = ("dialogue", "turn", "kept_len", "lost_len", "kept", "cause", "reread_len", "wasted_len", "next_len")


class TurnsTally(Result):
    """What the frames of ``measure_turns`` or ``iter_turns`` say, in memory that does not grow with them.

    Raises:
        ChatlabError: a frame is none of these.
    """

    title = "Conversations kept and lost"

    def __init__(self, frames: pd.DataFrame | Iterable[pd.DataFrame] = ()) -> None:
        """Add up ``frames``; one may stand alone."""
        self.border_count = self.lost_count = self.read_len = self.reread_len = self.wasted_len = 0
        self._causes: Counter[str] = Counter()
        self._lost_ids: Counter[str] = Counter()
        self._designs: dict[str, str] = {}
        self._turns: Counter[int] = Counter()
        self._lost_turns: Counter[int] = Counter()
        self._tokenizers: dict[str, None] = {}
        given: Iterable[Any] = [frames] if hasattr(frames, "columns") else frames
        for frame in given:
            self.add(frame)

    def add(self, frame: pd.DataFrame) -> None:
        """Add one frame."""
        if lacking := [name for name in _NEEDED if name not in getattr(frame, "columns", ())]:
            raise ChatlabError(
                f"a TurnsTally adds up what measure_turns or iter_turns gave: this {type(frame).__name__} has no "
                f"{', '.join(lacking)}"
            )
        lost = frame[~frame["kept"].astype(bool)]
        self.border_count += len(frame)
        self.lost_count += len(lost)
        for name in ("reread_len", "wasted_len"):
            setattr(self, name, getattr(self, name) + int(frame[name].sum()))
        self.read_len += int(frame["next_len"].sum())
        self._turns.update(map(int, frame["turn"]))
        self._lost_turns.update(map(int, lost["turn"]))
        for cause, lost_len in zip(lost["cause"].astype(str), lost["lost_len"], strict=True):
            self._causes[cause] += 1
            self._lost_ids[cause] += int(lost_len)
        if "design" in frame:
            pairs = zip(lost["cause"].astype(str), lost["design"].astype(str), strict=True)
            self._designs |= {cause: design for cause, design in pairs if design}
        if "tokenizer" in frame:
            self._tokenizers |= dict.fromkeys(frame["tokenizer"].astype(str).unique())

    @property
    def is_kept(self) -> bool:
        """Whether every border was kept."""
        return not self.lost_count

    def by_cause(self) -> pd.DataFrame:
        """Return one row a cause, most first: its layer, borders and ids lost, who is hurt, the cure, the design."""
        import pandas as pd

        rows = [
            (cause, _told(cause).layer, count, self._lost_ids[cause], ", ".join(_told(cause).hurts), _told(cause).cure,
             self._designs.get(cause, ""))
            for cause, count in self._causes.most_common()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["cause", "layer", "borders", "lost_ids", "hurts", "cure", "design"])

    def by_turn(self) -> pd.DataFrame:
        """Return one row a turn: borders, how many are lost, their share."""
        import pandas as pd

        rows = [(turn, count, self._lost_turns[turn]) for turn, count in sorted(self._turns.items())]
        frame = pd.DataFrame(rows, columns=["turn", "borders", "lost"])
        return frame.assign(lost_share=frame["lost"] / frame["borders"])

    def verdict(self) -> list[str]:
        """Return three sentences: how much is kept, why not more, what to do."""
        if not self.border_count:
            return ["No border between two calls was measured."]
        share = f"{self.lost_count / self.border_count:.1%}"
        who = ", ".join(self._tokenizers) or "The tokenizer"
        read = f"a server reads {self.reread_len:,} of {self.read_len:,} ids anew, and held {self.wasted_len:,} for nothing"
        if self.is_kept:
            return [
                f"{who}: all {self.border_count:,} borders are kept: every next prompt begins with what was seen and said.",
                f"So {read}.",
                "There is nothing to cure.",
            ]
        first = f"{who}: {self.lost_count:,} of {self.border_count:,} borders are lost ({share}); {read}."
        ((main, _),) = self._causes.most_common(1)
        if not main:
            return [
                first,
                "Nobody looked why: measure with trace=True.",
                "Keep the sampled ids; do not encode them again.",
            ]
        counts = "; ".join(
            f"{cause} ({_told(cause).layer or 'unknown'}) {n:,}" for cause, n in self._causes.most_common(4)
        )
        meant = f" It is meant: {self._designs[main]}." if main in self._designs else ""
        return [first, f"Why: {counts}.{meant}", f"What to do: {_told(main).cure}."]

    def __str__(self) -> str:
        return "\n".join(map(render.readable, self.verdict()))

    def body(self) -> str:
        """Return the three sentences and the causes, as escaped HTML."""
        causes = self.by_cause()
        rows = list(causes.itertuples(index=False, name=None))
        table = render.table_html([str(c) for c in causes.columns], rows, "Lost borders by cause") if rows else ""
        return render.list_html(self.verdict()) + table

    def to_frame(self) -> pd.DataFrame:
        """Return one row a cause, as :meth:`by_cause`."""
        return self.by_cause()

    def figure(self) -> Drawing:
        """Draw how many borders each cause loses."""
        from chatlab.plots import plot_turn_causes

        return plot_turn_causes(self.by_cause())


def _told(causes: str) -> Told:
    """What is known of the first of some causes."""
    first = causes.split(" + ")[0]
    return KNOWN[Cause(first) if first in set(Cause) else Cause.UNEXPLAINED]
