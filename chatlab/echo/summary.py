"""A drift table in a few numbers and three plain sentences, added up batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from chatlab import render
from chatlab.echo.cut import STRATEGIES
from chatlab.echo.edits import CURES, Cause
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.echo.trace import EchoTrace
    from chatlab.plots import Drawing


class DriftTally(Result):
    """What a drift table says, in memory that does not grow with the table.

    Feed it the frames of ``iter_drift`` with :meth:`add`; the summaries are DataFrames.
    """

    title = "Echo drift over many dialogues"

    def __init__(self, frames: Iterable[pd.DataFrame] = ()) -> None:
        """Add up ``frames``."""
        self.turn_count = 0
        self.drifted_count = 0
        self._replies: Counter[tuple[str, bool, bool, str, int]] = Counter()
        self._drift: Counter[tuple[int, int]] = Counter()
        self.cause_counts: Counter[Cause] = Counter()
        self.traced_count = 0
        for frame in frames:
            self.add(frame)

    def add(self, frame: pd.DataFrame) -> None:
        """Add one frame."""
        columns = ["strategy", "first_piece_space", "turn", "effect", "effect_len"]
        for strategy, spaced, turn, effect, length in frame[columns].itertuples(index=False, name=None):
            self._replies[strategy, spaced, turn > 1, effect, length] += 1
        once = frame.drop_duplicates(["dialogue", "turn"])
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
        """Return one row a strategy: replies, wrong ones, their share, and the commonest thing done to them."""
        import pandas as pd

        rows = []
        for strategy in self._strategies():
            effects = Counter[tuple[str, int]]()
            for (name, _, _, effect, length), count in self._replies.items():
                if name == strategy:
                    effects[effect, length] += count
            total, wrong = effects.total(), effects.total() - effects["exact", 0]
            commonest = next(((e, n) for (e, n), _ in effects.most_common() if e != "exact"), None)
            does = "exact" if commonest is None else f"{commonest[0]} {commonest[1]}"
            rows.append((strategy, total, wrong, wrong / total if total else 0.0, does))
        return pd.DataFrame(rows, columns=["strategy", "replies", "wrong", "wrong_share", "mostly"])

    def by_first_piece(self) -> pd.DataFrame:
        """Return wrong replies by strategy, by whether the first piece carries a space, and by turn 1 or later."""
        import pandas as pd

        cells: Counter[tuple[str, bool, bool]] = Counter()
        wrong: Counter[tuple[str, bool, bool]] = Counter()
        for (name, spaced, later, effect, _), count in self._replies.items():
            cells[name, spaced, later] += count
            wrong[name, spaced, later] += count * (effect != "exact")
        order = {name: n for n, name in enumerate(self._strategies())}
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
        """Return three sentences: whether it drifts and why, what that does to replies, what to do."""
        return [self._drift_sentence(), self._damage_sentence(), self._cure_sentence()]

    def __str__(self) -> str:
        return "\n".join(map(render.readable, self.verdict()))

    def body(self) -> str:
        """Return the three sentences and what each way of cutting does, as escaped HTML."""
        rows = [
            (row.strategy, row.replies, row.wrong, f"{row.wrong_share:.1%}", row.mostly)
            for row in self.by_strategy().itertuples()
        ]
        columns = ("strategy", "replies", "wrong", "share", "mostly")
        return render.list_html(self.verdict()) + render.table_html(columns, rows, "Replies by strategy")

    def to_frame(self) -> pd.DataFrame:
        """Return one row a strategy, as :meth:`by_strategy`."""
        return self.by_strategy()

    def figure(self) -> Drawing:
        """Draw the share of wrong replies of each strategy."""
        from chatlab.plots import plot_wrong_replies

        return plot_wrong_replies(self.by_first_piece())

    def _strategies(self) -> list[str]:
        seen = {name for name, *_ in self._replies}
        return [name for name in STRATEGIES if name in seen]

    def _main_cause(self) -> Cause | None:
        counts = Counter({c: n for c, n in self.cause_counts.items() if c is not Cause.SPECIAL_REMOVED})
        return counts.most_common(1)[0][0] if counts else None

    def _drift_sentence(self) -> str:
        if self.is_exact:
            return f"The echo is the prompt on all {self.turn_count:,} prompts, once control tokens are left out."
        drifts = [drift for (_, drift), count in self._drift.items() for _ in range(count)]
        span = (
            f"between {min(drifts):+d} and {max(drifts):+d} characters"
            if min(drifts) < max(drifts)
            else f"by {drifts[0]:+d}"
        )
        cause = self._main_cause()
        why = f"; the main cause is: {cause}" if cause else ""
        law = ", one character a turn after the first" if self._is_one_a_turn() else ""
        return f"The echo differs from the prompt on {self.drifted_count:,} of {self.turn_count:,} prompts, {span}{law}{why}."

    def _is_one_a_turn(self) -> bool:
        on_law = sum(count for (turn, drift), count in self._drift.items() if drift == turn - 1)
        return on_law > 0.9 * self.turn_count and any(turn > 1 for turn, _ in self._drift)

    def _damage_sentence(self) -> str:
        table = self.by_strategy().set_index("strategy")
        wrong = [
            f"{name} spoils {row.wrong:,} of {row.replies:,} replies ({row.wrong_share:.0%}, mostly {row.mostly})"
            for name, row in table.iterrows()
            if row.wrong and name in ("plain_prompt_chars", "prompt_class_rule", "output_ids_alone")
        ]
        return (
            "Cutting by characters: " + "; ".join(wrong) if wrong else "No common way of cutting spoils a reply"
        ) + "."

    def _cure_sentence(self) -> str:
        table = self.by_strategy().set_index("strategy")
        count = f", wrong on {table.wrong['exact']} of {table.replies['exact']:,}" if "exact" in table.index else ""
        cause = self._main_cause()
        also = f" Against the cause: {CURES[cause]}." if cause and not self.is_exact else ""
        return f"Cut by token count (exact{count}): decode only the output ids, through StreamingDetokenizer.{also}"
