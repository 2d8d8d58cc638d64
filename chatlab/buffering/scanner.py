"""The one matching core of this room: replacement and stops in text that arrives in fragments."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping

from chatlab.errors import BufferingError, FragmentTypeError

Replacements = Mapping[str, str] | Iterable[tuple[str, str]]
"""Search string to target, as a mapping or as pairs."""


class Scanner:
    r"""Replace search strings, and end at a stop string, in text that arrives in fragments.

    Law, for every way of cutting the text:

    - the joined results of ``put`` and ``flush`` are the text before the stop, replaced leftmost-longest;
      replaced text is never scanned again;
    - the stop is the one that completes first, the longer of two that complete together. It is searched
      in the raw text, so no replacement can make one or hide one;
    - :attr:`held` is the longest suffix that is a proper prefix of a pattern that can still match (and a match
      that such a beginning of a stop overlaps): released text never changes, and no text waits without need.

    ``chatlab.buffering.reference`` says the same in slow, obvious code. Memory is constant: only the held text
    and counters are kept. All lengths and offsets are code points.

    >>> scanner = Scanner([("<NL>", "\n")], stops=["###"])
    >>> [scanner.put(fragment) for fragment in ["one<", "NL", ">two #", "#", "#three"]]
    ['one', '', '\ntwo ', '', '']
    >>> scanner.stop, scanner.stop_offset, scanner.shown_len
    ('###', 11, 8)

    Raises:
        BufferingError: a pattern is empty or no ``str``, or one search string has two targets.
    """

    held: str
    """The raw text that is kept back, because a pattern might begin in it."""
    stop: str | None
    """The stop string that was found."""
    stop_offset: int | None
    """Where the stop begins in the raw text."""
    raw_len: int
    """How much text was put, discarded text included."""

    __slots__ = (
        "_growth",
        "_opening",
        "_patterns",
        "_replacements",
        "_search",
        "_stop_prefixes",
        "_stop_search",
        "held",
        "raw_len",
        "stop",
        "stop_offset",
    )

    def __init__(self, replacements: Replacements = (), stops: Iterable[str] = ()) -> None:
        known_stops = check_stops(stops)
        # A stop that holds another one before its end never completes first. Without those, the leftmost match
        # of a plain search is the earliest completion, and a held prefix can always become a stop.
        holds_stop = _Finder(known_stops).finds
        live_stops = [stop for stop in known_stops if not holds_stop(stop[:-1])]
        # In the same way, a search string that holds a stop never matches.
        self._replacements = {
            search: target for search, target in check_replacements(replacements).items() if not holds_stop(search)
        }
        self._search = compile_patterns(self._replacements).search
        self._stop_search = compile_patterns(live_stops).search if live_stops else None
        # Plan: one scan tells where text must be held, for all patterns at once. Stops are looked for before anything is
        # replaced. A replacement near the end asks one thing more: whether a stop has begun inside it, because that
        # stop, when it completes, cuts the replaced text off. Only this question needs the stops' prefixes alone.
        self._stop_prefixes = Prefixes(live_stops) if live_stops and self._replacements else None
        self._patterns = Prefixes([*self._replacements, *live_stops])
        self._opening = self._patterns.opening
        self.clear()

    def put(self, text: str) -> str:
        """Take a fragment; give the text that is now certain, ``""`` while it could be a pattern's beginning.

        After a stop the fragment is counted and discarded.

        Raises:
            FragmentTypeError: the fragment is no ``str``.
        """
        if self.stop is not None:
            self.raw_len += len(text)
            return ""
        try:
            raw = self.held + text if self.held else text
            opening = self._opening(raw)
        except TypeError:
            raise FragmentTypeError(text) from None
        self.raw_len += len(text)
        if opening is None:
            self.held = ""
            return raw
        return self._scan(raw, opening.start())

    def flush(self) -> str:
        """Give what is held, as if the text ended here; a barrier that no later match crosses.

        A second flush gives ``""``. The counters stay readable until :meth:`clear`.
        """
        held, self.held = self.held, ""
        return self._show(held)

    def skip(self, text: str) -> str:
        """Pass a text through unsearched: what was held is flushed before it, and no match crosses it."""
        held = self.flush()
        self.raw_len += len(text)
        return held if self.stop is not None else held + text

    def clear(self) -> None:
        """Forget the text: held text, stop and counters."""
        self.held = ""
        self.stop = None
        self.stop_offset = None
        self.raw_len = 0
        self._growth = 0

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The patterns that keep the text held, sorted: those that might begin at its earliest open place."""
        tail = self.held[self._patterns.held_offset(self.held, 0) :]
        return self._patterns.that_begin_with(tail) if tail else ()

    @property
    def released_len(self) -> int:
        """How much of the raw text is decided and lies before the stop; :attr:`shown_len` is its shown side."""
        return self.raw_len - len(self.held) if self.stop_offset is None else self.stop_offset

    @property
    def shown_len(self) -> int:
        """How much text was given out, replacements done."""
        return self.released_len + self._growth

    @property
    def discarded_len(self) -> int:
        """How much raw text came after the stop: ``released_len + len(stop) + discarded_len == raw_len``."""
        return 0 if self.stop is None else self.raw_len - self.released_len - len(self.stop)

    def _scan(self, raw: str, start: int) -> str:
        """Show what more text cannot change, and hold the rest; before ``start`` no pattern begins."""
        held_offset = self._patterns.held_offset(raw, start)
        if held_offset > start:  # else all of it is one open beginning: no pattern that can match holds a stop
            if self._stop_search and (match := self._stop_search(raw, start)):
                return self._end(raw, match)
            if self._replacements and (match := self._search(raw, start)) and match.start() < held_offset:
                return self._replace(raw, match, held_offset)
        self.held = raw[held_offset:]
        return raw[:held_offset]

    def _end(self, raw: str, stop: re.Match[str]) -> str:
        """Show what stands before the stop."""
        self.held = ""
        self.stop = stop[0]
        self.stop_offset = self.raw_len - len(raw) + stop.start()
        return self._show(raw[: stop.start()])

    def _replace(self, raw: str, match: re.Match[str] | None, held_offset: int) -> str:
        """Show ``raw`` with its replacements, from the first match on, up to where it must be held."""
        # A replacement must not eat the beginning of a stop: if the stop completes, that text was cut off.
        stop_at = self._stop_prefixes.held_offset(raw, 0) if self._stop_prefixes else len(raw)
        shown: list[str] = []
        offset = 0
        while match and match.start() < held_offset:
            if match.end() > stop_at:
                held_offset = match.start()
                break
            shown += (raw[offset : match.start()], self._replacements[match[0]])
            offset = match.end()
            if offset > held_offset:
                held_offset = self._patterns.held_offset(raw, offset)
            match = self._search(raw, offset)
        shown.append(raw[offset:held_offset])
        self.held = raw[held_offset:]
        text = "".join(shown)
        self._growth += len(text) - held_offset
        return text

    def _show(self, raw: str) -> str:
        """Replace in a text that has its end."""
        shown: list[str] = []
        offset = 0
        while match := self._search(raw, offset):
            shown += (raw[offset : match.start()], self._replacements[match[0]])
            offset = match.end()
        text = "".join([*shown, raw[offset:]])
        self._growth += len(text) - len(raw)
        return text


