"""The ChatML family: ``<|im_start|>role`` blocks, told apart by their default system text."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_PLAIN = PromptFormat(
    name="chatml",
    models=("teknium/OpenHermes-2.5-Mistral-7B",),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
    reply_open="<|im_start|>assistant\n",
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    system_place="block",
    stop_strs=("<|im_end|>",),
    special_strs=("<|im_start|>", "<|im_end|>"),
    bos="none",
    add_special_tokens=True,
)
_WITH_TWO_ENDS = replace(_PLAIN, stop_strs=("<|im_end|>", "<|endoftext|>"))


def _qwen(version: str, kind: str, sizes: str) -> tuple[str, ...]:
    """Model ids size by size: siblings of the same name (Math, Omni, Audio) have other system texts."""
    return tuple(f"Qwen/Qwen{version}-{size}-{kind}" for size in sizes.split())


MPT_SYSTEM_PROMPT = (
    "- You are a helpful assistant chatbot trained by MosaicML.\n"
    "- You answer questions.\n"
    "- You are excited to be able to help the user, but will refuse to do anything that could be considered harmful "
    "to the user.\n"
    "- You are more than just an information source, you are also able to write poetry, short stories, and make jokes."
)


class ChatPromptChatML(FormatPrompt):
    """Plain ChatML, as teknium/OpenHermes-2.5-Mistral-7B has it: no default system text, no BOS."""

    format = _PLAIN


class ChatPromptQwen15(FormatPrompt):
    """``Qwen/Qwen1.5-*-Chat``: ChatML with a default system text that has no full stop."""

    format = replace(
        _WITH_TWO_ENDS,
        name="qwen1.5",
        models=_qwen("1.5", "Chat", "0.5B 1.8B 4B 7B 14B 32B 72B 110B"),
        default_system="You are a helpful assistant",
    )


class ChatPromptQwen2(FormatPrompt):
    """``Qwen/Qwen2-*-Instruct``, and the VL models of 2 and 2.5: the default system text ends in a full stop."""

    format = replace(
        _WITH_TWO_ENDS,
        name="qwen2",
        models=(
            *_qwen("2", "Instruct", "0.5B 1.5B 7B 57B-A14B 72B"),
            *_qwen("2-VL", "Instruct", "2B 7B 72B"),
            *_qwen("2.5-VL", "Instruct", "3B 7B 72B"),
        ),
        default_system="You are a helpful assistant.",
    )


class ChatPromptQwen25(FormatPrompt):
    """``Qwen/Qwen2.5-*-Instruct`` and ``Qwen2.5-Coder-*-Instruct``; Math, VL and Omni have system texts of their own."""

    format = replace(
        _WITH_TWO_ENDS,
        name="qwen2.5",
        models=(
            *_qwen("2.5", "Instruct", "0.5B 1.5B 3B 7B 14B 32B 72B"),
            *_qwen("2.5-Coder", "Instruct", "0.5B 1.5B 3B 7B 14B 32B"),
        ),
        default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    )


class ChatPromptMpt7bChat(FormatPrompt):
    """mosaicml/mpt-7b-chat: the format the model was tuned on."""

    format = replace(
        _WITH_TWO_ENDS, name="mpt-7b-chat", models=("mosaicml/mpt-7b-chat",), default_system=MPT_SYSTEM_PROMPT
    )


class ChatPromptMpt30bChat(FormatPrompt):
    """mosaicml/mpt-30b-chat and mpt-7b-8k-chat: no ``<|im_end|>`` after the system text."""

    format = replace(
        _WITH_TWO_ENDS,
        name="mpt-30b-chat",
        models=("mosaicml/mpt-30b-chat", "mosaicml/mpt-7b-8k-chat"),
        system=("<|im_start|>system\n", "\n"),
        default_system="A conversation between a user and an LLM-based AI assistant. "
        "The assistant gives helpful and honest answers.",
    )
