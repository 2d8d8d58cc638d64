"""Where a prompt class and a tokenizer's own chat template differ, in text and in token ids, with the usual faults named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.errors import TemplateError, TemplateLimitError, TemplateSyntaxError
from chatlab.progress.meter import Meter, Reporter, length_of
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.chat_template import ChatTemplatePrompt
from chatlab.prompts.control_tokens import encode_prompt
from chatlab.prompts.dialogue import Dialogue, prompts_of
from chatlab.prompts.readers import reader_of
from chatlab.prompts.reading import Reader
from chatlab.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

SHOWN = 5
"""Differing prompts drawn in a page at most; the value holds more."""

_WORDS = re.compile(r"\w+|\s|[^\w\s]")


class Fault(StrEnum):
    """A difference that has a name because it is common and costs quality."""

    DOUBLE_BOS = "double BOS"
    MISSING_BOS = "missing BOS"
    TRAILING_SPACE = "trailing space"
    MISSING_GENERATION_PROMPT = "missing generation prompt"
    SYSTEM_DROPPED = "system prompt dropped"
    PREFIX_BROKEN = "prefix property broken"
    REFUSED = "messages refused"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault, whose it is (``class`` or ``template``), and what was seen."""

    fault: Fault
    side: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class TextEdit:
    """What the class says where the template says something else; offsets are code points or token positions."""

    class_span: tuple[int, int]
    template_span: tuple[int, int]
    class_part: Any
    template_part: Any


@dataclass(frozen=True, kw_only=True)
class PromptDifference(Result):
    """One prompt as the class and as the template give it; ``template_text`` is None where the template refused."""

    title = "A prompt class against a chat template"

    dialogue_id: str
    turn_number: int
    class_text: str
    template_text: str | None
    class_ids: list[int]
    template_ids: list[int]
    findings: tuple[Finding, ...] = ()

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
        pairs = zip(self.class_text, self.template_text, strict=False)
        shorter = min(len(self.class_text), len(self.template_text))
        return next((offset for offset, (ours, theirs) in enumerate(pairs) if ours != theirs), shorter)

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
        found = [f"  {f.fault} ({f.side}): {f.detail}" for f in self.findings]
        lines = map(render.readable, [self.summary(), *found])
        return "\n".join([*lines, render.diff_text(self.parts(), context_len=40)])

    def body(self) -> str:
        """The diff, what the class says struck out and what the template says underlined, and the faults."""
        found = [(f.fault, f.side, f.detail) for f in self.findings]
        faults = render.table_html(("fault", "side", "what was seen"), found) if found else ""
        return render.paragraph_html(self.summary()) + render.diff_html(self.parts(), context_len=200) + faults

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

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PromptDifference:
        """The difference that ``to_dict`` wrote down."""
        findings = tuple(Finding(**{**finding, "fault": Fault(finding["fault"])}) for finding in data["findings"])
        return cls(**{**data, "findings": findings})


