"""Hold somebody's streaming parser to the law that no cutting of a text changes its answer."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatlab.errors import FragmentTypeError
from chatlab.render import readable, table_html
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

Fragments = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """A cutting of a text that changes what a parser answers."""

    fragments: Fragments
    answer: Any
    """What it answers to the fragments; an exception as its type and message."""
    whole_answer: Any
    """What it answers to the text in one piece."""

    @property
    def text(self) -> str:
        """The text in one piece."""
        return "".join(self.fragments)


@dataclass(frozen=True, kw_only=True)
class StreamingCheck(Result):
    """Which cuttings change a parser's answer, the smallest example first."""

    title = "A parser of a stream"

    changed: tuple[ChangedAnswer, ...]
    """At most one a sample, each made as small as it goes; empty where the law holds for all that was tried."""
    sample_len: int
    """How many samples were tried."""
    cutting_len: int
    """How many cuttings of them."""
    changed_len: int
    """How many of these changed the answer."""

    @property
    def holds(self) -> bool:
        """Whether no cutting changed an answer."""
        return not self.changed

    def __str__(self) -> str:
        head = f"{self.changed_len} of {self.cutting_len} cuttings of {self.sample_len} samples change the answer"
        rows = [f"  {list(c.fragments)!r}: {c.answer!r}; whole: {c.whole_answer!r}" for c in self.changed]
        return readable("\n".join([head, *rows]))

    def body(self) -> str:
        """The examples as an escaped table."""
        rows = [(repr(list(c.fragments)), repr(c.answer), repr(c.whole_answer)) for c in self.changed]
        return table_html(("fragments", "answer", "answer to the whole text"), rows)

    def to_frame(self) -> pd.DataFrame:
        """One row an example: ``fragments``, ``answer``, ``whole_answer``."""
        import pandas as pd

        rows = [(list(c.fragments), c.answer, c.whole_answer) for c in self.changed]
        return pd.DataFrame(rows, columns=["fragments", "answer", "whole_answer"], dtype=object)

    def figure(self) -> Drawing:
        """How many cuttings change the answer, beside those that do not."""
        from chatlab.plots import plot_counts

        counts = [self.changed_len, self.cutting_len - self.changed_len]
        title = f"{self.sample_len} samples, cut in many ways"
        return plot_counts(["other answer", "same answer"], counts, "cuttings", title)


def check_streaming(
    parser: Any,
    samples: Iterable[str],
    *,
    join: Callable[[list[Any]], Any] | None = None,
    random_cuts: int = 40,
    seed: int = 0,
) -> StreamingCheck:
    r"""Cut texts in many ways, and tell which cuttings change what a parser answers.

    **Law.** A parser of a stream answers to fragments what it answers to their text in one piece.

    >>> def shout(fragments):  # sees a tag only where it comes whole
    ...     return "".join(fragment.replace("<NL>", "\n") for fragment in fragments)
    >>> check_streaming(shout, ["one<NL>two"]).changed[0].fragments
    ('<', 'NL>')

    Args:
        parser: a function of a list of fragments; or an object with ``feed`` (or ``put``) and, if it has one, ``flush``
            (``close``, ``finish``); or what makes such an object when called without arguments. An object is copied
            for each text, so its state is no matter.
        samples: whole texts, such as replies with delimiters and text that looks like them.
        join: makes the answer of the list of what the calls gave; left out, texts are joined, mappings and
            ``(name, text)`` pairs too, and anything else is compared as a list.
        random_cuts: cuttings at random places, for each text, beside those by one cut, by character and by some lengths.
        seed: of the random places.

    Raises:
        FragmentTypeError: a sample is no ``str``.
        TypeError: the parser is none of these.
    """
    run = _Runner(_opened(parser), join or join_answers)
    tried = changed = 0
    found: list[ChangedAnswer] = []
    texts = list(samples)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise FragmentTypeError(text)
        drawn = _cuttings(text, random.Random(seed + number), random_cuts)
        cuttings = list(dict.fromkeys(fragments for fragments in drawn if len(fragments) > 1))
        whole = run((text,))
        wrong = [fragments for fragments in cuttings if run(fragments) != whole]
        tried, changed = tried + len(cuttings), changed + len(wrong)
        if wrong:
            found.append(_smallest(run, min(wrong, key=len)))
    found.sort(key=lambda case: (len(case.text), len(case.fragments)))
    return StreamingCheck(changed=tuple(found), sample_len=len(texts), cutting_len=tried, changed_len=changed)


def join_answers(outputs: list[Any]) -> Any:
    """What the calls gave, as one answer: texts joined, those of mappings and of ``(name, text)`` pairs, too."""
    flat: list[Any] = []
    for output in outputs:
        several = isinstance(output, list | Iterator) or (isinstance(output, tuple) and not _is_pair(output))
        flat += list(output) if several else [output]
    flat = [output for output in flat if output is not None]
    if all(isinstance(output, str) for output in flat):
        return "".join(flat)
    if all(isinstance(output, Mapping) for output in flat):
        joined: dict[Any, Any] = {}
        for output in flat:
            joined = _added(joined, output)
        return joined
    if all(map(_is_pair, flat)):
        return _joined_pairs(flat)
    return flat


