"""A drift table in a few numbers and three plain sentences, added up batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab import render
from chatlab.echo.cut import STRATEGIES
from chatlab.echo.cutting.outcome import EXACT, NOT_APPLICABLE
from chatlab.echo.cutting.strategy import WAYS, Way
from chatlab.echo.edits import CURES, Cause
from chatlab.errors import ChatlabError
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.echo.trace import EchoTrace
    from chatlab.plots import Drawing

WAY_WORDS: dict[Way, str] = {
    "length": "Cutting by length",
    "search": "Searching for the prompt",
    "ids": "Decoding the output ids",
    "own": "Your own way",
}
_NEEDED = (
    "dialogue",
    "turn",
    "strategy",
    "effect",
    "effect_len",
    "first_piece_space",
    "first_echo_offset",
    "echo_drift",
)


class _Kind(NamedTuple):
    """Replies that a summary does not tell apart."""

    strategy: str
    spaced: bool
    later: bool
    effect: str
    effect_len: int


class CutCount(NamedTuple):
    """What one way of cutting did to many replies."""

    strategy: str
    replies: int
    """Those to which it is applicable."""
    wrong: int
    wrong_share: float
    """Of the replies to which it is applicable; not a number where there are none."""
    mostly: str
    """The commonest thing done to a wrong reply."""
    not_applicable: int


class DriftTally(Result):
    """What a drift table says, in memory that does not grow with the table.

    Give it what ``measure_drift`` gave, or feed it the frames of ``iter_drift`` with :meth:`add`; the summaries are
    DataFrames.

    Raises:
        ChatlabError: a frame is none of these.
    """

    title = "Echo drift over many dialogues"

    def __init__(self, frames: pd.DataFrame | Iterable[pd.DataFrame] = ()) -> None:
        """Add up ``frames``; one may stand alone."""
        self.turn_count = 0
        self.drifted_count = 0
        self._replies: Counter[_Kind] = Counter()
        self._ways: dict[str, Way] = {}
        self._drift: Counter[tuple[int, int]] = Counter()
        self.cause_counts: Counter[Cause] = Counter()
        self.traced_count = 0
        given: Iterable[Any] = [frames] if hasattr(frames, "columns") else frames
        for frame in given:
            self.add(frame)

    def add(self, frame: pd.DataFrame) -> None:
        """Add one frame."""
        if lacking := [name for name in _NEEDED if name not in getattr(frame, "columns", ())]:
            raise ChatlabError(
                f"a DriftTally adds up what measure_drift or iter_drift gave: this {type(frame).__name__} has no "
                f"{', '.join(lacking)}"
            )
        columns = ["strategy", "first_piece_space", "turn", "effect", "effect_len"]
        for strategy, spaced, turn, effect, length in frame[columns].itertuples(index=False, name=None):
            self._replies[_Kind(strategy, spaced, turn > 1, effect, length)] += 1
        self._ways |= _ways_of(frame)
        once = one_row_a_reply(frame)
        self.turn_count += len(once)
        self.drifted_count += int((once["first_echo_offset"] >= 0).sum())
        self._drift.update(zip(once["turn"], once["echo_drift"], strict=True))

    def add_traces(self, traces: Iterable[EchoTrace]) -> None:
        """Add the causes found in traced prompts."""
        for trace in traces:
            self.traced_count += 1
            self.cause_counts.update(trace.cause_counts())

    @property
    def is_exact(self) -> bool:
        """Whether every echo was the prompt without its control tokens."""
        return self.drifted_count == 0

    def by_strategy(self) -> pd.DataFrame:
        """Return one row a strategy: replies, wrong ones, their share, and the commonest thing done to them.

        Replies to which it is not applicable stand in a column of their own: they are neither right nor wrong, and no
        part of the others.
        """
        import pandas as pd

        return pd.DataFrame(self.cut_counts(), columns=list(CutCount._fields))

    def cut_counts(self) -> list[CutCount]:
        """Return the rows of :meth:`by_strategy`."""
        return [self._count(strategy) for strategy in self._ways]

    def worst_first(self) -> list[CutCount]:
        """Return the cuts that spoil replies, the one that spoils the largest share first."""
        return sorted((cut for cut in self.cut_counts() if cut.wrong), key=lambda cut: cut.wrong_share, reverse=True)

    def by_first_piece(self) -> pd.DataFrame:
        """Return wrong replies by strategy, by whether the first piece carries a space, and by turn 1 or later.

        Replies to which a strategy is not applicable are left out.
        """
        import pandas as pd

        cells, wrong = Counter[tuple[str, bool, bool]](), Counter[tuple[str, bool, bool]]()
        for kind, count in self._replies.items():
            if kind.effect != NOT_APPLICABLE.effect:
                cells[kind[:3]] += count
                wrong[kind[:3]] += count * (kind.effect != EXACT.effect)
        order = {name: n for n, name in enumerate(self._ways)}
        rows = [
            (name, "space" if spaced else "no space", "2 or later" if later else "1", total, wrong[name, spaced, later])
            for (name, spaced, later), total in sorted(
                cells.items(), key=lambda item: (order[item[0][0]], *item[0][1:])
            )
        ]
        frame = pd.DataFrame(rows, columns=["strategy", "first_piece", "turn", "replies", "wrong"])
        return frame.assign(wrong_share=frame["wrong"] / frame["replies"])

    def by_turn(self) -> pd.DataFrame:
        """Return how many prompts of each turn have which echo drift."""
        import pandas as pd

        rows = [(turn, drift, count) for (turn, drift), count in sorted(self._drift.items())]
        return pd.DataFrame(rows, columns=["turn", "echo_drift", "prompts"])

    def causes(self) -> pd.DataFrame:
        """Return the causes of the traced prompts' edits, most first, with their cures."""
        import pandas as pd

        rows = [(str(cause), count, CURES[cause]) for cause, count in self.cause_counts.most_common()]
        return pd.DataFrame(rows, columns=["cause", "edits", "cure"])

    def verdict(self) -> list[str]:
        """Return three sentences: whether it drifts and why, what that does to replies, what to do.

        The second names every cut that spoils a reply, under what it goes by, the worst first.
        """
        return [self._drift_sentence(), self._damage_sentence(), self._cure_sentence()]

    def __str__(self) -> str:
        return "\n".join(map(render.readable, self.verdict()))

    def body(self) -> str:
        """Return the three sentences and what each way of cutting does, as escaped HTML."""
        columns = ("strategy", "replies", "wrong", "share", "mostly", "not applicable")
        rows = [(*count[:3], share_text(count.wrong_share), *count[4:]) for count in self.cut_counts()]
        return render.list_html(self.verdict()) + render.table_html(columns, rows, "Replies by strategy")

    def to_frame(self) -> pd.DataFrame:
        """Return one row a strategy, as :meth:`by_strategy`."""
        return self.by_strategy()

    def figure(self) -> Drawing:
        """Draw the share of wrong replies of each strategy."""
        from chatlab.plots import plot_wrong_replies

        return plot_wrong_replies(self.by_first_piece())

    def _count(self, strategy: str) -> CutCount:
        effects = Counter[tuple[str, int]]()
        for kind, count in self._replies.items():
            if kind.strategy == strategy:
                effects[kind.effect, kind.effect_len] += count
        idle, exact = (effects.pop(outcome[:2], 0) for outcome in (NOT_APPLICABLE, EXACT))
        wrong = effects.total()
        replies = wrong + exact
        commonest = [f"{effect} {length}" for (effect, length), _ in effects.most_common(1)]
        mostly = commonest[0] if commonest else "exact" if replies else ""
        return CutCount(strategy, replies, wrong, wrong / replies if replies else float("nan"), mostly, idle)

    def _main_cause(self) -> Cause | None:
        counts = Counter({c: n for c, n in self.cause_counts.items() if c is not Cause.SPECIAL_REMOVED})
        return counts.most_common(1)[0][0] if counts else None

    def _drift_sentence(self) -> str:
        if not self.turn_count:
            return "No prompt was measured."
        if self.is_exact:
            return f"The echo is the prompt on all {self.turn_count:,} prompts, once control tokens are left out."
        drifts = {drift for _, drift in self._drift}
        span = (
            f"between {min(drifts):+d} and {max(drifts):+d} characters" if len(drifts) > 1 else f"by {min(drifts):+d}"
        )
        span = span if any(drifts) else "with as many characters"
        cause = self._main_cause()
        why = f"; the main cause is: {cause}" if cause else ""
        law = ", one character a turn after the first" if self._is_one_a_turn() else ""
        return f"The echo differs from the prompt on {self.drifted_count:,} of {self.turn_count:,} prompts, {span}{law}{why}."

    def _is_one_a_turn(self) -> bool:
        on_law = sum(count for (turn, drift), count in self._drift.items() if drift == turn - 1)
        return on_law > 0.9 * self.turn_count and any(turn > 1 for turn, _ in self._drift)

    def _damage_sentence(self) -> str:
        spoils: dict[Way, list[str]] = {}
        for cut in self.worst_first():
            share = f"{_rounded(cut.wrong_share)}, mostly {cut.mostly}"
            told = f"{cut.strategy} spoils {cut.wrong:,} of {cut.replies:,} replies ({share})"
            spoils.setdefault(self._ways[cut.strategy], []).append(told)
        sentences = [f"{WAY_WORDS[way]}: {'; '.join(names)}" for way, names in spoils.items()]
        idle = [cut.strategy for cut in self.cut_counts() if not cut.replies]
        sentences += [f"Not applicable: {', '.join(idle)}"] if idle else []
        return ". ".join(sentences if spoils else ["No measured way of cutting spoils a reply", *sentences]) + "."

    def _cure_sentence(self) -> str:
        exact = next((cut for cut in self.cut_counts() if cut.strategy == "exact"), None)
        count = f", wrong on {exact.wrong:,} of {exact.replies:,}" if exact else ""
        cause = self._main_cause()
        also = f" Against the cause: {CURES[cause]}." if cause and not self.is_exact else ""
        return f"Cut by token count (exact{count}): decode only the output ids, through StreamingDetokenizer.{also}"


def one_row_a_reply(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the strategy that has most: a drift table has a row for each reply and strategy."""
    counts = frame["strategy"].value_counts()
    return frame[frame["strategy"] == counts.index[0]] if len(frame) else frame


def share_text(share: float) -> str:
    """Return a share in per cent; nothing was counted where it is not a number."""
    return "" if share != share else f"{share:.1%}"


def _rounded(share: float) -> str:
    """Return a share above 0 in whole per cent, and never as none or all where it is neither."""
    return "under 1%" if share < 0.005 else "over 99%" if 0.995 <= share < 1 else f"{share:.0%}"


def _ways_of(frame: pd.DataFrame) -> dict[str, Way]:
    """Return what each strategy of a table goes by; a table of another version does not say it."""
    if "way" in frame:
        pairs = frame[["strategy", "way"]].drop_duplicates("strategy").itertuples(index=False, name=None)
        return {name: way if way in WAYS else "own" for name, way in pairs}
    return {name: STRATEGIES[name].way if name in STRATEGIES else "own" for name in frame["strategy"].unique()}
