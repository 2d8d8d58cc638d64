"""The matching law of this room, written to be read: slow, and right by inspection.

The tests compare :class:`chatlab.buffering.scanner.Scanner` with these functions; nothing else calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def find_stop(text: str, stops: Iterable[str]) -> tuple[int, str] | None:
    """The stop that completes first, the longest of those that complete together: its offset and itself.

    >>> find_stop("hello", ["lo", "he"])
    (0, 'he')
    """
    stops = list(stops)
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return end - len(stop), stop
    return None


def replace_all(text: str, replacements: Mapping[str, str]) -> str:
    """Leftmost-longest replacement of the whole text; what was replaced is never looked at again.

    >>> replace_all("aaab", {"a": "1", "ab": "2"})
    '112'
    """
    shown, offset = "", 0
    while offset < len(text):
        matching = [search for search in replacements if text.startswith(search, offset)]
        search = max(matching, key=len, default="")
        shown += replacements[search] if search else text[offset]
        offset += len(search) or 1
    return shown


def scan_whole(text: str, replacements: Mapping[str, str], stops: Iterable[str]) -> tuple[str, str | None]:
    """What a whole text shows, and the stop that ended it: stops are searched first, in the raw text."""
    found = find_stop(text, stops)
    if found is None:
        return replace_all(text, replacements), None
    return replace_all(text[: found[0]], replacements), found[1]


def may_begin(tail: str, pattern: str) -> bool:
    """Whether more text could make ``tail`` this pattern."""
    return pattern.startswith(tail) and pattern != tail


def longest_held(text: str, patterns: Iterable[str]) -> str:
    """The longest suffix that is a proper prefix of a pattern.

    >>> longest_held("a <<", ["<NL>", "<<END"])
    '<<'
    """
    patterns = list(patterns)
    for offset in range(len(text)):
        if any(may_begin(text[offset:], pattern) for pattern in patterns):
            return text[offset:]
    return ""
