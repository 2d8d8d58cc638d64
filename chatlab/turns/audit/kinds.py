"""What can be wrong with a chat template: each kind with who is hurt, how badly, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chatlab.severity import Severity


class Consumer(StrEnum):
    """Who relies on what a template writes."""

    CACHE = "prefix cache"
    TRAINING = "on-policy training"
    LOSS_MASK = "SFT loss mask"
    EVALUATION = "evaluation"
    TOOLS = "tool calls"
    NOBODY = "nobody"


class Kind(StrEnum):
    """What an audit finds."""

    REFUSED = "refused"
    MESSAGE_DROPPED = "message dropped"
    CALL_DROPPED = "call dropped"
    CALL_CHANGED = "argument values changed"
    CALL_TEXT = "arguments as text"
    REASONING_DROPPED = "reasoning dropped"
    THINK_BLOCK_DROPPED = "think block dropped"
    HISTORY_REWRITTEN = "history rewritten"
    REPLY_REWRITTEN = "reply rewritten"
    REPLY_TRIMMED = "reply trimmed"
    OPENING_DIFFERS = "opening differs"
    OPENING_UNASKED = "opening unasked"
    END_MISSING = "end token missing"
    END_DIFFERS = "end token differs"
    END_ONLY_LAST = "end token only last"
    END_UNMASKED = "end token unmasked"
    REPLY_UNMASKED = "reply unmasked"
    MASK_TOO_WIDE = "mask too wide"
    CLOCK = "clock"
    THINKING_OFF = "thinking off"
    BOS_TWICE = "BOS twice"
    BOS_MISSING = "BOS missing"
    BOS_ADDED = "BOS added again"
    IDS_LOST = "ids lost"
    END_NO_STOP = "end token stops nothing"
    STOPS_DISAGREE = "stop ids disagree"
    READINGS_DISAGREE = "readings disagree"


@dataclass(frozen=True, kw_only=True)
class Told:
    """A kind in words."""

    severity: Severity
    hurts: tuple[Consumer, ...]
    title: str
    cure: str
    is_often_design: bool = False
    """Whether vendors do so on purpose; the consumers break none the less."""


_C = Consumer
_KEPT_BY = (_C.CACHE, _C.TRAINING)
_KEEP_IDS = "keep the ids of what was said and append the next turn to them, or change the template"

TOLD: dict[Kind, Told] = {
    Kind.REFUSED: Told(
        severity=Severity.MINOR,
        hurts=(_C.EVALUATION, _C.TOOLS),
        title="the template refuses this conversation",
        cure="leave out what it refuses, or fold it into a user message",
    ),
    Kind.MESSAGE_DROPPED: Told(
        severity=Severity.MAJOR,
        hurts=(_C.EVALUATION, _C.TRAINING),
        title="a text is dropped without a word",
        cure="give the text in a message that the template writes, or change the template",
    ),
    Kind.CALL_DROPPED: Told(
        severity=Severity.BREAKING,
        hurts=(_C.TOOLS, _C.TRAINING),
        title="a tool call is dropped without a word",
        cure="give the raw text of the call as content, or change the template",
    ),
    Kind.CALL_CHANGED: Told(
        severity=Severity.MAJOR,
        hurts=(_C.TOOLS, *_KEPT_BY),
        title="a tool call's arguments are written as other values than were given",
        cure="give the raw text of the call as content, or write each value with `| tojson`",
    ),
    Kind.CALL_TEXT: Told(
        severity=Severity.MINOR,
        hurts=(_C.TOOLS,),
        title="arguments given as JSON text, as servers send them, are not written as the object is",
        cure="parse the arguments before rendering, or test `arguments is string` in the template",
    ),
    Kind.REASONING_DROPPED: Told(
        severity=Severity.MAJOR,
        hurts=_KEPT_BY,
        title="reasoning that the model said is missing from the next prompt",
        cure=_KEEP_IDS,
        is_often_design=True,
    ),
    Kind.THINK_BLOCK_DROPPED: Told(
        severity=Severity.MAJOR,
        hurts=_KEPT_BY,
        title="an empty think block stands at the last reply and is gone from the next prompt",
        cure=_KEEP_IDS,
        is_often_design=True,
    ),
    Kind.HISTORY_REWRITTEN: Told(
        severity=Severity.MAJOR,
        hurts=_KEPT_BY,
        title="what stands before the reply is written anew in the next prompt",
        cure=_KEEP_IDS,
    ),
    Kind.REPLY_REWRITTEN: Told(
        severity=Severity.MAJOR,
        hurts=_KEPT_BY,
        title="a reply is not written as it was given",
        cure=_KEEP_IDS,
    ),
    Kind.REPLY_TRIMMED: Told(
        severity=Severity.MINOR,
        hurts=_KEPT_BY,
        title="the blanks around a reply are cut off",
        cure=f"store replies without outer blanks and train on those; or {_KEEP_IDS}",
    ),
    Kind.OPENING_DIFFERS: Told(
        severity=Severity.MAJOR,
        hurts=(*_KEPT_BY, _C.LOSS_MASK),
        title="the generation prompt is no beginning of the history that follows it",
        cure="write the same opening into the history, or give the opening as part of the reply",
    ),
    Kind.OPENING_UNASKED: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK, *_KEPT_BY),
        title="the next reply is opened although no generation prompt was asked for",
        cure="write the opening under `{% if add_generation_prompt %}`",
    ),
    Kind.END_MISSING: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK, *_KEPT_BY),
        title="no end token stands behind a reply",
        cure="write the end token behind every reply, or append it to the content",
    ),
    Kind.END_DIFFERS: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK, *_KEPT_BY),
        title="a reply ends with another token once something follows it",
        cure="compare and train without the end token, and let both of them stop generation",
        is_often_design=True,
    ),
    Kind.END_ONLY_LAST: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK, *_KEPT_BY),
        title="something stands behind the last reply that is gone once something follows it",
        cure="write it behind every reply or behind none",
    ),
    Kind.END_UNMASKED: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK,),
        title="the end token lies outside the loss mask: the model never learns to stop",
        cure="move `{% endgeneration %}` behind the end token",
    ),
    Kind.REPLY_UNMASKED: Told(
        severity=Severity.BREAKING,
        hurts=(_C.LOSS_MASK,),
        title="a reply lies outside the loss mask: nothing is learned from it",
        cure="write what the model says inside `{% generation %}`",
    ),
    Kind.MASK_TOO_WIDE: Told(
        severity=Severity.MAJOR,
        hurts=(_C.LOSS_MASK,),
        title="the loss mask covers what the model did not say",
        cure="begin `{% generation %}` behind the opening and end it behind the end token",
    ),
    Kind.CLOCK: Told(
        severity=Severity.MINOR,
        hurts=(_C.CACHE, _C.EVALUATION),
        title="the prompt changes with the day",
        cure="give the template a date of your own, or freeze its clock",
        is_often_design=True,
    ),
    Kind.THINKING_OFF: Told(
        severity=Severity.INFO,
        hurts=(_C.EVALUATION,),
        title="the model does not think unless it is asked to",
        cure="set the switch yourself, whatever the default",
        is_often_design=True,
    ),
    Kind.BOS_TWICE: Told(
        severity=Severity.MAJOR,
        hurts=(_C.EVALUATION, _C.TRAINING),
        title="the prompt begins with two BOS",
        cure="write the BOS once",
    ),
    Kind.BOS_MISSING: Told(
        severity=Severity.MINOR,
        hurts=(_C.EVALUATION, _C.TRAINING),
        title="the tokenizer begins texts with a BOS, the template's prompts have none",
        cure="write the BOS in the template, or encode the prompt with special tokens",
    ),
    Kind.BOS_ADDED: Told(
        severity=Severity.INFO,
        hurts=(_C.EVALUATION,),
        title="a program that encodes the prompt with special tokens gets the BOS twice",
        cure="encode prompts of this template with add_special_tokens=False",
        is_often_design=True,
    ),
    Kind.IDS_LOST: Told(
        severity=Severity.MAJOR,
        hurts=_KEPT_BY,
        title="the text of the next prompt begins as this one, its ids do not",
        cure=_KEEP_IDS,
    ),
    Kind.END_NO_STOP: Told(
        severity=Severity.BREAKING,
        hurts=(_C.EVALUATION, _C.TOOLS),
        title="generation does not stop at the token that ends a turn",
        cure="add its id to eos_token_id of generation_config.json",
    ),
    Kind.STOPS_DISAGREE: Told(
        severity=Severity.MINOR,
        hurts=(_C.EVALUATION, _C.LOSS_MASK),
        title="a file names other stop ids than the token that ends a turn",
        cure="name the id of the end token in every file",
    ),
    Kind.READINGS_DISAGREE: Told(
        severity=Severity.BREAKING,
        hurts=(_C.EVALUATION, _C.CACHE),
        title="transformers and tokenizer.json alone give other ids for the same prompt",
        cure="make tokenizer_config.json and tokenizer.json agree",
    ),
}
"""Every kind in words."""