class _Finder:
    """Whether a text holds one of some patterns: as many steps as the text is long, however many patterns there are."""

    __slots__ = ("_shortest",)

    def __init__(self, patterns: Iterable[str]) -> None:
        # A pattern that begins with another one is found where that one is. Of those that are left, only the last one
        # before a text in sorted order can begin it.
        self._shortest: list[str] = []
        for pattern in sorted(patterns):
            if not self._shortest or not pattern.startswith(self._shortest[-1]):
                self._shortest.append(pattern)

    def finds(self, text: str) -> bool:
        return any(self._begins(text[offset:]) for offset in range(len(text)))

    def _begins(self, text: str) -> bool:
        before = bisect_right(self._shortest, text)
        return before > 0 and text.startswith(self._shortest[before - 1])


class Prefixes:
    """All proper prefixes of some patterns, kept as the sorted patterns: linear memory, however long they are."""

    __slots__ = ("_longest", "_patterns", "opening")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = sorted(set(patterns))
        self._longest = max(map(len, self._patterns), default=1)
        self.opening = re.compile(opening_regex(self._patterns, depth=3) or r"(?!)").search

    def held_offset(self, text: str, start: int) -> int:
        """Where the longest suffix of ``text[start:]`` that is a proper prefix begins; its end if there is none."""
        offset = max(start, len(text) - self._longest + 1)
        while match := self.opening(text, offset):
            offset = match.start()
            tail = text[offset:]
            after = bisect_right(self._patterns, tail)
            if after < len(self._patterns) and self._patterns[after].startswith(tail):
                return offset
            offset += 1
        return len(text)

    def that_begin_with(self, tail: str) -> tuple[str, ...]:
        """The patterns that a text is a proper prefix of."""
        return tuple(pattern for pattern in self._patterns if pattern.startswith(tail) and pattern != tail)


