"""A streamed text as it stands in a saved notebook: the text, why it ended, its tokens, what its buffer did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

from chatlab import render
from chatlab.results import Result
from chatlab.widgets.live_text import LiveText, Run, TextStep

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

ROW_CAP = 300
"""Rows of a table at most, so that no output grows past what a code host draws."""
WHY = {
    "eos": "done",
    "stop": "done, at a stop string",
    "length": "cut at the token limit",
    "cancelled": "stopped, the text so far is kept",
    "error": "failed",
}
"""The reasons in words, as the live view says them."""


@dataclass(frozen=True, kw_only=True)
class SavedText(Result):
    """A streamed text that no longer moves."""

    title = "A streamed text"

    role: str
    text: str
    finish_reason: str | None
    error: str
    steps: tuple[TextStep, ...]
    runs: tuple[Run, ...] = ()
    """Where its channels begin; none where all of it is content."""

    @classmethod
    def of(cls, text: LiveText) -> Self:
        """Take what is there now."""
        return cls(
            role=text.role,
            text=text.text,
            finish_reason=text.finish_reason,
            error=text.error,
            steps=tuple(text.steps()),
            runs=tuple(text.runs),
        )

    @property
    def token_len(self) -> int:
        """Tokens that came; the last step often is none, but the end of what was held back."""
        return sum(step.token_id is not None for step in self.steps)

    @property
    def why(self) -> str:
        """Why it ended, in words."""
        words = "streaming" if self.finish_reason is None else WHY.get(self.finish_reason, self.finish_reason)
        return f"{words}: {self.error}" if self.error else words

    def to_frame(self) -> pd.DataFrame:
        """Return one row a step, with the columns of ``TextStep``."""
        import pandas as pd

        return pd.DataFrame(self.steps, columns=list(TextStep._fields))

    def figure(self) -> Drawing:
        """Draw how sure the model was of each token; without log probabilities, how the text came, step by step."""
        from chatlab.plots import plot_logprobs, plot_steps

        tokens = [step for step in self.steps if step.token_id is not None]
        if any(token.logprob is not None for token in tokens):
            return plot_logprobs([token.logprob for token in tokens], [token.piece for token in tokens])
        raw_lens = list(accumulate(len(step.raw) for step in self.steps))
        return plot_steps(raw_lens, [step.held for step in self.steps], self.role)

    def __str__(self) -> str:
        return render.readable(f"{self.role}{f' ({self.why})' if self.why else ''}:\n{self.text}")

    def body(self) -> str:
        """Return the message, its tokens and its buffer as escaped HTML."""
        said = self._channels_html() or render.text_html(self.text)
        return render.byline_html(self.role, self.why) + said + self._tokens_html() + self._buffer_html()

    def _channels_html(self) -> str:
        """Reasoning folded, each tool call in a block of its own; nothing where there is only content."""
        ends = (*(start for start, _ in self.runs[1:]), len(self.text))
        shown = []
        for (start, kind), end in zip(self.runs, ends, strict=False):
            block = render.text_html(self.text[start:end])
            if kind == "reasoning":
                shown.append(render.details_html("Reasoning", render.quote_html(block)))
            elif kind == "tool_call":
                shown.append(render.paragraph_html("Tool call") + block)
            elif kind == "content" and start < end:
                shown.append(block)
        return "".join(shown)

    def _tokens_html(self) -> str:
        tokens = [step for step in self.steps if step.token_id is not None]
        if not tokens:
            return ""
        rows = (
            (
                n,
                step.token_id,
                render.visible(step.piece),
                "" if step.logprob is None else f"{step.logprob:.3f}",
                "special" if step.special else "",
            )
            for n, step in enumerate(tokens[:ROW_CAP])
        )
        columns = ("token", "id", "piece", "logprob", "kind")
        table = render.table_html(columns, rows, _capped("tokens", len(tokens)))
        return render.details_html(f"{len(tokens)} tokens", table)

    def _buffer_html(self) -> str:
        held = [(n, step) for n, step in enumerate(self.steps) if step.held or step.waiting]
        if not held:
            return ""
        rows = ((n, *map(render.visible, (step.raw, step.text, step.held)), step.waiting) for n, step in held[:ROW_CAP])
        columns = ("step", "came in", "went out", "held back", "why")
        table = render.table_html(columns, rows, _capped("steps that held text back", len(held)))
        return render.details_html(f"text was held back at {len(held)} of {len(self.steps)} steps", table)


@dataclass(frozen=True, kw_only=True)
class Transcript(Result):
    """A dialogue that no longer moves."""

    title = "A dialogue"

    messages: tuple[SavedText, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row a message: ``role``, ``text``, ``finish_reason``, ``tokens``."""
        import pandas as pd

        rows = [(m.role, m.text, m.finish_reason, m.token_len) for m in self.messages]
        return pd.DataFrame(rows, columns=["role", "text", "finish_reason", "tokens"])

    def figure(self) -> Drawing:
        """Draw how long each message is."""
        from chatlab.plots import plot_messages

        texts = [(m.role, len(m.text), m.token_len) for m in self.messages]
        return plot_messages(*zip(*texts, strict=True)) if texts else plot_messages([], [], [])

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.messages)) or "an empty transcript"

    def body(self) -> str:
        """Return all messages as escaped HTML, closed."""
        return render.details_html(self.summary, self.messages_html())

    @property
    def summary(self) -> str:
        """What is said while it is closed."""
        turns = sum(message.role == "user" for message in self.messages)
        return f"Transcript, {turns} {'turn' if turns == 1 else 'turns'}"

    def messages_html(self) -> str:
        """Return all messages as escaped HTML, open."""
        return "".join(message.body() for message in self.messages)


def _capped(what: str, count: int) -> str:
    return f"the first {ROW_CAP} of {count} {what}" if count > ROW_CAP else ""
