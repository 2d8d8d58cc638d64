"""Which token wrote which characters, when text is held back, replaced or cut at a stop."""

from __future__ import annotations

from collections import deque

from chatlab.buffering.scanner import Replacements, Scanner, check_replacements, compile_patterns

Span = tuple[int, int]
"""Start and end offset in the shown text, in code points, end exclusive."""


class TokenSpans:
    """A ledger of the tokens whose text is not all out yet; each step tells the spans of what came out.

    **Law.** The spans of a step lie end to end and cover what that step showed. Over a whole reply every token is told,
    once, or once a part where its text came out in parts. Text that replaces what several tokens wrote belongs to the
    token that completed it; a token behind a stop has an empty span at the end.
    """

    def __init__(self, scanner: Scanner, replacements: Replacements = ()) -> None:
        """Follow a scanner that makes these replacements."""
        self._scanner = scanner
        self._targets = check_replacements(replacements)
        self._pattern = compile_patterns(self._targets)
        self._ends: deque[int] = deque()  # where the raw text of each token ends, for those not told to their end
        self._first = 0  # index of the first of them
        self._told = 0  # the raw text before it is told
        self._held = ""

    def step(self, raw: str, start: int, end: int, *, is_token: bool) -> tuple[int, tuple[Span, ...]]:
        """The index of the first token that is told, and the spans of a step that put ``raw`` into the scanner and showed ``start`` to ``end``.

        Args:
            raw: the new raw text.
            start: where the new text begins in the shown text.
            end: where it ends.
            is_token: whether one token wrote ``raw``; otherwise it is the rest of the last token's.
        """
        scanner = self._scanner
        if is_token and not self._ends and not scanner.held and scanner.stop is None:
            self._told = scanner.raw_len
            self._first += 1
            return self._first - 1, ((start, end),)
        if is_token:
            self._ends.append(scanner.raw_len)
        elif self._ends:
            self._ends[-1] = scanner.raw_len
        elif raw and self._first:
            self._first -= 1
            self._ends.append(scanner.raw_len)
        first = self._first
        return first, self._tell(raw, start)

    def _tell(self, raw: str, start: int) -> tuple[Span, ...]:
        scanner, told, spans = self._scanner, self._told, list[Span]()
        released = max(told, scanner.released_len)
        offsets = self._offsets((self._held + raw)[: released - told])

        def shown(raw_offset: int) -> int:
            return start + offsets[min(raw_offset, released) - told]

        decided = released if scanner.stop is None else scanner.raw_len
        at = told
        while self._ends and self._ends[0] <= decided:
            end = self._ends.popleft()
            spans.append((shown(at), shown(end)))
            at = end
        self._first += len(spans)
        if self._ends and released > at:
            spans.append((shown(at), shown(released)))
        self._told, self._held = released, scanner.held
        return tuple(spans)

    def _offsets(self, raw: str) -> list[int]:
        """Where each offset of a decided raw text stands in what is shown of it."""
        offsets, shown, last = list[int](), 0, 0
        for match in self._pattern.finditer(raw):
            plain = shown + match.start() - last
            offsets += [*range(shown, plain), *[plain] * len(match[0])]
            shown, last = plain + len(self._targets[match[0]]), match.end()
        return [*offsets, *range(shown, shown + len(raw) - last + 1)]
