"""Conversations with known faults: each built by writing the template, the tokenizer or the program wrong on purpose.

Nothing here asks the laboratory: what is injected is known because it was put there, and each fault is of a kind that
always shows, since the conversation holds what it acts on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import combinations
from random import Random
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from chatlab.turns.edits import Cause

MARKS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
WORDS = "the cat sat on a mat and then it said what a day we had when rain fell over hills no one knew why".split()  # noqa: SIM905
TEXTS = [
    " ".join(WORDS),
    "\n".join(WORDS),
    '{"name": "f", "arguments": {"x": 1, "y": [2]}}',
    "user assistant system\n: ",
] * 3
SYSTEM = "Speak plainly."

KINDS: dict[str, Cause] = {
    "not canonical": Cause.NOT_CANONICAL,
    "merged": Cause.MERGED,
    "strip flag": Cause.ADDED_TOKEN_STRIP,
    "dummy prefix": Cause.DUMMY_PREFIX,
    "thoughts dropped": Cause.REASONING_DROPPED,
    "opening": Cause.OPENING_DIFFERS,
    "trimmed": Cause.REPLY_TRIMMED,
    "call": Cause.CALL_REWRITTEN,
    "call dropped": Cause.CALL_DROPPED,
    "end": Cause.END_TOKEN,
    "clock": Cause.CLOCK,
    "system": Cause.SYSTEM_MOVED,
    "stripped": Cause.REPLY_STRIPPED,
    "cleaned": Cause.REPLY_CHANGED,
    "cut": Cause.CONTEXT_CUT,
    "stop": Cause.STOP_REMOVED,
    "special": Cause.SPECIAL_SKIPPED,
}
"""What may be injected, and its name."""

# Two of a group would overwrite each other: only one of them is put into a conversation.
_GROUPS = (
    {"stripped", "cleaned", "stop", "special"},
    {"merged", "strip flag", "dummy prefix", "opening"},
    {"call", "call dropped"},
    {"call", "call dropped", "stripped", "cleaned", "stop", "special", "trimmed", "not canonical"},
    {"thoughts dropped", "stripped", "cleaned", "stop", "special", "opening", "merged", "dummy prefix", "strip flag"},
    {"call", "call dropped", "opening", "merged", "dummy prefix", "strip flag"},
    {"cut", "system", "clock"},
    {"not canonical", "cleaned", "stop", "special", "dummy prefix"},
)
PAIRS = [(one, other) for one, other in combinations(KINDS, 2) if not any({one, other} <= group for group in _GROUPS)]


@dataclass(frozen=True)
class Injected:
    """A conversation, how it is held, and what is wrong with it."""

    tokenizer: Any
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    causes: frozenset[Cause]
    system: bool = field(default=False)


@cache
def _rust(kind: str) -> str:
    if kind == "metaspace":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>", *MARKS], show_progress=False)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken("<|bot|>", rstrip=kind == "strip flag", normalized=False)])
    return tokenizer.to_str()


@cache
def _tokenizer(kind: str, template: str) -> Any:
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_rust(kind)), eos_token="<|endoftext|>")
    made.chat_template = template
    return made


def _template(kinds: Sequence[str]) -> str:
    bare = "strip flag" in kinds or "dummy prefix" in kinds
    opening = "<|bot|>" if bare else "<|im_start|>assistant: " if "merged" in kinds else "<|im_start|>assistant\\n"
    history = opening
    if "opening" in kinds:
        opening += "<think>\\n\\n</think>\\n\\n"
    content = "message.content" + (" | trim" if "trimmed" in kinds else "")
    thoughts = "loop.index0 > seen.last" if "thoughts dropped" in kinds else "true"
    arguments = "call.function.arguments | tojson" if "call" in kinds else "call.function.arguments"
    calls = "" if "call dropped" in kinds else (
        "{% for call in message.tool_calls or [] %}{{ '<tool_call>\\n{\"name\": \"' + call.function.name + '\", \"arguments\": ' }}"
        "{{ " + arguments + " }}{{ '}\\n</tool_call>' }}{% endfor %}"
    )  # fmt: skip
    system = "{% if messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}"
    moved = "{{ (messages[0].content + '\\n') if messages[0].role == 'system' and loop.index0 == seen.last else '' }}"
    return (
        "{% set seen = namespace(last=-1) %}"
        "{% for message in messages %}{% if message.role == 'user' %}{% set seen.last = loop.index0 %}{% endif %}{% endfor %}"
        + ("{{ '<|im_start|>system\\n' + strftime_now('%H:%M:%S') + '<|im_end|>\\n' }}" if "clock" in kinds else "")
        + ("" if "system" in kinds else system)
        + "{% for message in messages %}{% if message.role == 'assistant' %}{{ '" + history + "' }}"
        "{% if message.reasoning_content and " + thoughts + " %}"
        "{{ '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
        "{{ " + content + " }}" + calls + "{{ '" + ("<|endoftext|>" if "end" in kinds else "<|im_end|>") + "\\n' }}"
        "{% elif message.role != 'system' %}{{ '<|im_start|>' + message.role + '\\n' }}" + (moved if "system" in kinds else "")
        + "{{ message.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '" + opening + "' }}{% endif %}"
    )  # fmt: skip


def _clean(text: str) -> str:
    return text.replace("  ", " ")


def _stop(text: str) -> str:
    return text.removesuffix(" END")


_STORED: dict[str, str | Callable[[str], str]] = {
    "stripped": "stripped",
    "cleaned": _clean,
    "stop": _stop,
    "special": lambda text: text.replace("<tool_call>", ""),
}


def injected(kinds: Sequence[str], seed: int) -> Injected:
    """Return a random conversation of two to four turns that has these faults, and no other."""
    random = Random(f"{seed} {kinds}")
    kind = "metaspace" if "dummy prefix" in kinds else "strip flag" if "strip flag" in kinds else "bytes"
    tokenizer = _tokenizer(kind, _template(kinds))
    messages: list[dict[str, Any]] = []
    if "system" in kinds:
        messages.append({"role": "system", "content": SYSTEM})
    replies: list[list[int]] = []
    for _ in range(random.randint(3 if "cut" in kinds else 2, 4)):
        messages.append({"role": "user", "content": _words(random)})
        message, text = _reply(kinds, random)
        messages.append(message)
        replies.append(_ids(tokenizer, text, kinds, random))
    messages.append({"role": "user", "content": _words(random)})
    options: dict[str, Any] = {"reply_ids": replies}
    options.update(("stored", _STORED[name]) for name in kinds if name in _STORED)
    if "cut" in kinds:
        options["history"] = lambda messages: messages[-3:]
    if "clock" in kinds:
        start = datetime(2026, 1, 1, 12, 0, 0)
        options["clocks"] = [start + timedelta(seconds=random.randint(61, 3000) * n) for n in range(len(replies) + 1)]
    return Injected(tokenizer, messages, options, frozenset(KINDS[name] for name in kinds))


def _words(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(2, 6)))


def _reply(kinds: Sequence[str], random: Random) -> tuple[dict[str, Any], str]:
    """A message, and the raw text that a model said for it."""
    text = f"cat sat {_words(random)}"
    if "strip flag" in kinds:
        text = f" {text}"
    if {"trimmed", "stripped"} & set(kinds):
        text += random.choice(["\n", "  ", " \n\n"])
    if "cleaned" in kinds:
        text = f"{text}  {_words(random)}"
    if "stop" in kinds:
        text += " END"
    if "special" in kinds:
        text = f"{text}<tool_call>{_words(random)}"
    message: dict[str, Any] = {"role": "assistant", "content": text}
    raw = text
    if "thoughts dropped" in kinds:
        thoughts = _words(random)
        message["reasoning_content"] = thoughts
        raw = f"<think>\n{thoughts}\n</think>\n\n{raw}"
    if {"call", "call dropped"} & set(kinds):
        number = random.randint(1, 99)
        arguments = {"x": number, "y": [number]} if "call" in kinds else f'{{"x":{number}}}'
        message["tool_calls"] = [{"type": "function", "function": {"name": "f", "arguments": arguments}}]
        said = f'{{"x":{number},  "y":[{number}]}}' if "call" in kinds else arguments
        raw += f'<tool_call>\n{{"name": "f", "arguments": {said}}}\n</tool_call>'
    return message, raw


def _ids(tokenizer: Any, text: str, kinds: Sequence[str], random: Random) -> list[int]:
    """The ids of a model that goes on with its opening, and ends its turn."""
    mark = "{" if "dummy prefix" in kinds else "\n"  # no piece goes on from it
    anchor = tokenizer.encode(mark, add_special_tokens=False)
    whole = tokenizer.encode(mark + text, add_special_tokens=False)
    assert whole[: len(anchor)] == anchor
    ids = whole[len(anchor) :]
    if "not canonical" in kinds:
        places = [
            at for at, token_id in enumerate(ids) if re.fullmatch("\u0120?[a-z]{2,}", _piece(tokenizer, token_id))
        ]
        at = random.choice(places)
        ids[at : at + 1] = [tokenizer.convert_tokens_to_ids(letter) for letter in _piece(tokenizer, ids[at])]
    return [*ids, tokenizer.convert_tokens_to_ids("<|im_end|>")]


def _piece(tokenizer: Any, token_id: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(token_id))