@dataclass(frozen=True, kw_only=True)
class TemplateComparison(Result):
    """A prompt class against a tokenizer's own template, over many prompts."""

    title = "A prompt class against a chat template"

    prompt_class: str
    tokenizer: str
    prompts: int
    same_text: int
    same_ids: int
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many prompts show each (fault, side)."""
    differences: tuple[PromptDifference, ...] = ()
    """The prompts that differ or show a fault; the first of them where there were many."""

    def __str__(self) -> str:
        head = (
            f"{self.prompt_class} against the template of {self.tokenizer}: "
            f"{self.same_text} of {self.prompts} prompts have the same text, {self.same_ids} the same ids"
        )
        lines = [head, *(f"  {fault} ({side}): {n} prompts" for (fault, side), n in self.findings.items())]
        return "\n".join(map(render.readable, lines))

    def body(self) -> str:
        """The counts, the faults, and the first prompts that differ, as escaped HTML."""
        counts = (self.prompts, self.same_text, self.same_ids)
        table = render.table_html(
            ("prompts", "same text", "same ids"),
            [counts],
            f"{self.prompt_class} against the template of {self.tokenizer}",
        )
        faults = [(fault, side, n) for (fault, side), n in self.findings.items()]
        if faults:
            table += render.table_html(("fault", "side", "prompts"), faults)
        return table + "".join(render.details_html(d.summary(), d.body()) for d in self.differences[:SHOWN])

    def to_frame(self) -> pd.DataFrame:
        """One row a prompt that differs, as far as they were kept.

        Columns: ``dialogue_id``, ``turn_number``, ``same_text``, ``same_ids``, ``first_differing_offset``, ``faults``.
        """
        import pandas as pd

        columns = ["dialogue_id", "turn_number", "same_text", "same_ids", "first_differing_offset", "faults"]
        rows = [
            (
                *(getattr(d, name) for name in columns[:4]),
                d.first_differing_offset(),
                [f"{finding.fault} ({finding.side})" for finding in d.findings],
            )
            for d in self.differences
        ]
        return pd.DataFrame(rows, columns=columns)

    def figure(self) -> Drawing:
        """How many prompts are the same, and how many show each fault."""
        from chatlab.plots import plot_counts

        counts = {"same text": self.same_text, "same ids": self.same_ids}
        counts |= {f"{fault} ({side})": n for (fault, side), n in self.findings.items()}
        title = f"{self.prompt_class} against the template of {self.tokenizer}"
        return plot_counts(list(counts), list(counts.values()), f"prompts, of {self.prompts:,}", title)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        findings = [{"fault": fault, "side": side, "prompts": n} for (fault, side), n in self.findings.items()]
        return {**asdict(self), "findings": findings, "differences": [d.to_dict() for d in self.differences]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TemplateComparison:
        """The comparison that ``to_dict`` wrote down."""
        findings = {(f["fault"], f["side"]): f["prompts"] for f in data["findings"]}
        differences = tuple(map(PromptDifference.from_dict, data["differences"]))
        return cls(**{**data, "findings": findings, "differences": differences})


def compare_with_template(
    prompt_class: Callable[[], AbstractChatPrompt],
    tokenizer: Any,
    dialogues: Iterable[Dialogue],
    *,
    template: Any = None,
    clock: datetime | None = None,
    untrusted: bool = False,
    keep: int = 100,
    progress: bool | Reporter = False,
) -> TemplateComparison:
    """Compare every turn's prompt of a class with what the tokenizer's own template makes of the same messages.

    Args:
        prompt_class: a prompt class, or anything that makes a prompt when called.
        tokenizer: what encodes both: an AutoTokenizer, a raw ``tokenizers.Tokenizer``, or one of ``load_tokenizer``.
        dialogues: what to compare on; each of their turns is one prompt.
        template: what carries the chat template: an AutoTokenizer, or a folder; the tokenizer itself when None.
        clock: the time that the template is told.
        untrusted: render the template in a child process under ``TemplateLimits``.
        keep: how many differing prompts the result holds; all are counted.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        TemplateError: the tokenizer has no chat template.
        TemplateLimitError: an untrusted template oversteps a limit.
        TemplateSyntaxError: the template is not Jinja.
        PromptError: the class is no prompt class.
    """
    reader = reader_of(tokenizer)
    theirs = ChatTemplatePrompt(tokenizer if template is None else template, clock=clock, untrusted=untrusted)
    prompts, same_text, same_ids, kept = 0, 0, 0, list[PromptDifference]()
    findings: Counter[tuple[str, str]] = Counter()
    with Meter(progress, "comparing", "dialogues", length_of(dialogues)) as meter:
        for dialogue in dialogues:
            for difference in _compare(prompt_class, theirs, reader, tokenizer, dialogue):
                prompts += 1
                same_text += difference.same_text
                same_ids += difference.same_ids
                findings.update({(finding.fault.value, finding.side) for finding in difference.findings})
                if len(kept) < keep and not (difference.same_text and difference.same_ids and not difference.findings):
                    kept.append(difference)
            meter.advance()
    return TemplateComparison(
        prompt_class=getattr(prompt_class, "__name__", type(prompt_class).__name__),
        tokenizer=_name_of(tokenizer),
        prompts=prompts,
        same_text=same_text,
        same_ids=same_ids,
        findings=dict(sorted(findings.items())),
        differences=tuple(kept),
    )


def _name_of(tokenizer: Any) -> str:
    """The hub id, or the last two parts of a folder: no machine's own paths in a report."""
    name = str(getattr(tokenizer, "name_or_path", "") or getattr(tokenizer, "name", type(tokenizer).__name__))
    return "/".join(Path(name).resolve().parts[-2:]) if Path(name).exists() else name


def _compare(
    prompt_class: Callable[[], AbstractChatPrompt],
    template: ChatTemplatePrompt,
    reader: Reader,
    tokenizer: Any,
    dialogue: Dialogue,
) -> Iterator[PromptDifference]:
    theirs = prompts_of(dialogue, template.copy)
    for (number, our_prompt), (_, their_prompt) in zip(prompts_of(dialogue, prompt_class), theirs, strict=True):
        findings = []
        ours = _rendered(our_prompt, reader, tokenizer)
        findings += _faults("class", ours, dialogue)
        their: _Rendered | None = None
        try:
            their = _rendered(their_prompt, reader, tokenizer)
            findings += _faults("template", their, dialogue) + _relative_faults(ours, their)
        except (TemplateLimitError, TemplateSyntaxError):
            raise  # the template's own fault, whatever the messages
        except TemplateError as error:
            findings.append(Finding(fault=Fault.REFUSED, side="template", detail=str(error)))
        yield PromptDifference(
            dialogue_id=dialogue.id,
            turn_number=number,
            class_text=ours.text,
            template_text=their.text if their else None,
            class_ids=ours.ids,
            template_ids=their.ids if their else [],
            findings=tuple(findings),
        )


