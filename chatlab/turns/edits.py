"""The values of a conversation's differences: causes, layers, who is hurt, edits, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from chatlab.plain import Plain
from chatlab.tokenizers.interface import Span

Layer = Literal["model", "tokenizer", "template", "program", "server", ""]
Consumer = Literal["cache", "on-policy training", "loss mask"]
"""Who needs the next prompt to begin with what was said: a prefix cache, a trainer on sampled ids, a mask over turns."""


class Cause(StrEnum):
    """Why the next prompt does not begin with what the model saw and said; the value is what reports print."""

    NOT_CANONICAL = "reply not canonical"
    MERGED = "pieces merge across the border"
    ADDED_TOKEN_STRIP = "added-token flags strip beside the border"
    DUMMY_PREFIX = "dummy prefix rule"
    BOS = "BOS on one side only"
    REASONING_DROPPED = "reasoning dropped from history"
    REASONING_REWRITTEN = "reasoning written anew"
    OPENING_DIFFERS = "opening differs from history"
    REPLY_TRIMMED = "reply trimmed by the template"
    REPLY_REWRITTEN = "reply rewritten by the template"
    CALL_DROPPED = "tool call dropped by the template"
    CALL_REWRITTEN = "tool call written anew"
    END_TOKEN = "end token missing or another"
    END_DOUBLED = "end token doubled"
    CLOCK = "the clock"
    SYSTEM_MOVED = "system text moves"
    TOOLS_MOVED = "tool list moves"
    REPLY_STRIPPED = "reply stripped before it is stored"
    REPLY_CHANGED = "reply changed before it is stored"
    CONTEXT_CUT = "context cut or rewritten"
    STOP_REMOVED = "stop string removed"
    SPECIAL_SKIPPED = "special tokens skipped"
    OTHER_PROMPT = "a prompt of the server's own"
    UNEXPLAINED = "UNEXPLAINED"


class Told(NamedTuple):
    """What is known of a cause beforehand."""

    layer: Layer
    hurts: tuple[Consumer, ...]
    cure: str


_ALL: tuple[Consumer, ...] = ("cache", "on-policy training", "loss mask")
_IDS: tuple[Consumer, ...] = ("cache", "on-policy training")
_KEEP_IDS = "keep the sampled ids and append the bridge, never encode a reply again"

KNOWN: Mapping[Cause, Told] = {
    Cause.NOT_CANONICAL: Told("model", _IDS, _KEEP_IDS),
    Cause.MERGED: Told("tokenizer", _IDS, f"{_KEEP_IDS}; or end the opening where no piece goes on"),
    Cause.ADDED_TOKEN_STRIP: Told("tokenizer", _IDS, "pin a revision whose turn markers have lstrip=rstrip=false"),
    Cause.DUMMY_PREFIX: Told("tokenizer", _IDS, "load with the other prefix rule (legacy=False), or keep the ids"),
    Cause.BOS: Told("server", _IDS, "let one side alone write BOS: add_special_tokens=False where the text spells it"),
    Cause.REASONING_DROPPED: Told("template", _ALL, "use the template's own switch, or a prefix-preserving template"),
    Cause.REASONING_REWRITTEN: Told("template", _ALL, "store the reasoning with its blanks as it was said"),
    Cause.OPENING_DIFFERS: Told("template", _ALL, "put what the opening writes into the stored reply, or open without"),
    Cause.REPLY_TRIMMED: Told("template", _ALL, "a template without trim or strip on assistant content"),
    Cause.REPLY_REWRITTEN: Told("template", _ALL, "a template that writes assistant content as it is"),
    Cause.CALL_DROPPED: Told("template", _ALL, "a template that knows tool calls; or give the raw call as content"),
    Cause.CALL_REWRITTEN: Told("template", _ALL, "give the raw text of the call back as content, or keep the ids"),
    Cause.END_TOKEN: Told("template", ("on-policy training", "loss mask"), "end the turn as the model ends it"),
    Cause.END_DOUBLED: Told("program", ("loss mask",), "take the end token off the reply before it is stored"),
    Cause.CLOCK: Told("template", _ALL, "freeze the clock for the whole conversation (clock=…)"),
    Cause.SYSTEM_MOVED: Told("template", _ALL, "put the system text where it stays, in the first question"),
    Cause.TOOLS_MOVED: Told("template", _ALL, "put the tools into the system text, where they stay"),
    Cause.REPLY_STRIPPED: Told("program", _ALL, "store the reply verbatim, and strip only what is shown"),
    Cause.REPLY_CHANGED: Told("program", _ALL, "store what was said; show the cleaned or parsed text beside it"),
    Cause.CONTEXT_CUT: Told(
        "program", ("cache", "on-policy training"), "cut seldom and much at once, never every turn"
    ),
    Cause.STOP_REMOVED: Told("server", _ALL, "ask for the stop string (include_stop_str_in_output) or for the ids"),
    Cause.SPECIAL_SKIPPED: Told("server", _ALL, "ask with skip_special_tokens=False, or for the ids"),
    Cause.OTHER_PROMPT: Told("server", _ALL, "send ids, or give the server the template that you measure with"),
    Cause.UNEXPLAINED: Told("", _ALL, "please report the conversation, the template and the tokenizer"),
}
"""The layer of each cause, who is hurt by it, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The experiment behind a cause: one thing was changed, and the difference was gone."""

    changed: str
    """The one thing, in words."""
    next_before: str
    """The next prompt around the difference."""
    next_after: str
    """The same place after the change."""


@dataclass(frozen=True, kw_only=True)
class Edit(Plain):
    """One difference between what the model saw and said and how the next prompt begins.

    Replacing every ``said_span`` by ``next_ids`` turns what was seen and said into the beginning of the next prompt.
    """

    told_beside = ("layer", "hurts", "cure")

    said_span: Span
    """Where, in the ids of prompt and reply."""
    next_span: Span
    """Where, in the ids of the next prompt."""
    said_ids: tuple[int, ...]
    next_ids: tuple[int, ...]
    said_pieces: tuple[str, ...]
    """The ids as the vocabulary spells them."""
    next_pieces: tuple[str, ...]
    said_offset: int
    """Where, in the text of prompt and reply, in code points."""
    next_offset: int
    said_text: str
    next_text: str
    same_text: bool
    """Whether the text is the same and only the ids are others."""
    cause: Cause
    also: tuple[Cause, ...] = ()
    """Further causes, where only changing all of them together undoes the edit."""
    evidence: Evidence | None = None
    """``None`` exactly for ``UNEXPLAINED``."""
    design: str = ""
    """Where the vendor means it so: what for."""

    @property
    def layer(self) -> Layer:
        """Who did it: the model, the tokenizer, the template, the program or the server."""
        return KNOWN[self.cause].layer

    @property
    def hurts(self) -> tuple[Consumer, ...]:
        """Whom it costs something; nobody where it is empty."""
        return KNOWN[self.cause].hurts

    @property
    def cure(self) -> str:
        """What to do about it."""
        return KNOWN[self.cause].cure
