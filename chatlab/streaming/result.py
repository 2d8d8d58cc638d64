"""What a reader of a stream gets: a delta at a time, and the whole reply at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Any, cast

from chatlab.engines.engine import FinishReason
from chatlab.plain import Plain
from chatlab.render import readable, table_html, text_html
from chatlab.results import Result
from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channels import Channel, Passage
from chatlab.streaming.token_spans import Span

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

TopLogprobs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What one step added to a reply. Joined, the ``text`` of all deltas is the reply that is shown.

    With channels, the ``delimiter`` and ``text`` of all are (law L10), and a step that ends one channel and begins another
    gives several deltas.
    """

    text: str
    """New text to show; empty while a character or a pattern is incomplete."""
    raw: str
    """New text of the model itself, before replacements and stops."""
    token_ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    """Their vocabulary entries; ``""`` for an id that has none."""
    logprobs: tuple[float | None, ...] | None = None
    top_logprobs: tuple[TopLogprobs | None, ...] | None = None
    held: str = ""
    """Raw text kept back after this step, because a pattern may begin in it."""
    text_start: int
    """Where ``text`` begins in the shown reply, in code points."""
    text_end: int
    token_spans: tuple[Span, ...] = ()
    """Which characters of the reply each token wrote, for all tokens whose text came out with this delta: after text was
    held back these are several. They cover ``text_start`` to ``text_end``; a token whose text came in parts has more."""
    first_token: int = 0
    """Index in the reply of the token that the first of ``token_spans`` is about; the others follow it."""
    finish_reason: FinishReason | None = None
    """Why the reply ended; set on the last delta and only there."""
    timing: float
    """Seconds since the request was submitted."""
    row: int = 0
    """Which prompt of ``stream_many`` it answers."""
    channel: Channel = "content"
    """Which part of the reply ``text`` belongs to; without ``channels``, all is content."""
    delimiter: str = ""
    """A delimiter of the channel that came whole with this step, and stands in the reply just before ``text``."""


OpenDelta = cast(
    type[Delta],
    make_dataclass("OpenDelta", [(f.name, f.type, f) for f in fields(Delta)], slots=True, kw_only=True),
)
"""A delta in the making: filled as any object is, then made a :class:`Delta` by its ``__class__``.

A frozen dataclass sets each field through ``object.__setattr__``, which was half of what a token cost.
"""


def deltas_of(passages: Iterable[Passage], start: int = 0) -> Iterator[Delta]:
    """What stands behind an offset of some passages, as deltas that no token wrote: for a reader who gets it at once.

    >>> [(d.channel, d.delimiter, d.text) for d in deltas_of([Passage("reasoning", "Hm."), Passage("content", "Hi")], 2)]
    [('reasoning', '', '.'), ('content', '', 'Hi')]
    """
    end = 0
    for channel, whole, is_delimiter in passages:
        end += len(whole)
        rest = whole[max(0, len(whole) - (end - start)) :] if end > start else ""
        text = "" if is_delimiter else rest
        if rest:
            yield Delta(
                text=text,
                raw=rest,
                text_start=end - len(text),
                text_end=end,
                timing=0.0,
                channel=channel,
                delimiter=rest if is_delimiter else "",
            )


@dataclass(frozen=True, kw_only=True)
class StreamResult(Result, Plain):
    """A whole reply: both texts, its ids, why it ended and how fast it came."""

    title = "A reply"

    text: str
    """What was shown: before the stop, replacements done."""
    raw_text: str
    """What the model wrote, as far as it was read: the stop and what came with it included."""
    token_ids: tuple[int, ...]
    """Every id that was read, an end token included; empty for a server that gives none."""
    logprobs: tuple[float | None, ...] | None
    finish_reason: FinishReason
    stop: str | None
    """The stop string that was found."""
    prompt_len: int
    """Tokens of the prompt."""
    dropped_turns: int
    """Turns left out of the prompt to fit the context."""
    seed: int | None
    """Repeats the reply when given again; ``None`` where the engine has none that would."""
    ttft_s: float | None
    """Seconds to the first token; ``None`` when there was none."""
    total_s: float
    """Seconds to the last token."""
    tokens_per_s: float | None
    """Tokens after the first, by the time they took; ``None`` for fewer than two, or where only text came."""
    rest: str = ""
    """What the model wrote behind the stop string, as far as it came with it."""
    passages: tuple[tuple[Channel, str, bool], ...] = ()
    """The channels of ``text`` in order, each with its text and whether that is a delimiter; empty where not asked for."""
    calls: str = "json"
    """How the tool calls among them are written."""
    text_arguments: tuple[tuple[str, str, bool], ...] = ()
    """Which of their arguments are texts, as the tools of the prompt tell: function, parameter, whether it may be null."""

    def message(self, tools: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The reply as a message; see :func:`chatlab.streaming.channel_formats.message.message_of`."""
        passages = [Passage(*passage) for passage in self.passages] or [Passage("content", self.text)]
        return message_of(passages, self.calls, tools, self.text_arguments)

    def to_frame(self) -> pd.DataFrame:
        """One row a token: ``token_id`` and ``logprob``; for a server that gives no ids, one row without any."""
        import pandas as pd

        token_ids = self.token_ids or (None,)
        return pd.DataFrame({"token_id": token_ids, "logprob": self.logprobs or [None] * len(token_ids)})

    def figure(self) -> Drawing:
        """How sure the model was of each token; without log probabilities, what the reply took in tokens and time."""
        from chatlab.plots import plot_logprobs, plot_reply_time

        if self.logprobs:
            return plot_logprobs(self.logprobs)
        return plot_reply_time(self.prompt_len, len(self.token_ids), self.ttft_s, self.total_s)

    def __str__(self) -> str:
        facts = "; ".join(f"{name}: {value}" for name, value in self._facts().items() if value != "")
        return f"{readable(self.text)}\n[{readable(facts)}]"

    def body(self) -> str:
        """The text and what is known of it, as escaped HTML."""
        facts = self._facts()
        return text_html(self.text) + table_html(tuple(facts), [tuple(facts.values())])

    def _facts(self) -> dict[str, Any]:
        speed = f"{self.tokens_per_s:.0f} tokens/s" if self.tokens_per_s else ""
        first = "" if self.ttft_s is None else f"first after {self.ttft_s:.3f} s"
        known = self.token_ids or not self.raw_text
        return {
            "ended by": f"{self.finish_reason} at {self.stop!r}" if self.stop else self.finish_reason,
            "tokens of prompt + reply": f"{self.prompt_len} + {len(self.token_ids) if known else 'not known'}",
            "seed": "" if self.seed is None else self.seed,
            "speed": ", ".join(filter(None, (first, speed))),
        }