@dataclass(frozen=True, kw_only=True)
class _Rendered:
    text: str
    ids: list[int]
    closed: str
    """The same without the reply's opening."""
    earlier: str
    """Without the last question either: the first messages alone."""
    bos_id: int | None
    ids_with_special: list[int]


def _rendered(prompt: AbstractChatPrompt, reader: Reader, tokenizer: Any) -> _Rendered:
    encoded = encode_prompt(tokenizer, prompt, warn=False)
    closed = prompt.copy()
    closed.remove_last_message()
    earlier = closed.copy()
    earlier.remove_last_message()
    before = reader.frame[0]
    return _Rendered(
        text=encoded.text,
        ids=encoded.token_ids,
        closed=closed.create_prompt(),
        earlier=earlier.create_prompt() if earlier.get_history() else "",
        bos_id=before[0] if before else _bos_id(tokenizer),
        ids_with_special=[*before, *encoded.token_ids] if prompt.add_special_tokens is False else encoded.token_ids,
    )


def _bos_id(tokenizer: Any) -> int | None:
    bos: int | None = getattr(tokenizer, "bos_token_id", None)
    return bos if bos is not None else dict(getattr(tokenizer, "special_strs", {})).get("<s>")


def _faults(side: str, prompt: _Rendered, dialogue: Dialogue) -> list[Finding]:
    """What is wrong with a prompt on its own."""
    faults = []
    bos = [prompt.bos_id, prompt.bos_id]
    if prompt.bos_id is not None and prompt.ids[:2] == bos:
        faults.append(Finding(fault=Fault.DOUBLE_BOS, side=side, detail=f"the ids begin with {bos}"))
    elif prompt.bos_id is not None and prompt.ids_with_special[:2] == bos:
        detail = "the text carries its BOS: with add_special_tokens=True, the default, there are two"
        faults.append(Finding(fault=Fault.DOUBLE_BOS, side=side, detail=detail))
    if dialogue.system and dialogue.system.strip() and dialogue.system.strip() not in prompt.text:
        detail = f"{dialogue.system.strip()!r:.60} is not in the prompt"
        faults.append(Finding(fault=Fault.SYSTEM_DROPPED, side=side, detail=detail))
    if not prompt.text.startswith(prompt.earlier):
        offset = len(_common_prefix(prompt.text, prompt.earlier))
        detail = f"the first messages alone give other text from offset {offset}: {prompt.earlier[offset:]!r:.60}"
        faults.append(Finding(fault=Fault.PREFIX_BROKEN, side=side, detail=detail))
    return faults


def _relative_faults(ours: _Rendered, theirs: _Rendered) -> list[Finding]:
    """What one side has and the other lacks."""
    faults = []
    sides = (("class", ours, theirs), ("template", theirs, ours))
    for side, mine, other in sides:
        if mine.bos_id is not None and other.ids[:1] == [mine.bos_id] != mine.ids[:1]:
            faults.append(Finding(fault=Fault.MISSING_BOS, side=side, detail="only the other side's ids begin with it"))
        opening = other.text.removeprefix(other.closed) if other.text.startswith(other.closed) else ""
        if opening.strip() and not mine.text.rstrip().endswith(opening.rstrip()):
            detail = f"the prompt does not end in {opening!r}"
            faults.append(Finding(fault=Fault.MISSING_GENERATION_PROMPT, side=side, detail=detail))
        mine_end, other_end = (text[len(text.rstrip()) :] for text in (mine.text, other.text))
        if len(mine_end) > len(other_end):
            detail = f"the prompt ends in {mine_end!r}, the other in {other_end!r}"
            faults.append(Finding(fault=Fault.TRAILING_SPACE, side=side, detail=detail))
    return faults


def _common_prefix(left: str, right: str) -> str:
    offset = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return left[:offset]


def _offsets(words: list[str]) -> list[int]:
    offsets = [0]
    for word in words:
        offsets.append(offsets[-1] + len(word))
    return offsets


def _edits(ours: list[Any], theirs: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    for tag, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag != "equal":
            yield a, b, c, d
