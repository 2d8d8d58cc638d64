"""The DeepSeek-R1 distills: markers written with U+FF5C and U+2581, and earlier answers without their thoughts."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_SIZES = ("Qwen-1.5B", "Qwen-7B", "Qwen-14B", "Qwen-32B", "Llama-8B", "Llama-70B")
_R1 = PromptFormat(
    name="deepseek-r1-distill",
    models=tuple(f"deepseek-ai/DeepSeek-R1-Distill-{size}" for size in _SIZES),
    head="<｜begin▁of▁sentence｜>",
    user=("<｜User｜>", ""),
    assistant=("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    reply_open="<｜Assistant｜><think>\n",
    system=("", ""),
    system_place="block",
    answer_after="</think>",
    stop_strs=("<｜end▁of▁sentence｜>",),
    special_strs=("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    bos="in_text",
    add_special_tokens=False,
)


class ChatPromptDeepSeekR1Distill(FormatPrompt):
    """``deepseek-ai/DeepSeek-R1-Distill-*``, since February 2025: the prompt opens ``<think>``, the reply only closes it."""

    format = _R1


class ChatPromptDeepSeekR1DistillJanuary2025(FormatPrompt):
    """The same by the hub template of January 2025: the model opens ``<think>`` itself."""

    format = replace(_R1, name="deepseek-r1-distill-2025-01", models=(), reply_open="<｜Assistant｜>")
