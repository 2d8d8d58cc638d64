r"""A reply split into its channels while it streams: what is said, what is thought, what is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, Self

from chatlab.buffering.scanner import Prefixes, compile_patterns
from chatlab.errors import ChannelError, FragmentTypeError

Channel = Literal["content", "reasoning", "tool_call"]
"""Which part of a reply a text belongs to."""

CHANNELS: tuple[Channel, ...] = ("content", "reasoning", "tool_call")


class Passage(NamedTuple):
    """Text of one channel: what is said in it, or a delimiter of it."""

    channel: Channel
    text: str
    delimiter: bool = False


class Crossing(NamedTuple):
    """A text that leads from one state into another."""

    text: str
    to: str
    said: bool = False
    """Whether it is itself said in the state that it leads to; else it is a delimiter."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a reply is: its channel, and which texts lead elsewhere."""

    channel: Channel
    crossings: tuple[Crossing, ...] = ()
    """What leads out of it, anywhere in it."""
    at_once: tuple[Crossing, ...] = ()
    """What leads out of it where it begins; a state that has these is only a choice, and holds no text."""
    otherwise: str = ""
    """Where a choice leads when none of ``at_once`` stands there."""
    silent: bool = False
    """Whether its whole text is a delimiter: a header, blanks between two calls."""
    within: str = ""
    """The state whose special tokens lead out of this one, too: a quoted string holds no text of them."""
    reopened: str = ""
    """Where a reply begins whose prompt wrote the opening of this state: the model may write it again."""


@dataclass(frozen=True, kw_only=True)
class Channels:
    """How a family of models delimits the channels of a reply.

    Raises:
        ChannelError: a crossing has no text or leads nowhere, one state has the same text twice, or a choice leads on to
            a choice.
    """

    states: tuple[tuple[str, State], ...]
    """Every state by its name."""
    start: str = "content"
    """The state that a reply begins in."""
    calls: str = "json"
    """How a tool call is written; one of ``chatlab.streaming.channel_formats.tool_calls.WAYS``."""
    name: str = "given"

    def __post_init__(self) -> None:
        known = dict(self.states)
        if self.start not in known:
            raise ChannelError(f"there is no state {self.start!r} to begin in; there are {', '.join(known) or 'none'}")
        for name, state in self.states:
            texts = [crossing.text for crossing in (*state.crossings, *state.at_once)]
            led = [crossing.to for crossing in (*state.crossings, *state.at_once)]
            if not all(texts) or len(set(texts)) < len(texts):
                raise ChannelError(f"the delimiters of the state {name!r} must be different texts, not {texts}")
            for target in (*led, *filter(None, (state.otherwise, state.within, state.reopened))):
                if target not in known:
                    raise ChannelError(f"the state {name!r} leads to {target!r}; there are {', '.join(known)}")
            if state.at_once and (not state.otherwise or known[state.otherwise].at_once):
                raise ChannelError(f"the choice {name!r} must lead to a state that holds text where nothing is chosen")

    def after(self, prompt: str) -> Self:
        """The same, begun where a prompt leaves off: ``<think>`` at its end opens the reasoning of the reply.

        Only the very end counts, which the template wrote: an opening in a message opens nothing.
        """
        end = prompt.rstrip()
        found: dict[str, str] = {}
        for _, state in self.states:
            for crossing in (*state.crossings, *state.at_once):
                if not crossing.said and (text := crossing.text.strip()) and end.endswith(text):
                    found.setdefault(text, crossing.to)
        if not found:
            return self
        to = found[max(found, key=len)]
        return replace(self, start=dict(self.states)[to].reopened or to)

    def with_marks(self, marks: Mapping[str, str]) -> Self:
        """The same, where the special tokens in its delimiters are each one character that no text holds."""
        pattern = compile_patterns(marks)

        def marked(crossings: Iterable[Crossing]) -> tuple[Crossing, ...]:
            return tuple(c._replace(text=pattern.sub(lambda m: marks[m[0]], c.text)) for c in crossings)

        known = dict(self.states)
        states = []
        for name, state in self.states:
            own = marked(state.crossings)
            outer = marked(known[state.within].crossings) if state.within else ()
            own += tuple(c for c in outer if c.text[0] in marks.values() and c.text not in {o.text for o in own})
            states.append((name, replace(state, crossings=own, at_once=marked(state.at_once))))
        return replace(self, states=tuple(states))

    @property
    def delimiters(self) -> tuple[str, ...]:
        """Every text that leads from one state into another, longest first."""
        texts = {c.text for _, state in self.states for c in (*state.crossings, *state.at_once)}
        return tuple(sorted(texts, key=lambda text: (-len(text), text)))