@dataclass
class _Runner:
    """Runs a parser over fragments; the same fragments once."""

    answer: Callable[[Sequence[str]], list[Any]]
    join: Callable[[list[Any]], Any]
    known: dict[Fragments, Any] = field(default_factory=dict)

    def __call__(self, fragments: Fragments) -> Any:
        if fragments not in self.known:
            try:
                self.known[fragments] = self.join(self.answer(list(fragments)))
            except Exception as error:  # a foreign parser: that it raises is its answer
                self.known[fragments] = f"{type(error).__name__}: {error}"
        return self.known[fragments]


def _opened(parser: Any) -> Callable[[Sequence[str]], list[Any]]:
    """A parser of any kind as a function from fragments to all that it gave."""
    if not isinstance(parser, type) and _feeder(parser):
        return lambda fragments: _fed(copy.deepcopy(parser), fragments)
    if not callable(parser):
        raise TypeError(
            f"a parser is a function of fragments, or has feed and flush; {type(parser).__name__} has neither"
        )
    if _needs_nothing(parser):
        return lambda fragments: _fed(parser(), fragments)
    return lambda fragments: [parser(fragments)]


def _needs_nothing(parser: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(parser).parameters.values()
    except ValueError:  # built in
        return isinstance(parser, type)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)


def _feeder(parser: Any) -> Callable[[str], Any] | None:
    return next((getattr(parser, name) for name in ("feed", "put") if callable(getattr(parser, name, None))), None)


def _fed(parser: Any, fragments: Sequence[str]) -> list[Any]:
    feed = _feeder(parser)
    if feed is None:
        raise TypeError(f"{type(parser).__name__} has neither feed nor put")
    outputs = [_kept(feed(fragment)) for fragment in fragments]
    for name in ("flush", "finish", "close"):
        if callable(end := getattr(parser, name, None)):
            return [*outputs, _kept(end())]
    return outputs


def _kept(output: Any) -> Any:
    """An output as it is now: a parser may go on with the same object."""
    return list(output) if isinstance(output, Iterator) else copy.deepcopy(output)


def _cuttings(text: str, draw: random.Random, random_cuts: int) -> Iterator[Fragments]:
    places = range(1, len(text))
    for place in places if len(text) <= 400 else sorted(draw.sample(places, 400)):
        yield text[:place], text[place:]
    for length in (1, 2, 3, 4, 7):
        yield tuple(text[start : start + length] for start in range(0, len(text), length))
    for _ in range(random_cuts if len(text) > 2 else 0):
        cuts = sorted({0, len(text), *draw.choices(places, k=draw.randint(2, 6))})
        yield tuple(text[start:end] for start, end in zip(cuts, cuts[1:], strict=False))


def _smallest(run: _Runner, fragments: Fragments, budget: int = 3_000) -> ChangedAnswer:
    """Take characters and cuts away as long as the answer still changes."""
    candidates = _smaller(fragments)
    while budget and (smaller := next(candidates, None)):
        budget -= 1
        if run(smaller) != run(("".join(smaller),)):
            fragments, candidates = smaller, _smaller(smaller)
    return ChangedAnswer(fragments=fragments, answer=run(fragments), whole_answer=run(("".join(fragments),)))


def _smaller(fragments: Fragments) -> Iterator[Fragments]:
    """Fragments with one cut less, then with less text: long stretches first."""
    for at in range(1, len(fragments)):
        if len(fragments) > 2:
            yield (*fragments[: at - 1], fragments[at - 1] + fragments[at], *fragments[at + 1 :])
    length = max(map(len, fragments))
    while length:
        for at, fragment in enumerate(fragments):
            for start in range(0, len(fragment) - length + 1, max(1, length // 2)):
                rest = fragment[:start] + fragment[start + length :]
                smaller = (*fragments[:at], *filter(None, [rest]), *fragments[at + 1 :])
                if len(smaller) > 1:
                    yield smaller
        length //= 2


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) >= 2 and isinstance(value[0], str) and isinstance(value[1], str)


def _joined_pairs(pairs: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for name, text, *more in pairs:
        if joined and joined[-1][0] == name and list(joined[-1][2:]) == more:
            joined[-1] = (name, joined[-1][1] + text, *more)
        elif text:
            joined.append((name, text, *more))
    return joined


def _added(old: Any, new: Any) -> Any:
    """Two values of one key: texts and lists go on, mappings key by key, anything else is the newer."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _added(old[key], value) if key in old else value for key, value in new.items()}}
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    return old if new is None else new
