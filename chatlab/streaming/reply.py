"""From an engine's events to what a reader sees: pure bookkeeping, no thread and no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab.buffering.scanner import Replacements, Scanner, check_replacements
from chatlab.engines.engine import EndEvent, Event, FinishReason, TokenEvent
from chatlab.errors import GenerationError, TokenIdError
from chatlab.plain import Plain
from chatlab.render import readable, table_html, text_html
from chatlab.results import Result
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.token_spans import Span, TokenSpans
from chatlab.tokenizers.interface import Tokenizer

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

TopLogprobs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What one step added to a reply. Joined, the ``text`` of all deltas is the reply that is shown."""

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


class Reply:
    """Turn the events of one request into deltas: detokenize, search, replace, count.

    Law: joined ``text`` of the deltas is :attr:`text`, which is the raw text before the stop, replaced; nothing of
    the prompt is in it, and nothing is lost however the request ends.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        detokenizer: StreamingDetokenizer,
        *,
        replacements: Replacements = (),
        stops: tuple[str, ...] = (),
        row: int = 0,
    ) -> None:
        """Begin an empty reply; ``detokenizer`` is seeded with the prompt ids."""
        self.text = ""
        self.token_ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.finish_reason: FinishReason | None = None
        self.row = row
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        replacements = check_replacements(replacements)
        self._scanner = Scanner(replacements, stops)
        self._spans = TokenSpans(self._scanner, replacements)
        self._raw: list[str] = []
        self._times: list[float] = []

    @property
    def raw_text(self) -> str:
        """The model's own text so far."""
        return "".join(self._raw)

    @property
    def stop(self) -> str | None:
        """The stop string that was found."""
        return self._scanner.stop

    def put(self, event: Event) -> Delta:
        """The delta of one event; after a stop was found, that delta is the last.

        Raises:
            GenerationError: the decoder raised; it is the ``__cause__``.
        """
        if isinstance(event, EndEvent):
            return self.finish(event.finish_reason, event.t)
        self._times.append(event.t)
        if not isinstance(event, TokenEvent):
            return self._delta(event.text, event.t)
        self.token_ids.append(event.token_id)
        self.logprobs.append(event.logprob)
        return self._delta(self._decode([event.token_id]), event.t, event)

    def finish(self, finish_reason: FinishReason, t: float | None = None) -> Delta:
        """End the reply and give all that was held, by the detokenizer and by the search."""
        try:
            raw = "" if self.stop is not None else self._detokenizer.flush()
        except Exception:
            if finish_reason != "error":
                raise
            raw = ""  # the decoder is what failed: what it holds cannot be read
        t = self._times[-1] if t is None and self._times else t or 0.0
        text = self._scanner.put(raw)
        self._raw.append(raw)
        if self.stop is not None:
            self.finish_reason = "stop"
        else:
            text += self._scanner.flush()
            self.finish_reason = finish_reason
        return self._shown(text, raw, t, None)

    def result(self, *, prompt_len: int, seed: int | None, dropped_turns: int = 0) -> StreamResult:
        """The reply as a value, once it has ended."""
        times, token_len = self._times, len(self.token_ids)
        took = times[-1] - times[0] if len(times) > 1 else 0.0
        asked = any(logprob is not None for logprob in self.logprobs)
        return StreamResult(
            text=self.text,
            raw_text=self.raw_text,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs) if asked else None,
            finish_reason=self.finish_reason or "cancelled",
            stop=self.stop,
            prompt_len=prompt_len,
            dropped_turns=dropped_turns,
            seed=seed,
            ttft_s=times[0] if times else None,
            total_s=times[-1] if times else 0.0,
            # A server that sends text cuts it as it likes: its pieces are not tokens.
            tokens_per_s=(token_len - 1) / took if took > 0 and token_len == len(times) else None,
        )

    def _decode(self, token_ids: list[int]) -> str:
        try:
            return self._detokenizer.put(token_ids)
        except Exception as error:
            raise GenerationError(
                f"the decoder failed at token {len(self.token_ids) - 1} (id {token_ids[0]}): "
                f"{type(error).__name__}: {error}"
            ) from error

    def _delta(self, raw: str, t: float, event: TokenEvent | None = None) -> Delta:
        self._raw.append(raw)
        text = self._scanner.put(raw)
        if self.stop is not None:
            self.finish_reason = "stop"
        return self._shown(text, raw, t, event)

    def _shown(self, text: str, raw: str, t: float, event: TokenEvent | None) -> Delta:
        start = len(self.text)
        if text:
            self.text += text
        end = start + len(text)
        first_token, spans = self._spans.step(raw, start, end, is_token=event is not None)
        token_ids: tuple[int, ...] = ()
        pieces: tuple[str, ...] = ()
        logprobs = top_logprobs = None
        if event is not None:
            token_ids, pieces = (event.token_id,), (self._piece(event.token_id),)
            if event.logprob is not None:
                logprobs, top_logprobs = (event.logprob,), (event.top_logprobs,)
        return Delta(
            text=text,
            raw=raw,
            token_ids=token_ids,
            pieces=pieces,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            held=self._scanner.held,
            text_start=start,
            text_end=end,
            token_spans=spans,
            first_token=first_token,
            finish_reason=self.finish_reason,
            timing=t,
            row=self.row,
        )

    def _piece(self, token_id: int) -> str:
        try:
            return self._tokenizer.piece(token_id)
        except TokenIdError:
            return ""  # a model's output layer is often padded beyond its vocabulary
