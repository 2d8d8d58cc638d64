"""The law of channels, written to be read: slow, and right by inspection.

The tests compare :class:`chatlab.streaming.channels.ChannelSplitter` with these functions; nothing else calls them.
"""

from __future__ import annotations

from chatlab.buffering.reference import may_begin
from chatlab.streaming.channels import Channels, Crossing, State


def read_characters(text: str, channels: Channels) -> list[tuple[str, bool, str]]:
    """Channel, whether it is a delimiter, and the character itself, for each character of a whole text."""
    return _read(text, channels, whole=True)[0]


def held_of(text: str, channels: Channels) -> str:
    """What must be held of a text that may go on: from the first place where the rest could begin a crossing."""
    return text[_read(text, channels, whole=False)[1] :]


def _read(text: str, channels: Channels, *, whole: bool) -> tuple[list[tuple[str, bool, str]], int]:
    states = dict(channels.states)
    state, offset = states[channels.start], 0
    read: list[tuple[str, bool, str]] = []
    while offset < len(text):
        rest = text[offset:]
        crossings = state.at_once or state.crossings
        if not whole and any(may_begin(rest, crossing.text) for crossing in crossings):
            break
        standing = [crossing for crossing in crossings if rest.startswith(crossing.text)]
        if standing:
            crossing = max(standing, key=lambda c: len(c.text))
            read += [(*_whose(state, states[crossing.to], crossing), character) for character in crossing.text]
            state, offset = states[crossing.to], offset + len(crossing.text)
        elif state.at_once:
            state = states[state.otherwise]
        else:
            read.append((state.channel, state.silent, text[offset]))
            offset += 1
    return read, offset


def _whose(left: State, entered: State, crossing: Crossing) -> tuple[str, bool]:
    if crossing.said:
        return entered.channel, entered.silent
    if entered.channel != "content":
        return entered.channel, True
    return left.channel, True
