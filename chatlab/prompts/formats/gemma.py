"""The Gemma family: the assistant is called "model", and there is no system turn."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_GEMMA = PromptFormat(
    name="gemma",
    models=(
        "google/gemma-2b-it",
        "google/gemma-7b-it",
        "google/gemma-1.1-2b-it",
        "google/gemma-1.1-7b-it",
        "google/gemma-2-2b-it",
        "google/gemma-2-9b-it",
        "google/gemma-2-27b-it",
    ),
    head="<bos>",
    user=("<start_of_turn>user\n", "<end_of_turn>\n"),
    assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
    reply_open="<start_of_turn>model\n",
    trim="message",
    stop_strs=("<end_of_turn>",),
    special_strs=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    bos="in_text",
    add_special_tokens=False,
)


class ChatPromptGemma(FormatPrompt):
    """``google/gemma-*-it`` and ``gemma-2-*-it``: a system text goes before the first question, as their documentation says."""

    format = _GEMMA


class ChatPromptGemma3(FormatPrompt):
    """``google/gemma-3-*-it``: its own template puts the system text before the first question."""

    format = replace(_GEMMA, name="gemma3", models=tuple(f"google/gemma-3-{n}b-it" for n in (1, 4, 12, 27)))
