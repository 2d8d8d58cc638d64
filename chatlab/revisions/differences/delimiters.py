"""Does each delimiter survive encoding and decoding, so that a parser of echoes still finds it?

A delimiter is what a parser can split on: a control token, or a literal that the chat template writes. It is looked at
in the texts that both sides were given, so that what a *template* writes around it is never taken for what a
*tokenizer* did to it; the former is told by :func:`compare_spacing`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chatlab.revisions.differences.behaviour import probes, shared_probes, talk
from chatlab.revisions.differences.drift import longest_first
from chatlab.snapshots.recorder import RESERVED
from chatlab.snapshots.views import Echo, LoaderView, Probe

SEEN = ("prompt", "chat", "turns", "added")
"""Families of probes that hold delimiters."""


@dataclass(frozen=True, kw_only=True)
class Delimiter:
    """A delimiter with the whitespace around it as prompts write it, and as each side's echo shows it.

    A parser of echoes looks for the form it once saw, so it breaks when the second echo no longer holds it.
    """

    token: str
    written: str
    echo_before: str
    """Decoded with special tokens kept; empty where it does not come back at all."""
    echo_after: str
    bare_before: str
    """Decoded without special tokens, as most programs decode; empty where it does not come back at all."""
    bare_after: str

    @property
    def broken(self) -> bool:
        """Whether a parser that knew the first echo, of either decoding, finds nothing in the second."""
        return self.lost_kept or self.lost_bare

    @property
    def lost_kept(self) -> bool:
        """Whether it is lost where special tokens are kept."""
        return lost(self.echo_before, self.echo_after)

    @property
    def lost_bare(self) -> bool:
        """Whether it is lost in the default decoding."""
        return lost(self.bare_before, self.bare_after)


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """A delimiter around which the chat template itself writes other whitespace than before."""

    token: str
    before: str
    """Its commonest form in the renders: the delimiter with the whitespace around it."""
    after: str


Form = tuple[str, str]
"""A delimiter, and how it is written with the whitespace after it."""

FORMS = 2
"""So many written forms of a delimiter are told."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What a parser can split on."""

    tokens: frozenset[str]
    """Added and control tokens, of the loaders and of the files."""
    words: frozenset[str]
    """What the templates write, without the tokens in it."""

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """Finds any of them, the longest first."""
        return longest_first(self.tokens | self.words)


def candidates(tokens: Iterable[str], literals: Iterable[str]) -> Candidates:
    """Return what a parser can split on, unused placeholders left out.

    >>> found = candidates(["<s>", "</s>", "<|reserved_1|>"], ["</s><s>[INST]", "User:", "user"])
    >>> sorted(found.tokens), sorted(found.words)
    (['</s>', '<s>'], ['User:', '[INST]'])
    """
    known = frozenset(token for token in tokens if token and not RESERVED.search(token))
    pattern = longest_first(known)
    parts = literals if pattern is None else (part for literal in literals for part in pattern.split(literal))
    words = frozenset(part for part in parts if part and len(part) > 1 and not part.isalnum())
    return Candidates(tokens=known, words=words)


