"""What a comparison of a prompt class with a chat template found: for one prompt, and over many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.plain import Plain
from chatlab.prompts.flaws import Flaw
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

SHOWN = 5
"""Differing prompts drawn in a page at most; the value holds more."""

_FINE_PAIRS = 250_000
"""A stretch of more pairs of words is one edit: ``SequenceMatcher`` takes long to divide it."""

_WORDS = re.compile(r"\w+|\s|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class TextEdit:
    """What the class says where the template says something else; offsets are code points or token positions."""

    class_span: tuple[int, int]
    template_span: tuple[int, int]
    class_part: Any
    template_part: Any


@dataclass(frozen=True, kw_only=True)
class PromptDifference(Result, Plain):
    """One prompt as the class and as the template give it; ``template_text`` is None where the template refused."""

    title = "A prompt class against a chat template"

    dialogue_id: str
    turn_number: int
    class_text: str
    template_text: str | None
    class_ids: list[int]
    template_ids: list[int]
    flaws: tuple[Flaw, ...] = ()

    @property
    def same_text(self) -> bool:
        """Whether both say the same text."""
        return self.class_text == self.template_text

    @property
    def same_ids(self) -> bool:
        """Whether both give the same token ids."""
        return self.template_text is not None and self.class_ids == self.template_ids

    def first_differing_offset(self) -> int | None:
        """The first code point at which the texts differ, or None."""
        if self.same_text or self.template_text is None:
            return None
        return len(commonprefix([self.class_text, self.template_text]))

    def text_edits(self) -> list[TextEdit]:
        """The text diff, word by word, from the class's text to the template's; spans are code points."""
        ours, theirs = _WORDS.findall(self.class_text), _WORDS.findall(self.template_text or "")
        at, to = _offsets(ours), _offsets(theirs)
        return [
            TextEdit(
                class_span=(at[a], at[b]),
                template_span=(to[c], to[d]),
                class_part="".join(ours[a:b]),
                template_part="".join(theirs[c:d]),
            )
            for a, b, c, d in _edits(ours, theirs)
        ]

    def id_edits(self) -> list[TextEdit]:
        """The token-id diff from the class's ids to the template's; spans are token positions."""
        ours, theirs = self.class_ids, self.template_ids
        return [
            TextEdit(class_span=(a, b), template_span=(c, d), class_part=ours[a:b], template_part=theirs[c:d])
            for a, b, c, d in _edits(ours, theirs)
        ]

    def parts(self) -> Iterator[render.Part]:
        """The text diff from the class's text to the template's, left to right."""
        at = 0
        for edit in self.text_edits():
            yield render.Part("same", self.class_text[at : edit.class_span[0]])
            yield render.Part("del", edit.class_part)
            yield render.Part("ins", edit.template_part)
            at = edit.class_span[1]
        yield render.Part("same", self.class_text[at:])

    def summary(self) -> str:
        """One sentence: which prompt it is, and whether text and ids are the same."""
        text, ids = ("the same" if same else "other" for same in (self.same_text, self.same_ids))
        return f"{self.dialogue_id}, turn {self.turn_number}: {text} text, {ids} ids"

    def __str__(self) -> str:
        found = [f"  {f.kind} ({f.side}): {f.detail}" for f in self.flaws]
        lines = map(render.readable, [self.summary(), *found])
        return "\n".join([*lines, render.diff_text(self.parts(), context_len=40)])

    def body(self) -> str:
        """The diff, what the class says struck out and what the template says underlined, and the flaws."""
        found = [(f.kind, f.side, f.detail) for f in self.flaws]
        flaws = render.table_html(("flaw", "side", "what was seen"), found) if found else ""
        return render.paragraph_html(self.summary()) + render.diff_html(self.parts(), context_len=200) + flaws

    def to_frame(self) -> pd.DataFrame:
        """One row an edit of the text: ``class_offset``, ``template_offset``, ``class_part``, ``template_part``."""
        import pandas as pd

        rows = [(e.class_span[0], e.template_span[0], e.class_part, e.template_part) for e in self.text_edits()]
        return pd.DataFrame(rows, columns=["class_offset", "template_offset", "class_part", "template_part"])

    def figure(self) -> Drawing:
        """Both prompts as rows of tokens, one above the other: where they are equal and where they part."""
        from chatlab.plots import plot_stretches

        stretches, at = [], 0
        for edit in self.id_edits():
            (start, end), (a, b) = edit.class_span, edit.template_span
            stretches += [(True, start - at, start - at), (False, end - start, b - a)]
            at = end
        stretches.append((True, len(self.class_ids) - at, len(self.class_ids) - at))
        return plot_stretches(
            stretches, ("class", "template"), f"Tokens of {self.dialogue_id}, turn {self.turn_number}"
        )


@dataclass(frozen=True, kw_only=True)
class TemplateComparison(Result):
    """A prompt class against a tokenizer's own template, over many prompts."""

    title = "A prompt class against a chat template"

    prompt_class: str
    tokenizer: str
    prompts: int
    same_text: int
    same_ids: int
    flaws: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many prompts show each (kind, side)."""
    differences: tuple[PromptDifference, ...] = ()
    """The prompts that differ or show a flaw; the first of them where there were many."""

    def __str__(self) -> str:
        head = (
            f"{self.prompt_class} against the template of {self.tokenizer}: "
            f"{self.same_text} of {self.prompts} prompts have the same text, {self.same_ids} the same ids"
        )
        lines = [head, *(f"  {kind} ({side}): {n} prompts" for (kind, side), n in self.flaws.items())]
        return "\n".join(map(render.readable, lines))

    def body(self) -> str:
        """The counts, the flaws, and the first prompts that differ, as escaped HTML."""
        counts = (self.prompts, self.same_text, self.same_ids)
        table = render.table_html(
            ("prompts", "same text", "same ids"),
            [counts],
            f"{self.prompt_class} against the template of {self.tokenizer}",
        )
        flaws = [(kind, side, n) for (kind, side), n in self.flaws.items()]
        if flaws:
            table += render.table_html(("flaw", "side", "prompts"), flaws)
        return table + "".join(render.details_html(d.summary(), d.body()) for d in self.differences[:SHOWN])

    def to_frame(self) -> pd.DataFrame:
        """One row a prompt that differs, as far as they were kept.

        Columns: ``dialogue_id``, ``turn_number``, ``same_text``, ``same_ids``, ``first_differing_offset``, ``flaws``.
        """
        import pandas as pd

        columns = ["dialogue_id", "turn_number", "same_text", "same_ids", "first_differing_offset", "flaws"]
        rows = [
            (
                *(getattr(d, name) for name in columns[:4]),
                d.first_differing_offset(),
                [f"{flaw.kind} ({flaw.side})" for flaw in d.flaws],
            )
            for d in self.differences
        ]
        return pd.DataFrame(rows, columns=columns)

    def figure(self) -> Drawing:
        """How many prompts are the same, and how many show each kind."""
        from chatlab.plots import plot_counts

        counts = {"same text": self.same_text, "same ids": self.same_ids}
        counts |= {f"{kind} ({side})": n for (kind, side), n in self.flaws.items()}
        title = f"{self.prompt_class} against the template of {self.tokenizer}"
        return plot_counts(list(counts), list(counts.values()), f"prompts, of {self.prompts:,}", title)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        flaws = [{"kind": kind, "side": side, "prompts": n} for (kind, side), n in self.flaws.items()]
        return {**asdict(self), "flaws": flaws, "differences": [d.to_dict() for d in self.differences]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TemplateComparison:
        """The comparison that ``to_dict`` wrote down."""
        flaws = {(f["kind"], f["side"]): f["prompts"] for f in data["flaws"]}
        differences = tuple(map(PromptDifference.from_dict, data["differences"]))
        return cls(**{**data, "flaws": flaws, "differences": differences})


def _offsets(words: list[str]) -> list[int]:
    offsets = [0]
    for word in words:
        offsets.append(offsets[-1] + len(word))
    return offsets


def _edits(ours: list[Any], theirs: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """The stretches that differ: found by what is rare in a long prompt first, then finely between those."""
    for a, b, c, d in _changed(ours, theirs, autojunk=True):
        if (b - a) * (d - c) > _FINE_PAIRS:
            yield a, b, c, d
        else:
            for e, f, g, h in _changed(ours[a:b], theirs[c:d], autojunk=False):
                yield a + e, a + f, c + g, c + h


def _changed(ours: list[Any], theirs: list[Any], *, autojunk: bool) -> Iterator[tuple[int, int, int, int]]:
    for tag, *span in SequenceMatcher(None, ours, theirs, autojunk=autojunk).get_opcodes():
        if tag != "equal":
            yield span[0], span[1], span[2], span[3]
