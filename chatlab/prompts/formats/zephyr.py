"""Zephyr and TinyLlama: ``<|role|>`` lines, each message ended by ``</s>``."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_ZEPHYR = PromptFormat(
    name="zephyr",
    models=("HuggingFaceH4/zephyr-7b-alpha", "HuggingFaceH4/zephyr-7b-beta"),
    user=("<|user|>\n", "</s>\n"),
    assistant=("<|assistant|>\n", "</s>\n"),
    reply_open="<|assistant|>\n",
    system=("<|system|>\n", "</s>\n"),
    system_place="block",
    stop_strs=("</s>",),
    special_strs=("</s>",),
    bos="tokenizer",
    add_special_tokens=True,
)


class ChatPromptZephyr(FormatPrompt):
    """HuggingFaceH4/zephyr-7b-alpha and -beta."""

    format = _ZEPHYR


class ChatPromptTinyLlama(FormatPrompt):
    """TinyLlama/TinyLlama-1.1B-Chat-v1.0: Zephyr's format."""

    format = replace(_ZEPHYR, name="tinyllama-chat", models=("TinyLlama/TinyLlama-1.1B-Chat-v1.0",))
