"""What a traced conversation is: kept and lost ids at each border, every difference with its cause, the replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from chatlab import render
from chatlab.plain import Plain
from chatlab.results import Result
from chatlab.turns.border import Border, TokenIds
from chatlab.turns.edits import KNOWN, Cause, Edit

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

EDIT_CAP = 300
"""Edits shown at most, so that no output grows past what a code host draws."""
DOUBT_CAP = 3
"""Experiments that do not count, named at most in a summary."""


@dataclass(frozen=True, kw_only=True)
class TurnTrace(Plain):
    """One border between two calls: what the model said, and how the next prompt begins."""

    told_beside = ("is_kept",)

    number: int
    """The call whose reply it is, from 1."""
    prompt_len: int
    """Ids of the prompt."""
    reply_ids: TokenIds
    reply: str
    """Their text, without the end token."""
    end_len: int
    kept_len: int
    lost_len: int
    cached_len: int
    reread_len: int
    edits: tuple[Edit, ...]
    bridge_ids: TokenIds
    """What the next prompt has behind the reply: all that a kept conversation would have to read."""

    @property
    def is_kept(self) -> bool:
        """Whether nothing was lost."""
        return not self.lost_len

    def next_ids(self, prompt_ids: Sequence[int]) -> TokenIds:
        """Return the next prompt: prompt and reply with the edits applied, and the bridge."""
        ids = [*prompt_ids, *self.reply_ids]
        for edit in reversed(self.edits):
            ids[slice(*edit.said_span)] = edit.next_ids
        return (*ids, *self.bridge_ids)


@dataclass(frozen=True, kw_only=True)
class TurnsTrace(Result, Plain):
    """A conversation as the model saw it, and every place where the next prompt is another.

    **Law L9.** Each turn's edits turn what was seen and said into the beginning of the next prompt: :meth:`replay` gives
    the prompts.
    """

    title = "Conversation"
    told_beside = ("is_kept",)

    dialogue: str
    tokenizer: str
    loader: str
    versions: Mapping[str, str]
    prompt_class: str
    stored: str
    first_ids: TokenIds
    """The first prompt."""
    turns: tuple[TurnTrace, ...]
    """One for each border: a conversation of one call has none."""
    pieces: Mapping[str, str]
    """Each id that occurs, as text, with its vocabulary entry."""
    uncounted: tuple[str, ...] = ()
    """Experiments that do not count, and why."""

    @property
    def is_kept(self) -> bool:
        """Whether every next prompt begins with all that was seen and said."""
        return all(turn.is_kept for turn in self.turns)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits of all turns."""
        return tuple(edit for turn in self.turns for edit in turn.edits)

    def replay(self) -> list[TokenIds]:
        """Return every prompt, the first one first, each made of the one before, the reply, the edits and the bridge."""
        prompts = [self.first_ids]
        for turn in self.turns:
            prompts.append(turn.next_ids(prompts[-1]))
        return prompts

    def borders(self) -> list[Border]:
        """Return the borders in ids."""
        return [
            Border(prompt_ids=prompt, reply_ids=turn.reply_ids, next_ids=after, end_len=turn.end_len)
            for (prompt, after), turn in zip(pairwise(self.replay()), self.turns, strict=True)
        ]

    def cause_counts(self) -> dict[Cause, int]:
        """How many edits each cause has, most first; a cause that is one beside another counts too."""
        return dict(Counter(cause for edit in self.edits for cause in (edit.cause, *edit.also)).most_common())

    def sentences(self) -> list[str]:
        """Return three plain sentences: what is kept, why not, what to do."""
        lost = [turn for turn in self.turns if not turn.is_kept]
        if not self.turns:
            return [f"{self.tokenizer}: one call of the model has no border to a next one."]
        read, least = sum(t.reread_len for t in self.turns), sum(len(t.bridge_ids) for t in self.turns)
        if not lost:
            kept = f"{self.tokenizer}: all {len(self.turns)} borders are kept."
            return [kept, f"A server reads {read:,} ids anew, {least:,} of them new.", "There is nothing to cure."]
        counts = ", ".join(f"{n} × {cause} ({_layer(cause)})" for cause, n in self.cause_counts().items())
        main = next(edit for turn in lost for edit in turn.edits)
        meant = f" It is meant: {main.design}." if main.design else ""
        return [
            f"{self.tokenizer}: {len(lost)} of {len(self.turns)} borders are lost, {sum(t.lost_len for t in lost):,} ids; "
            f"a server reads {read:,} ids anew where {least:,} are new.",
            f"Why: {counts}.{meant} It hurts: {', '.join(main.hurts)}.",
            f"What to do: {main.cure}.",
        ]

    def __str__(self) -> str:
        return "\n".join([*self.sentences(), *self._doubts()])

    def _doubts(self) -> Iterator[str]:
        if self.uncounted:
            shown = "; ".join(render.visible(why) for why in self.uncounted[:DOUBT_CAP])
            more = f"; {len(self.uncounted) - DOUBT_CAP} more" if len(self.uncounted) > DOUBT_CAP else ""
            yield f"Experiments that do not count: {shown}{more}."

    def to_frame(self) -> pd.DataFrame:
        """Return one row an edit, those of kept turns left out where they have none."""
        import pandas as pd

        rows = [
            {
                "turn": turn.number,
                "kept_len": turn.kept_len,
                "lost_len": turn.lost_len,
                "said_offset": edit.said_offset,
                "said_text": edit.said_text,
                "next_text": edit.next_text,
                "said_pieces": " ".join(edit.said_pieces),
                "next_pieces": " ".join(edit.next_pieces),
                "layer": edit.layer,
                "cause": str(edit.cause),
                "also": ", ".join(edit.also),
                "evidence": edit.evidence.changed if edit.evidence else "",
                "cure": edit.cure,
                "design": edit.design,
            }
            for turn in self.turns
            for edit in turn.edits
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def figure(self) -> Drawing:
        """Draw kept and lost ids, turn by turn."""
        from chatlab.plots import plot_turns

        return plot_turns(
            [turn.number for turn in self.turns], [t.kept_len for t in self.turns], [t.lost_len for t in self.turns]
        )

    def body(self) -> str:
        """Return the sentences and the table of edits as escaped HTML."""
        columns = ["turn", "kept", "lost", "said", "next prompt", "layer", "cause", "proof", "cure"]
        rows = [
            (
                turn.number,
                turn.kept_len,
                turn.lost_len,
                render.visible(_cut(edit.said_text)) or " ".join(edit.said_pieces[:8]),
                render.visible(_cut(edit.next_text)) or " ".join(edit.next_pieces[:8]),
                edit.layer,
                " and ".join([edit.cause, *edit.also]),
                edit.evidence.changed if edit.evidence else "none found",
                edit.cure + (f" ({edit.design})" if edit.design else ""),
            )
            for turn in self.turns
            for edit in turn.edits
        ]
        told = render.list_html([*self.sentences(), *self._doubts()])
        return told + (render.table_html(columns, rows[:EDIT_CAP], "Differences, turn by turn") if rows else "")


_COLUMNS = [
    "turn",
    "kept_len",
    "lost_len",
    "said_offset",
    "said_text",
    "next_text",
    "said_pieces",
    "next_pieces",
    "layer",
    "cause",
    "also",
    "evidence",
    "cure",
    "design",
]


def _layer(cause: Cause) -> str:
    return KNOWN[cause].layer or "nobody knows"


def _cut(text: str, cap: int = 160) -> str:
    return text if len(text) <= cap else f"{text[: cap // 2]} … {text[-cap // 2 :]}"
