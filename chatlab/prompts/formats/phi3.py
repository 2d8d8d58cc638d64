"""The Phi-3 family. The template of Phi-3-mini changed twice in ten weeks, so its states are classes of their own."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_SPECIAL = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
_CURRENT = PromptFormat(
    name="phi3-2024-07",
    models=(
        "microsoft/Phi-3-mini-4k-instruct",
        "microsoft/Phi-3-mini-128k-instruct",
        "microsoft/Phi-3.5-mini-instruct",
    ),
    user=("<|user|>\n", "<|end|>\n"),
    assistant=("<|assistant|>\n", "<|end|>\n"),
    reply_open="<|assistant|>\n",
    system=("<|system|>\n", "<|end|>\n"),
    system_place="block",
    stop_strs=("<|end|>", "<|endoftext|>"),
    special_strs=_SPECIAL,
    bos="none",
    add_special_tokens=True,
)
_LAUNCH = replace(
    _CURRENT,
    name="phi3-2024-04",
    models=(),
    head="<s>",
    special_strs=("<s>", *_SPECIAL),
    bos="in_text",
    add_special_tokens=False,
)


class ChatPromptPhi3Launch(FormatPrompt):
    """Phi-3-mini at its launch in April 2024: BOS in the text, system text shown."""

    format = _LAUNCH


class ChatPromptPhi3May2024(FormatPrompt):
    """Phi-3-mini from 29 April to June 2024: BOS in the text, the system text silently dropped."""

    format = replace(_LAUNCH, name="phi3-2024-05", system_place="dropped")


class ChatPromptPhi3(FormatPrompt):
    """Phi-3-mini since July 2024, and Phi-3.5-mini: no BOS, the system text is back."""

    format = _CURRENT


class ChatPromptPhi3Medium(FormatPrompt):
    """Phi-3-medium: no BOS, the system text silently dropped."""

    format = replace(
        _CURRENT,
        name="phi3-medium",
        models=("microsoft/Phi-3-medium-4k-instruct", "microsoft/Phi-3-medium-128k-instruct"),
        system_place="dropped",
    )


class ChatPromptPhi3Small(FormatPrompt):
    """Phi-3-small: ``<|endoftext|>`` is its BOS."""

    format = replace(
        _LAUNCH,
        name="phi3-small",
        models=("microsoft/Phi-3-small-8k-instruct", "microsoft/Phi-3-small-128k-instruct"),
        head="<|endoftext|>",
        special_strs=("<|endoftext|>", *_SPECIAL),
    )
