"""Every fault by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chatlab.engines.sampling import SamplingParams
from chatlab.server.faults import messages, prompts, replies, tokens
from chatlab.server.faults.fault import Fault

_OWN_SAMPLING = SamplingParams(temperature=1.0)


def own_sampling(params: SamplingParams) -> SamplingParams:
    """The server's own way to draw; how long the reply is and where it ends stays the client's."""
    ours = {name: getattr(_OWN_SAMPLING, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
    return replace(params, **ours, repetition_penalty=None, repetition_penalty_method="multiplicative")


_ALL = (
    Fault(name="double-bos", does="writes BOS before a prompt that begins with it", ids=tokens.double_bos),
    Fault(name="missing-bos", does="leaves out the BOS that a prompt begins with", ids=tokens.missing_bos),
    Fault(
        name="other-template",
        does="renders messages with a template that is not the model's",
        prompt=prompts.template(lambda _: prompts.OTHER_TEMPLATE),
    ),
    Fault(
        name="no-generation-prompt",
        does="does not open the reply",
        prompt=prompts.template(prompts.no_opening),
    ),
    Fault(
        name="generation-prompt-differs",
        does="opens the reply with one line break more than the template",
        prompt=prompts.template(prompts.longer_opening),
    ),
    Fault(
        name="thinking-default",
        does="has another default for thinking than the template",
        prompt=prompts.other_thinking,
    ),
    Fault(
        name="reasoning-dropped",
        does="takes the reasoning out of earlier replies before the template decides",
        messages=messages.each(messages.without_reasoning),
    ),
    Fault(name="tools-dropped", does="offers the model no tools", prompt=prompts.without_tools),
    Fault(
        name="tools-rewritten",
        does="writes tools as a schema of its own: sorted, without descriptions",
        prompt=prompts.rewritten_tools,
    ),
    Fault(
        name="arguments-reserialised",
        does="writes the arguments of earlier tool calls anew: sorted, with other blanks",
        messages=messages.each(messages.reserialised),
    ),
    Fault(
        name="other-pre-tokenizer",
        does="cuts text into words in another way before the merges",
        tokenizer=tokens.other_pre_tokenizer,
    ),
    Fault(
        name="special-tokens-honoured",
        does="reads control tokens that a message spells as the format's own",
        options=replies.control_tokens_allowed,
    ),
    Fault(
        name="blanks-stripped",
        does="strips the blanks round every message",
        messages=messages.each(messages.stripped),
    ),
    Fault(
        name="system-merged",
        does="writes the system text into the first question",
        messages=messages.system_in_question,
    ),
    Fault(name="system-dropped", does="leaves the system text out", messages=messages.without_system),
    Fault(
        name="default-system",
        does="adds a system text of its own where there is none",
        messages=messages.with_default_system,
    ),
    Fault(
        name="truncated-left",
        does=f"keeps the last {tokens.SLOT_LEN} ids of a prompt without a word",
        ids=tokens.cut_from_the_left,
    ),
    Fault(
        name="stop-swallowed",
        does="leaves the stop string out where it is asked to be shown",
        options=replies.stop_unshown,
    ),
    Fault(
        name="sampling-ignored", does="draws at temperature 1 with its own seed, whatever is asked", params=own_sampling
    ),
    Fault(
        name="cache-lost",
        does="keeps nothing of a prompt that it has just read",
        kept_len=lambda _: 0,
    ),
    Fault(name="replies-trimmed", does="strips the blanks round every reply", retelling=replies.Trimmed),
    Fault(
        name="special-tokens-lost",
        does="leaves special tokens out before it looks for reasoning and tool calls",
        options=replies.special_tokens_skipped,
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL}
"""Every fault by its name; each changes one thing."""
