"""Vicuna: one line, ``USER: … ASSISTANT: …</s>``, behind a default system text."""

from __future__ import annotations

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_NAMES = ("7b-v1.1", "13b-v1.1", "7b-v1.3", "13b-v1.3", "33b-v1.3", "7b-v1.5", "13b-v1.5")


class ChatPromptVicuna(FormatPrompt):
    """``lmsys/vicuna-*-v1.1``, v1.3 and v1.5, as FastChat writes them: no space between ``</s>`` and ``USER:``."""

    format = PromptFormat(
        name="vicuna-v1.1",
        models=tuple(f"lmsys/vicuna-{name}" for name in _NAMES),
        user=("{requester}: ", " "),
        assistant=("{responder}: ", "</s>"),
        reply_open="{responder}:",
        requester="USER",
        responder="ASSISTANT",
        system=("", " "),
        system_place="block",
        default_system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        stop_strs=("</s>",),
        special_strs=("</s>",),
        bos="tokenizer",
        add_special_tokens=True,
    )
