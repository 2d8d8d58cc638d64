"""The Llama-3 family: header and ``<|eot_id|>`` around messages whose ends are stripped."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


_LLAMA3 = PromptFormat(
    name="llama3",
    models=("meta-llama/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"),
    head="<|begin_of_text|>",
    user=(_header("user"), "<|eot_id|>"),
    assistant=(_header("assistant"), "<|eot_id|>"),
    reply_open=_header("assistant"),
    system=(_header("system"), "<|eot_id|>"),
    system_place="block",
    trim="message",
    stop_strs=("<|eot_id|>", "<|end_of_text|>"),
    special_strs=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    bos="in_text",
    add_special_tokens=False,
)


class ChatPromptLlama3(FormatPrompt):
    """``meta-llama/Meta-Llama-3-*-Instruct``."""

    format = _LLAMA3


class ChatPromptLlama31(FormatPrompt):
    """``meta-llama/Llama-3.1-*-Instruct`` by its hub template: a system block with two dates always stands.

    The date is the template's own default, 26 Jul 2024. Meta's documentation accepts ``ChatPromptLlama3`` too.
    """

    format = replace(
        _LLAMA3,
        name="llama3.1",
        models=("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"),
        system=(
            _header("system") + "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
            "<|eot_id|>",
        ),
        default_system="",
        stop_strs=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
    )

    def set_system_prompt(self, text: str | None) -> None:
        """Give the system text; without one the block holds the dates alone."""
        super().set_system_prompt("" if text is None else text)
