r"""The channels of one reply: what each step shows of which channel, and which token wrote it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from chatlab.streaming.channels import Channel, Channels, ChannelSplitter, Passage
from chatlab.streaming.marks import Marks
from chatlab.streaming.token_spans import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one step adds to one channel: a delimiter, the text behind it, or both."""

    channel: Channel
    delimiter: str
    text: str
    text_start: int
    first_token: int
    token_spans: tuple[Span, ...]


class ReplyChannels:
    """Share a reply out to its channels.

    **Law.** Joined ``delimiter`` and ``text`` of all shares are the shown reply; the spans of a share lie end to end and
    cover its text, and every token is told, once or once a share in which it wrote.
    """

    def __init__(self, channels: Channels, marks: Marks, *, hidden: bool) -> None:
        """Begin a reply.

        Args:
            channels: how it is delimited, marks in place of special tokens.
            marks: what they stand for.
            hidden: whether special tokens that delimit nothing are left out, save in tool calls, which hold some.
        """
        self.passages: list[Passage] = []
        self._splitter = ChannelSplitter(channels)
        self._marks = marks
        self._hidden = hidden
        self._tokens: deque[tuple[int, int, int]] = deque()  # number, start and end in the marked text
        self._at = 0  # marked text before it is shared out
        self._shown_len = 0

    @property
    def channel(self) -> Channel:
        """The channel that the text is in."""
        return self._splitter.channel

    def straight(self, text: str) -> int | None:
        """Say a text as it is in the present channel: how far what is shown is ahead of the marked text by now.

        ``None`` where it may hold a delimiter or a mark, or tokens wait: then :meth:`share` has to look at it.
        """
        if self._tokens or not self._splitter.passes(text) or self._marks.stand_in(text):
            return None
        ahead = self._shown_len - self._at
        self._at += len(text)
        self._shown_len += len(text)
        if text:
            self.passages.append(Passage(self._splitter.channel, text))
        return ahead

    @property
    def held(self) -> str:
        """What is kept back, because a delimiter may begin in it."""
        return self._splitter.held

    def share(
        self,
        text: str,
        first_token: int = 0,
        token_spans: tuple[Span, ...] = (),
        *,
        stop: str = "",
        at_end: bool = False,
    ) -> list[Share]:
        """Take what a step showed, marks in it, and which tokens wrote it; give at least one share.

        Args:
            text: what was shown.
            first_token: number of the token that the first span is about.
            token_spans: where the tokens stand in all that was shown, ``stop`` included.
            stop: the stop string that is shown behind it, with all its special tokens.
            at_end: whether the reply ends with it.
        """
        self._tokens += ((first_token + at, *span) for at, span in enumerate(token_spans))
        groups = [(*group, self._hidden) for group in _grouped(self._splitter.put(text))]
        groups += [(*group, False) for group in _grouped(self._splitter.put(stop) if stop else ())]
        groups += [(*group, self._hidden) for group in _grouped(self._splitter.flush() if at_end else ())]
        return [self._share(*group) for group in groups or [(self._splitter.channel, "", "", self._hidden)]]

    def _share(self, channel: Channel, delimiter: str, said: str, hidden: bool) -> Share:
        written = self._marks.hide if hidden and channel != "tool_call" else self._marks.show
        shown_delimiter, text = self._marks.show(delimiter), written(said)
        start = self._shown_len + len(shown_delimiter)
        self.passages += [p for p in (Passage(channel, shown_delimiter, True), Passage(channel, text)) if p.text]
        offsets = self._marks.offsets(said, written)
        first_token, spans = self._tell(self._at + len(delimiter), self._at + len(delimiter) + len(said))
        base = self._at + len(delimiter)
        self._at = base + len(said)
        self._shown_len = start + len(text)

        def placed(offset: int) -> int:
            within = max(0, min(offset - base, len(said)))
            return start + (within if offsets is None else offsets[within])

        return Share(
            channel=channel,
            delimiter=shown_delimiter,
            text=text,
            text_start=start,
            first_token=first_token,
            token_spans=tuple((placed(begin), placed(end)) for begin, end in spans),
        )

    def _tell(self, start: int, end: int) -> tuple[int, list[Span]]:
        """The tokens up to an end, and what is there of the one that goes on behind it."""
        first = self._tokens[0][0] if self._tokens else 0
        spans: list[Span] = []
        while self._tokens and self._tokens[0][2] <= end:
            spans.append(self._tokens.popleft()[1:])
        if self._tokens and start < end and self._tokens[0][1] < end:
            spans.append((self._tokens[0][1], end))
        return first, spans


def _grouped(passages: Iterable[Passage]) -> list[tuple[Channel, str, str]]:
    """Channel, delimiter and what is said behind it, where one of both may be empty."""
    groups: list[tuple[Channel, str, str]] = []
    for channel, said, delimiter in passages:
        if delimiter:
            groups.append((channel, said, ""))
        elif groups and groups[-1][0] == channel:
            groups[-1] = (channel, groups[-1][1], groups[-1][2] + said)
        else:
            groups.append((channel, "", said))
    return groups