def opening_regex(patterns: Iterable[str], depth: int) -> str:
    r"""A regex for where a pattern begins, as far as ``depth`` characters or the end of the text can tell.

    >>> opening_regex(["<NL>", "</s>", "#"], depth=2)
    '\\#|<(?:/|N|\\Z)'
    """
    rests: dict[str, set[str]] = {}
    for pattern in patterns:
        rests.setdefault(pattern[0], set()).add(pattern[1:])
    branches = []
    for first, rest in sorted(rests.items()):
        more = "" if depth == 1 or "" in rest else f"(?:{opening_regex(rest, depth - 1)}|\\Z)"
        branches.append(re.escape(first) + more)
    return "|".join(branches)


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the leftmost and there the longest of some literal strings; of none, nothing."""
    longest_first = sorted(patterns, key=len, reverse=True)
    if not longest_first:
        return re.compile(r"(?!)")
    if all(len(pattern) == 1 for pattern in longest_first):
        return re.compile(f"[{''.join(map(re.escape, longest_first))}]")
    return re.compile("|".join(map(re.escape, longest_first)))


def check_replacements(replacements: Replacements) -> dict[str, str]:
    """The replacements as a dict.

    Raises:
        BufferingError: not pairs of ``str``, an empty search string, or one search string with two targets.
    """
    pairs = replacements.items() if isinstance(replacements, Mapping) else replacements
    checked: dict[str, str] = {}
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise BufferingError(
                f"{pair!r} is not a (search string, target) pair: pass a list such as [('<NL>', '\\n')]"
            )
        search, target = pair
        if not search:
            raise BufferingError(f"the search string for target {target!r} is empty: it would match everywhere")
        if checked.setdefault(search, target) != target:
            raise BufferingError(f"{search!r} has two targets, {checked[search]!r} and {target!r}: keep one")
    return checked


def check_stops(stops: Iterable[str]) -> tuple[str, ...]:
    """The stop strings, each once, in the order given.

    Raises:
        BufferingError: a single string instead of a list, or a stop that is empty or no ``str``.
    """
    if isinstance(stops, str):
        raise BufferingError(f"stop strings come as a list: pass [{stops or '###'!r}]")
    if not isinstance(stops, Iterable):
        raise BufferingError(f"stop strings come as a list such as ['###'], not {stops!r:.80}")
    checked = tuple(dict.fromkeys(stops))
    for stop in checked:
        if not isinstance(stop, str) or not stop:
            raise BufferingError(f"{stop!r} is not a stop string: it must be a str of one character or more")
    return checked