class ChannelSplitter:
    r"""Split text that arrives in fragments into the channels of a reply.

    **Law L10.** However the text is cut:

    - every character of a reply belongs to exactly one channel: it is said in it, or it is part of a delimiter of it;
    - the passages joined in order, delimiters included, are the reply;
    - in each state the leftmost crossing counts, there the longest; what is behind it is read in the new state;
    - only the longest suffix that could still begin a crossing of the present state is held.

    ``chatlab.streaming.channel_formats.reference`` says the same in slow, obvious code.

    >>> from chatlab.streaming.channel_formats.pairs import paired
    >>> splitter = ChannelSplitter(paired(("reasoning", "<think>", "</think>")))
    >>> [[(p.channel, p.text) for p in splitter.put(s) if not p.delimiter] for s in ["<thi", "nk>Hm", ".</think", ">Hi <3"]]
    [[], [('reasoning', 'Hm')], [('reasoning', '.')], [('content', 'Hi <3')]]
    >>> splitter.flush()
    []
    """

    held: str
    """The text that is kept back, because a crossing might begin in it."""

    __slots__ = ("_place", "_places", "_start", "held")

    def __init__(self, channels: Channels) -> None:
        """Begin a reply."""
        self._places = _places(channels)
        self._start = channels.start
        self.clear()

    @property
    def channel(self) -> Channel:
        """The channel that the text is in."""
        return self._place.channel

    def passes(self, text: str) -> bool:
        """Whether a fragment would be said whole in the present channel: so it need not be put."""
        place = self._place
        return not (self.held or place.is_choice or place.silent or place.opening(text))

    def put(self, text: str) -> list[Passage]:
        """Take a fragment; give the passages that are now certain.

        Raises:
            FragmentTypeError: the fragment is no ``str``.
        """
        place = self._place
        try:
            raw = self.held + text if self.held else text
            if place.is_choice or place.opening(raw) is not None:
                return self._split(raw)
        except TypeError:
            raise FragmentTypeError(text) from None
        self.held = ""
        return [Passage(place.channel, raw, place.silent)] if raw else []

    def flush(self) -> list[Passage]:
        """Give what is held, as if the text ended here."""
        return self._split(self.held, at_end=True)

    def clear(self) -> None:
        """Begin again."""
        self._place = self._places[self._start]
        self.held = ""

    def _split(self, raw: str, *, at_end: bool = False) -> list[Passage]:
        passages: list[Passage] = []
        offset = 0
        while True:
            place = self._place
            end, text = place.next_crossing(raw, offset, at_end)
            _say(passages, Passage(place.channel, raw[offset:end], place.silent))
            if text is None:
                self.held = raw[end:]
                return passages
            self._place, as_what = place.cross(text, self._places)
            _say(passages, Passage(as_what.channel, text, as_what.delimiter))
            offset = end + len(text)


def join_passages(passages: Iterable[Passage]) -> list[Passage]:
    """The same passages, where neighbours of one channel are one: so they are equal however the text was cut."""
    joined: list[Passage] = []
    for passage in passages:
        _say(joined, passage)
    return joined


def split_channels(text: str, channels: Channels) -> list[Passage]:
    """Split a whole text; see :class:`ChannelSplitter`."""
    splitter = ChannelSplitter(channels)
    return join_passages([*splitter.put(text), *splitter.flush()])


def _say(passages: list[Passage], passage: Passage) -> None:
    """Add a passage to the last one where it goes on with it."""
    if not passage.text:
        return
    if passages and (last := passages[-1])[0] == passage.channel and last.delimiter == passage.delimiter:
        passages[-1] = last._replace(text=last.text + passage.text)
    else:
        passages.append(passage)


class _AsWhat(NamedTuple):
    channel: Channel
    delimiter: bool


class _Place:
    """A state made ready for searching."""

    __slots__ = ("_match", "_prefixes", "_search", "_to", "channel", "is_choice", "opening", "silent")

    def __init__(self, state: State, states: Mapping[str, State]) -> None:
        crossings: Sequence[Crossing] = state.at_once or state.crossings
        texts = [crossing.text for crossing in crossings]
        self.channel = state.channel
        self.silent = state.silent
        self.is_choice = bool(state.at_once)
        self._to = {c.text: (c.to, _owner(state, states[c.to], said=c.said)) for c in crossings}
        self._to[""] = (state.otherwise, _AsWhat(state.channel, False))
        self._search = compile_patterns(texts).search
        self._match = compile_patterns(texts).match
        self._prefixes = Prefixes(texts)
        self.opening = self._prefixes.opening

    def next_crossing(self, raw: str, offset: int, at_end: bool) -> tuple[int, str | None]:
        """Where the text of this state ends for now, and which crossing stands there; ``None`` where none is certain."""
        held_offset = len(raw) if at_end else self._prefixes.held_offset(raw, offset)
        if self.is_choice:
            if not at_end and (held_offset == offset):
                return offset, None
            match = self._match(raw, offset)
            return offset, match[0] if match else ""
        match = self._search(raw, offset)
        if match and match.start() < held_offset:
            return match.start(), match[0]
        return held_offset, None

    def cross(self, text: str, places: Mapping[str, _Place]) -> tuple[_Place, _AsWhat]:
        """Where a crossing leads, and what its own text is."""
        to, as_what = self._to[text]
        return places[to], as_what


def _owner(state: State, to: State, *, said: bool) -> _AsWhat:
    """A delimiter belongs to the channel that it opens or closes; content has none where it meets another channel."""
    if said:
        return _AsWhat(to.channel, to.silent)
    return _AsWhat(state.channel if to.channel == "content" else to.channel, True)


@lru_cache(maxsize=64)  # each reply has its own where the prompt tells where it begins, and users make more
def _places(channels: Channels) -> Mapping[str, _Place]:
    states = dict(channels.states)
    return {name: _Place(state, states) for name, state in states.items()}