def compare_delimiters(before: LoaderView, after: LoaderView, known: Candidates) -> list[Delimiter]:
    """Return the commonest written forms of each delimiter, with its echoes on both sides.

    A token that no prompt holds is told only where it is lost.
    """
    pattern = known.pattern
    if pattern is None:
        return []
    written = Counter(form for view in (before, after) for p in talk(view).values() for form in forms(pattern, p.text))
    pairs = [(old, new) for old, new in shared_probes(before, after) if old.family in SEEN]
    shared = [_echoes(pattern, [pair[side] for pair in pairs]) for side in (0, 1)]
    own = [_surfaces(pattern, talk(view).values()) for view in (before, after)]
    rows = []
    in_prompts = {token for token, _ in written}
    for token in sorted({*in_prompts, *(token for token, _ in shared[0])}):
        asked = [form for form in sorted(written, key=lambda f: (-written[f], f)) if form[0] == token]
        told = [form for form in asked or [(token, token)] if form in shared[0]][:FORMS]
        # No text with it was given to both sides: then what is left to compare is whether it comes back at all.
        found = [_delimiter(form, *shared) for form in told] or [_delimiter((token, token), *own)]
        # Words of a template that come back as before are no news, as the way back of a prompt's control token is.
        rows += [row for row in found if row.broken or token in in_prompts & known.tokens]
    return rows


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What became of one written form of a delimiter on one side, the commonest of all times that it was probed."""

    token: str
    kept: str
    bare: str


def delimiters_of(view: LoaderView, known: Candidates) -> dict[str, Marked]:
    """Return each form of a delimiter that prompts hold, with its echoes: what a lock keeps of one side."""
    pattern = known.pattern
    if pattern is None:
        return {}
    came = _echoes(pattern, [probe for probe in probes(view).values() if probe.family in SEEN])
    written = {form for probe in talk(view).values() for form in forms(pattern, probe.text)}
    in_prompts = {token for token, _ in written}
    written |= {form for form in came if form[0] == form[1] and form[0] not in in_prompts}
    return {
        form: Marked(token=token, kept=_commonest(came[token, form].kept), bare=_commonest(came[token, form].bare))
        for token, form in sorted(written)
    }


def lost(before: str, after: str) -> bool:
    """Whether a parser that knew the first echo of a delimiter finds nothing in the second."""
    return bool(before) and before not in after


def forms(pattern: re.Pattern[str], text: str) -> list[Form]:
    r"""Return each delimiter of a text with the whitespace after it.

    >>> forms(re.compile("<e>"), "Hi<e>\n<e>")
    [('<e>', '<e>\n'), ('<e>', '<e>')]
    """
    return [(m[1], m[0]) for m in re.finditer(rf"({pattern.pattern})\s*", text)]


@dataclass(frozen=True, kw_only=True)
class _Echoes:
    """How often a written form came back as what, with special tokens kept and without them."""

    kept: Counter[str]
    bare: Counter[str]


def _echoes(pattern: re.Pattern[str], probes: Iterable[Probe]) -> dict[Form, _Echoes]:
    found: dict[Form, _Echoes] = {}
    for probe in probes:
        written = forms(pattern, probe.text)
        for form, kept, bare in zip(
            written, _came(pattern, written, probe.keep), _came(pattern, written, probe.skip), strict=True
        ):
            counters = found.setdefault(form, _Echoes(kept=Counter(), bare=Counter()))
            counters.kept[kept] += 1
            counters.bare[bare] += 1
    return found


def _came(pattern: re.Pattern[str], written: list[Form], echo: Echo) -> list[str]:
    """Return what became of each written delimiter, in order; empty where it is not there any more."""
    queues: dict[str, list[str]] = {}
    for token, form in forms(pattern, echo) if isinstance(echo, str) else []:
        queues.setdefault(token, []).append(form)
    return [queue.pop(0) if (queue := queues.get(token)) else "" for token, _ in written]


def _surfaces(pattern: re.Pattern[str], probes: Iterable[Probe]) -> dict[Form, _Echoes]:
    """Return the same of each delimiter without the whitespace around it."""
    found: dict[Form, _Echoes] = {}
    for (token, _), came in _echoes(pattern, probes).items():
        counters = found.setdefault((token, token), _Echoes(kept=Counter(), bare=Counter()))
        for total, part in ((counters.kept, came.kept), (counters.bare, came.bare)):
            for form, count in part.items():
                total[form.rstrip() and token] += count
    return found


def _delimiter(form: Form, before: Mapping[Form, _Echoes], after: Mapping[Form, _Echoes]) -> Delimiter:
    old, new = before.get(form), after.get(form)
    # What one side was never asked cannot be lost there.
    known = old is not None and new is not None
    return Delimiter(
        token=form[0],
        written=form[1],
        echo_before=_commonest(old.kept) if old and known else "",
        echo_after=_commonest(new.kept) if new and known else "",
        bare_before=_commonest(old.bare) if old and known else "",
        bare_after=_commonest(new.bare) if new and known else "",
    )


def _commonest(counter: Counter[str]) -> str:
    return max(sorted(counter), key=lambda form: counter[form])


def compare_spacing(before: LoaderView, after: LoaderView, known: Candidates) -> list[Spacing]:
    """Return the delimiters around which the templates write other whitespace, where they write the same delimiters."""
    pattern = known.pattern
    if pattern is None:
        return []
    changed: dict[str, Counter[tuple[str, str]]] = {}
    others = talk(after)
    for label, old in talk(before).items():
        new = others.get(label)
        for token, one, two in _respaced(pattern, old.text, new.text) if new else ():
            changed.setdefault(token, Counter())[one, two] += 1
    rows = []
    for token, counter in sorted(changed.items()):
        one, two = max(sorted(counter), key=lambda pair: counter[pair])
        rows.append(Spacing(token=token, before=one, after=two))
    return rows


def _respaced(pattern: re.Pattern[str], before: str, after: str) -> list[tuple[str, str, str]]:
    old, new = surroundings(pattern, before), surroundings(pattern, after)
    if [token for token, _ in old] != [token for token, _ in new]:
        return []
    return [(token, one, two) for (token, one), (_, two) in zip(old, new, strict=True) if one != two]


def surroundings(pattern: re.Pattern[str], text: str) -> list[Form]:
    r"""Return each delimiter of a text with the whitespace on both sides of it.

    >>> surroundings(re.compile("<e>"), "Hi <e>\n<e>")
    [('<e>', ' <e>\n'), ('<e>', '\n<e>')]
    """
    found = list(pattern.finditer(text))
    ends = [0, *(match.end() for match in found)]
    before = (_trailing(text[end : m.start()]) for m, end in zip(found, ends, strict=False))
    return [(m[0], blank + m[0] + _leading(text[m.end() :])) for m, blank in zip(found, before, strict=True)]


def _trailing(text: str) -> str:
    return text[len(text.rstrip()) :]


def _leading(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]
