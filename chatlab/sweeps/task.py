"""A task: one question to one of the studies, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, get_args

from chatlab.errors import SweepError

TEXT, TEXTS, SWITCH = "a text", "a list of texts", "true or false"

_READ = {"tokenizer": TEXT, "revision": TEXT}
_TALKS = {**_READ, "prompt": TEXT, "dialogues": TEXT, "reply_start": TEXT, "untrusted": SWITCH, "skip_bad": SWITCH}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "drift": {**_TALKS, "strategies": TEXTS},
    "turns": {**_TALKS, "stored": TEXT},
    "audit": {**_READ, "template": TEXT},
    "snapshot": _READ,
    "compare": {"before": TEXT, "after": TEXT, "loader": TEXT},
}
"""Kind of task → its inputs, and what each of them is."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "drift": ("tokenizer", "prompt"),
    "turns": ("tokenizer",),
    "audit": ("tokenizer",),
    "snapshot": ("tokenizer",),
    "compare": ("before", "after"),
}

TOKENIZERS = ("tokenizer", "before", "after")
"""The inputs whose files are those of a tokenizer."""


@dataclass(frozen=True)
class Task:
    """One question: its kind, and plain inputs that any machine with the same files understands.

    >>> Task("snapshot", {"tokenizer": "embedded:llama2-style/legacy"}).kind
    'snapshot'

    Args:
        kind: ``drift``, ``turns``, ``audit``, ``snapshot`` or ``compare``: the study that answers.
        inputs: by the names of :data:`FIELDS`; a tokenizer is a folder, a file, a hub id or ``embedded:NAME``,
            ``dialogues`` a file or ``embedded:dialogues``, ``prompt`` a format's name, a ``.jinja`` file or
            ``template``, the tokenizer's own.

    Raises:
        SweepError: there is no such kind or input, one is missing, or of another type.
    """

    kind: str
    inputs: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        fields = FIELDS.get(self.kind) if isinstance(self.kind, str) else None
        if fields is None:
            raise SweepError(f"there is no kind of task {self.kind!r:.80}: there are {', '.join(FIELDS)}")
        for name, value in self.inputs.items():
            self._check(name, value, fields)
        missing = [name for name in REQUIRED[self.kind] if name not in self.inputs]
        if missing:
            raise SweepError(f"a task of kind {self.kind} lacks {', '.join(missing)}")

    def _check(self, name: Any, value: Any, fields: Mapping[str, str]) -> None:
        if name not in fields:
            raise SweepError(f"a task of kind {self.kind} has no input {unknown(name, fields)}")
        if not fits(value, fields[name]):
            raise SweepError(f"{name} of a task of kind {self.kind} is {value!r:.80}: give {fields[name]}")


def fits(value: Any, what: str) -> bool:
    """Whether a value is what a field wants."""
    if what == TEXTS:
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return isinstance(value, bool) if what == SWITCH else isinstance(value, str)


def unknown(name: Any, known: Any) -> str:
    """A name that is none, with the one that is near."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    return f"{name!r:.80}: {f'did you mean {near[0]!r}? ' if near else ''}there are {', '.join(names) or 'none'}"


def chosen(name: str, value: str, of: Any) -> None:
    """Refuse a word that is none of a ``Literal``.

    Raises:
        SweepError: it is another.
    """
    if value not in get_args(of):
        raise SweepError(f"{name} is {unknown(value, get_args(of))}")
