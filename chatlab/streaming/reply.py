"""From an engine's events to what a reader sees: pure bookkeeping, no thread and no clock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chatlab.buffering.scanner import Replacements, Scanner, check_replacements
from chatlab.engines.engine import EndEvent, Event, FinishReason, TextEvent, TokenEvent
from chatlab.errors import GenerationError, TokenIdError
from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channel_formats.pairs import paired
from chatlab.streaming.channel_formats.tool_calls import Texts
from chatlab.streaming.channels import Channel, Channels, Passage, join_passages
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.marks import Marks
from chatlab.streaming.reply_channels import ReplyChannels
from chatlab.streaming.result import Delta, OpenDelta, StreamResult
from chatlab.streaming.token_spans import TokenSpans
from chatlab.tokenizers.interface import Tokenizer


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
        channels: Channels | None = None,
        marks: Marks | None = None,
        include_stop: bool = False,
        skip_special_tokens: bool = True,
        text_arguments: Texts = (),
    ) -> None:
        """Begin an empty reply; ``detokenizer`` is seeded with the prompt ids.

        Args:
            tokenizer: tells the pieces.
            detokenizer: tells the text.
            replacements: what is shown in place of what.
            stops: where the reply ends.
            row: which of several it is.
            channels: how it is delimited; ``None`` leaves it whole.
            marks: special tokens that stops and delimiters hold.
            include_stop: show the stop string, too.
            skip_special_tokens: whether marks that belong to nothing are left out.
            text_arguments: which arguments of its tool calls are texts.
        """
        self.text = ""
        self.token_ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.finish_reason: FinishReason | None = None
        self.row = row
        self.following: list[Delta] = []
        """The further deltas of the last step, when it gave several."""
        self.channels = channels
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        self._replacements = check_replacements(replacements)
        self._stops = stops
        self._include_stop = include_stop
        self._hidden = skip_special_tokens
        self._text_arguments = text_arguments
        self._raw: list[str] = []
        self._times: list[float] = []
        self._search_for(marks)

    def _search_for(self, marks: Marks | None) -> None:
        """Set up the search; without marks, special tokens are what they look like."""
        self._marks = marks or None
        replacements, stops, channels = self._replacements, self._stops, self.channels
        if marks:
            replacements = {marks.of(search): target for search, target in replacements.items()}
            stops = tuple(map(marks.of, stops))
            channels = (channels or paired()).with_marks(marks.marks)
        self._by_id = marks.by_id if marks else {}
        self._scanner = Scanner(replacements, stops)
        self._spans = TokenSpans(self._scanner, replacements)
        self._scanned_len = 0
        self._shares = ReplyChannels(channels, marks or Marks({}), hidden=self._hidden) if channels else None

    @property
    def raw_text(self) -> str:
        """The model's own text so far."""
        return self._as_written("".join(self._raw))

    @property
    def stop(self) -> str | None:
        """The stop string that was found."""
        stop = self._scanner.stop
        return None if stop is None else self._as_written(stop)

    @property
    def rest(self) -> str:
        """What the model wrote behind the stop string, as far as it came with it."""
        raw = "".join(self._raw)
        return self._as_written(raw[len(raw) - self._scanner.discarded_len :])

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The channels of the shown reply so far, delimiters included; none where they were not asked for."""
        return () if self.channels is None or self._shares is None else tuple(join_passages(self._shares.passages))

    def message(self, tools: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The reply so far as a message."""
        calls = "json" if self.channels is None else self.channels.calls
        return message_of(self.passages or [Passage("content", self.text)], calls, tools, self._text_arguments)

    def put(self, event: Event) -> Delta:
        """The delta of one event, the first of several where :attr:`following` holds more; after a stop, the last.

        Raises:
            GenerationError: the decoder raised; it is the ``__cause__``.
        """
        if not isinstance(event, TokenEvent):
            return self._put_other(event)
        self._times.append(event.t)
        self.token_ids.append(event.token_id)
        self.logprobs.append(event.logprob)
        try:
            raw = self._detokenizer.put((event.token_id,))
        except Exception as error:
            raise GenerationError(
                f"the decoder failed at token {len(self.token_ids) - 1} (id {event.token_id}): "
                f"{type(error).__name__}: {error}"
            ) from error
        return self._delta(self._marked(raw, event.token_id) if self._by_id else raw, event.t, event)

    def _put_other(self, event: TextEvent | EndEvent) -> Delta:
        if isinstance(event, EndEvent):
            return self.finish(event.finish_reason, event.t)
        self._times.append(event.t)
        if self._marks is not None and not self._raw:
            self._search_for(None)  # a server's text: whether it spells a special token, nobody can tell
        return self._delta(event.text, event.t)

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
        if self._scanner.stop is not None:
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
            rest=self.rest,
            passages=self.passages,
            calls="json" if self.channels is None else self.channels.calls,
            text_arguments=tuple(self._text_arguments),
        )

    def _marked(self, raw: str, token_id: int) -> str:
        """The text of a token where special tokens have marks; one that has is a border that no character crosses."""
        if token_id not in self._by_id:
            return self._marks.without_forged(raw) if self._marks else raw
        mark = self._by_id[token_id]
        raw += self._detokenizer.flush()
        return (raw if self._hidden else raw.removesuffix(self._as_written(mark))) + mark

    def _as_written(self, text: str) -> str:
        return self._marks.show(text) if self._marks is not None else text

    def _delta(self, raw: str, t: float, event: TokenEvent | None = None) -> Delta:
        self._raw.append(raw)
        text = self._scanner.put(raw)
        if self._scanner.stop is not None:
            self.finish_reason = "stop"
        return self._shown(text, raw, t, event)

    def _shown(self, text: str, raw: str, t: float, event: TokenEvent | None) -> Delta:
        """What a step shows, and all that is known of it."""
        scanner, shares = self._scanner, self._shares
        start = len(self.text) if shares is None else self._scanned_len
        first_token, spans = self._spans.step(raw, start, start + len(text), is_token=event is not None)
        channel: Channel = "content"
        ahead = stop = None
        if self._include_stop and (stop := scanner.stop):
            text += stop
            spans = (*spans[:-1], (spans[-1][0], start + len(text))) if spans else spans
        if shares is not None:
            self._scanned_len += len(text)
            channel = shares.channel
            ahead = shares.straight(text) if self.finish_reason is None else None
            start += ahead or 0
            spans = tuple((begin + ahead, end + ahead) for begin, end in spans) if ahead else spans
        token_ids: tuple[int, ...] = ()
        pieces: tuple[str, ...] = ()
        logprobs = top_logprobs = None
        if event is not None:
            token_ids = (event.token_id,)
            try:
                pieces = (self._tokenizer.piece(event.token_id),)
            except TokenIdError:
                pieces = ("",)  # a model's output layer is often padded beyond its vocabulary
            if event.logprob is not None:
                logprobs, top_logprobs = (event.logprob,), (event.top_logprobs,)
        if text and (shares is None or ahead is not None):
            self.text += text
        delta = OpenDelta(
            text=text,
            raw=self._as_written(raw) if self._by_id else raw,
            token_ids=token_ids,
            pieces=pieces,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            held=scanner.held,
            text_start=start,
            text_end=start + len(text),
            token_spans=spans,
            first_token=first_token,
            finish_reason=self.finish_reason,
            timing=t,
            row=self.row,
            channel=channel,
        )
        delta.__class__ = Delta
        return delta if shares is None or ahead is not None else self._shared_out(delta, stop or "", shares)

    def _shared_out(self, whole: Delta, stop: str, to: ReplyChannels) -> Delta:
        """A step as one delta a channel: the first tells the token, the last why the reply ended."""
        before = whole.text[: len(whole.text) - len(stop)]
        ended = self.finish_reason is not None
        shares = to.share(before, whole.first_token, whole.token_spans, stop=stop, at_end=ended)
        held = self._as_written(to.held + self._scanner.held)
        self.text += "".join(share.delimiter + share.text for share in shares)
        deltas = [
            Delta(
                text=share.text,
                raw="" if number else whole.raw,
                token_ids=() if number else whole.token_ids,
                pieces=() if number else whole.pieces,
                logprobs=None if number else whole.logprobs,
                top_logprobs=None if number else whole.top_logprobs,
                held=held,
                text_start=share.text_start,
                text_end=share.text_start + len(share.text),
                token_spans=share.token_spans,
                first_token=share.first_token,
                finish_reason=self.finish_reason if number == len(shares) - 1 else None,
                timing=whole.timing,
                row=self.row,
                channel=share.channel,
                delimiter=share.delimiter,
            )
            for number, share in enumerate(shares)
        ]
        self.following = deltas[1:]
        return deltas[0]
