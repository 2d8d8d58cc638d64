"""Does each turn delimiter survive encoding and decoding, so that a parser of echoes still finds it?"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from chatlab.revisions.behaviour import View, talk
from chatlab.revisions.drift import token_pattern


@dataclass(frozen=True, kw_only=True)
class Delimiter:
    """A turn delimiter as the prompt writes it and as each side's echo shows it.

    A parser of echoes looks for the form it once saw, so it breaks when the two echo forms differ.
    """

    token: str
    written: str
    echo_before: str
    """Empty when the delimiter does not come back at all."""
    echo_after: str

    @property
    def broken(self) -> bool:
        """Whether a parser that knew the first echo finds nothing in the second."""
        return bool(self.echo_before) and self.echo_before not in self.echo_after

    @property
    def lost(self) -> bool:
        """Whether the written form is no longer in the echo, though it was."""
        return self.written in self.echo_before and self.written not in self.echo_after


def delimiter_forms(view: View) -> dict[tuple[str, str], str]:
    """Return (token, written form) → most frequent form in the echo; a form is a token and the whitespace around it.

    Only whitespace of the template counts, so a token's form is the commonest one over all renders.
    """
    pattern = token_pattern(view)
    forms: dict[tuple[str, str], Counter[str]] = {}
    if pattern is None:
        return {}
    around = re.compile(rf"({pattern.pattern})(\s*)")
    for probe in talk(view).values():
        echo = probe.get("keep")
        if not isinstance(echo, str):
            continue
        written = [(m[1], m[0]) for m in around.finditer(probe["text"])]
        came: dict[str, list[str]] = {}
        for match in around.finditer(echo):
            came.setdefault(match[1], []).append(match[0])
        for token, form in written:
            queue = came.get(token)
            forms.setdefault((token, form), Counter())[queue.pop(0) if queue else ""] += 1
    return {key: max(sorted(counter), key=lambda f: counter[f]) for key, counter in forms.items()}


def compare_delimiters(a: View, b: View) -> list[Delimiter]:
    """Return the commonest form of each turn delimiter, with its echo on both sides."""
    before, after = delimiter_forms(a), delimiter_forms(b)
    counts = Counter[tuple[str, str]]()
    for key in before.keys() | after.keys():
        counts[key] += (key in before) + (key in after)
    rows = []
    for token in sorted({token for token, _ in counts}):
        forms = sorted(
            (key for key in counts if key[0] == token),
            key=lambda k: (-counts[k], k not in before, len(k[1]) == len(token), k[1]),
        )
        for key in forms[:2]:
            rows.append(
                Delimiter(token=token, written=key[1], echo_before=before.get(key, ""), echo_after=after.get(key, ""))
            )
    return rows
