r"""Channels between pairs of delimiters, which most families write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from chatlab.errors import ChannelError
from chatlab.streaming.channels import CHANNELS, Channel, Channels, Crossing, State


@dataclass(frozen=True, kw_only=True)
class Pair:
    r"""An opening and a closing text, and the blanks around them that belong to them.

    ``blank_before="\n\n"`` takes none, one or both of these line ends to the delimiter, as they come.
    """

    channel: Channel
    opening: str
    """Empty for a channel that the reply begins in, which only a closing ends."""
    closing: str
    """Empty for a channel that goes on to the next opening, or to the end of the reply."""
    before_opening: str = ""
    after_opening: str = ""
    before_closing: str = ""
    after_closing: str = ""
    quote: str = ""
    """The character that begins and ends a string in which no closing is one, as in JSON, with a backslash to escape; a
    line end ends the string, too, since JSON has none in it."""
    ends_reasoning: bool = False
    """Whether its opening ends an open reasoning, too: for openings that are special tokens, which no thought spells."""
    fences: tuple[tuple[str, str], ...] = ()
    """Pairs of texts between which no closing is one, as around a parameter in XML."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The opening with every choice of its blanks; none where there is no opening."""
        return _with_blanks(self.before_opening, self.opening, self.after_opening)

    @property
    def closings(self) -> tuple[str, ...]:
        """The closing with every choice of its blanks; none where there is no closing."""
        return _with_blanks(self.before_closing, self.closing, self.after_closing)


def paired(*pairs: Pair | Sequence[str], calls: str = "json", name: str = "given") -> Channels:
    """Channels between pairs of delimiters.

    Args:
        pairs: each a :class:`Pair`, or ``(channel, opening, closing)``; an empty opening says that the reply begins in
            that channel.
        calls: how the tool calls are written.
        name: what the format is called.

    Raises:
        ChannelError: a pair is none, a channel is unknown, or a delimiter has two meanings.
    """
    known = [_pair(pair) for pair in pairs]
    ways = [(p, Crossing(text, f"{p.channel} {at}")) for at, p in enumerate(known) for text in p.openings]
    openings = tuple(crossing for _, crossing in ways)
    ending = tuple(crossing for pair, crossing in ways if pair.ends_reasoning)
    states: list[tuple[str, State]] = [("content", State(channel="content", crossings=openings))]
    begun = [f"{pair.channel} {number}" for number, pair in enumerate(known) if not pair.opening]
    for number, pair in enumerate(known):
        out = tuple(Crossing(text, "content") for text in pair.closings) or openings
        states += _states_of(f"{pair.channel} {number}", pair, out + (ending if pair.channel == "reasoning" else ()))
    return Channels(states=tuple(states), start=begun[0] if begun else "content", calls=calls, name=name)


def _states_of(name: str, pair: Pair, out: tuple[Crossing, ...]) -> list[tuple[str, State]]:
    """The state inside a pair, and those inside its strings and fences."""
    inner = [Crossing(opening, f"{name} fence {at}", said=True) for at, (opening, _) in enumerate(pair.fences)]
    channel = pair.channel
    states = []
    for at, (_, closing) in enumerate(pair.fences):
        back = (Crossing(closing, name, said=True),)
        states.append((f"{name} fence {at}", State(channel=channel, crossings=back, within=name)))
    if quote := pair.quote:
        inner.append(Crossing(quote, f"{name} string", said=True))
        states += _string_states(name, channel, quote)
    again = f"{name} again" if pair.opening else ""
    if again:
        twice = tuple(Crossing(text, name) for text in pair.openings)
        states.append((again, State(channel=channel, at_once=twice, otherwise=name)))
    own = State(channel=channel, crossings=(*out, *inner), reopened=again)
    return [(name, own), *states]


def _string_states(name: str, channel: Channel, quote: str) -> list[tuple[str, State]]:
    string, escape = f"{name} string", f"{name} escape"
    ends = (Crossing(quote, name, said=True), Crossing("\n", name, said=True), Crossing("\\", escape, said=True))
    escaped = (Crossing(quote, string, said=True), Crossing("\\", string, said=True))
    return [
        (string, State(channel=channel, crossings=ends, within=name)),
        (escape, State(channel=channel, at_once=escaped, otherwise=string)),
    ]


def _pair(pair: Pair | Sequence[str]) -> Pair:
    if not isinstance(pair, Pair):
        if isinstance(pair, str) or len(pair) != 3 or not all(isinstance(part, str) for part in pair):
            raise ChannelError(
                f"{pair!r} is no (channel, opening, closing): write ('reasoning', '[THINK]', '[/THINK]')"
            )
        channel, opening, closing = pair
        pair = Pair(channel=cast(Channel, channel), opening=opening, closing=closing)
    if pair.channel not in CHANNELS:
        raise ChannelError(f"{pair.channel!r} is no channel: there are {', '.join(CHANNELS)}")
    if not pair.opening and not pair.closing:
        raise ChannelError(f"a pair for {pair.channel!r} has neither an opening nor a closing")
    return pair


def _with_blanks(before: str, text: str, after: str) -> tuple[str, ...]:
    if not text:
        return ()
    heads = [before[start:] for start in range(len(before) + 1)]
    tails = [after[:end] for end in range(len(after) + 1)]
    return tuple(dict.fromkeys(head + text + tail for head in heads for tail in tails))
