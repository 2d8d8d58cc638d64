"""Drift over many dialogues, by tokenizer, strategy, turn and the reply's first piece: pick, and the figures follow."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets

from chatlab import render
from chatlab.echo.summary import DriftTally, share_text
from chatlab.errors import ViewError
from chatlab.plots import plot_drift_by_turn, plot_wrong_replies
from chatlab.results import Bundle, Result, styled
from chatlab.widgets.arguments import check
from chatlab.widgets.live_view import LiveView, closed

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

ALL = "all"
COLUMNS = frozenset(
    ("dialogue", "turn", "strategy", "effect", "effect_len", "first_piece_space", "first_echo_offset", "echo_drift")
)
"""Those of ``measure_drift``'s table that are drawn."""
WORST = 3
"""Cuts that the line names."""


class DriftExplorer(LiveView, ipywidgets.VBox, Result):  # type: ignore[misc]
    """Controls above two figures of a drift table and one line that says how many replies each cut spoils.

    Args:
        frames: what ``measure_drift`` gave; by name, such as ``{"legacy": frame, "fixed": other}``, to compare
            tokenizers.

    Raises:
        ViewError: there is no table, or one that ``measure_drift`` did not give.
    """

    title = DriftTally.title
    _stand_in = "A drift explorer stands here while the notebook runs; what it showed last is saved below."

    def __init__(self, frames: pd.DataFrame | Mapping[str, pd.DataFrame]) -> None:
        self._frames = dict(frames) if isinstance(frames, Mapping) else {"tokenizer": frames}
        _check(self._frames)
        turns = sorted({int(turn) for frame in self._frames.values() for turn in frame["turn"].unique()})
        strategies = list(dict.fromkeys(s for frame in self._frames.values() for s in frame["strategy"].unique()))
        self.tokenizer = ipywidgets.Dropdown(options=list(self._frames), description="Tokenizer")
        self.strategy = ipywidgets.Dropdown(options=[ALL, *strategies], description="Cut")
        self.turn = ipywidgets.Dropdown(options=[ALL, *map(str, turns)], description="Turn")
        self.first_piece = ipywidgets.Dropdown(options=[ALL, "space", "no space"], description="First piece")
        self._pictures = (ipywidgets.HTML(), ipywidgets.HTML())
        self._line = ipywidgets.Label()
        controls = (self.tokenizer, self.strategy, self.turn, self.first_piece)
        for control in controls:
            control.observe(lambda _: self._draw(), "value")
        self._draw()
        rows = {"flex_flow": "row wrap"}
        super().__init__(
            [ipywidgets.HBox(controls, layout=rows), self._line, ipywidgets.HBox(self._pictures, layout=rows)]
        )

    def chosen(self) -> pd.DataFrame:
        """Return the rows of the table that the controls choose."""
        frame = self._frames[self.tokenizer.value]
        if self.strategy.value != ALL:
            frame = frame[frame["strategy"] == self.strategy.value]
        if self.turn.value != ALL:
            frame = frame[frame["turn"] == int(self.turn.value)]
        if self.first_piece.value != ALL:
            frame = frame[frame["first_piece_space"] == (self.first_piece.value == "space")]
        return frame

    def summary(self) -> str:
        """Return one line: how many replies there are, and what the chosen cuts do to them."""
        cuts = self._tally.cut_counts()
        if len(cuts) < 2:
            replies, wrong = (cuts[0].replies, cuts[0].wrong) if cuts else (0, 0)
            by = f", cut by {cuts[0].strategy}" if cuts else ""
            return f"{wrong:,} of {replies:,} replies are wrong ({wrong / max(replies, 1):.1%}){by}"
        spoiling = self._tally.worst_first()
        worst = ", ".join(f"{cut.strategy} ({share_text(cut.wrong_share)})" for cut in spoiling[:WORST])
        told = f"replies are wrong after {len(spoiling)} of them, most after {worst}" if spoiling else "none is wrong"
        return f"{self._tally.turn_count:,} replies, {len(cuts)} cuts each: {told}"

    def __str__(self) -> str:
        return self.summary()

    def body(self) -> str:
        """Return the summary, both pictures and the table of what is chosen, as escaped HTML."""
        return render.paragraph_html(self.summary()) + "".join(self._drawn) + self._tally.body()

    def to_frame(self) -> pd.DataFrame:
        """Return the chosen rows, as :meth:`chosen`."""
        return self.chosen()

    def figure(self) -> Drawing:
        """Draw the echo drift of what is chosen, turn by turn."""
        return plot_drift_by_turn(self._tally.by_turn())

    def _draw(self) -> None:
        self._tally = DriftTally([self.chosen()])
        self._by_turn = self.figure().png()
        by_cut = plot_wrong_replies(self._tally.by_first_piece()).png()
        self._drawn = (_picture(self._by_turn, "Echo drift by turn"), _picture(by_cut, "Wrong replies by cut"))
        for place, picture in zip(self._pictures, self._drawn, strict=True):
            place.value = styled(picture)
        self._line.value = self.summary()
        self._keep()

    def _static_form(self) -> Bundle:
        return closed(f"{self.title}: {self.summary()}", str(self), self.body())

    def _repr_mimebundle_(self, **kwargs: Any) -> Bundle:
        still = {"text/plain": str(self), "text/html": self.html(), "image/png": self._by_turn}
        return {**super()._repr_mimebundle_(**kwargs), **still}


def _check(frames: Mapping[str, Any]) -> None:
    import pandas as pd

    if not frames:
        raise ViewError(
            "there is no table to explore: give what measure_drift(dialogues, prompt_class, tokenizer) gave"
        )
    for name, frame in frames.items():
        check(f"the table {name!r}", frame, pd.DataFrame, "what measure_drift gave")
        if lacking := sorted(COLUMNS - set(frame.columns)):
            raise ViewError(f"the table {name!r} is none of measure_drift: it has no column {', '.join(lacking)}")
        if not pd.api.types.is_integer_dtype(frame["turn"]):
            raise ViewError(f"the table {name!r} must have whole numbers in its column turn, not {frame['turn'].dtype}")


def _picture(png: bytes, alt: str) -> str:
    """The picture with words for those who do not see it, which ``ipywidgets.Image`` cannot carry."""
    return render.image_html(f"data:image/png;base64,{b64encode(png).decode()}", alt)
