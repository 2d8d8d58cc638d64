"""The Llama-2 family: the class that ChatStream ships, Meta's own format, and CodeLlama."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatlab.prompts.base import RoleType
from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

# 506 characters: one newline between the paragraphs, where Meta's own text had two.
SYSTEM_PROMPT = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)


class ChatPromptMetaLlamaLlama2Chat(FormatPrompt):
    r"""``meta-llama/Llama-2-*-chat``, as ChatStream ships it: a default system text and a space after the last ``[/INST]``.

    Its text carries ``<s>`` itself: call the tokenizer with ``add_special_tokens=False``.

    >>> prompt = ChatPromptMetaLlamaLlama2Chat()
    >>> prompt.set_system_prompt("Be brief.")
    >>> _ = prompt.add_requester_msg("Hi"), prompt.add_responder_msg(None)
    >>> prompt.create_prompt()
    '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] '
    """

    format = PromptFormat(
        name="llama2-chatstream",
        models=("meta-llama/Llama-2-7b-chat", "meta-llama/Llama-2-13b-chat", "meta-llama/Llama-2-70b-chat"),
        user=("", " [/INST] "),
        assistant=("", " </s><s>[INST] "),
        system=("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
        system_place="block",
        default_system=SYSTEM_PROMPT,
        special_strs=("<s>", "</s>"),
        bos="in_text",
        add_special_tokens=False,
    )

    def __init__(self) -> None:
        super().__init__()
        self.set_system_prompt(SYSTEM_PROMPT)

    def set_system(self, system: str) -> None:
        """Give the whole header, ``<s>[INST]`` with its space and all, as ChatStream does."""
        super(FormatPrompt, self).set_system(system)
        super().set_system_prompt(None)

    def set_system_prompt(self, text: str | None) -> None:
        """Give the plain system text, to stand between ``<<SYS>>`` and ``<</SYS>>``."""
        before, after = self.format.system
        self.set_system("<s>[INST] " if text is None else f"{before}{text}{after}")
        super().set_system_prompt(text)

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """The text that the model reads; with chat mode off, the last requester message alone."""
        if not self.chat_mode:
            return self.get_requester_last_msg() or ""
        parts = [self.system]
        for content in self.get_contents(opts):
            if content.message:
                wrap = self.format.user if content.role_type is RoleType.REQUESTER else self.format.assistant
                parts.append(content.message + wrap[1])
        return "".join(parts)

    def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
        """ChatStream's correction: one character a turn from turn 2 on.

        It is kept because it is documented, and it is wrong: see ``chatlab.echo.cut``. It counts
        the spaces that a legacy tokenizer adds after each ``</s><s>``, and one more.
        """
        turn = self.get_turn()
        return skip_echo_len + turn if turn >= 2 else skip_echo_len


_META = PromptFormat(
    name="llama2-meta",
    models=("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-13b-chat-hf", "meta-llama/Llama-2-70b-chat-hf"),
    user=("<s>[INST] ", " [/INST]"),
    assistant=(" ", " </s>"),
    system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
    trim="merged",
    stop_strs=("</s>",),
    special_strs=("<s>", "</s>"),
    bos="in_text",
    add_special_tokens=False,
)


class ChatPromptMetaLlama2(FormatPrompt):
    """``meta-llama/Llama-2-*-chat-hf``: Meta's format, without the default system text it dropped in August 2023."""

    format = _META


class ChatPromptCodeLlamaInstruct(FormatPrompt):
    """codellama/CodeLlama-{7b,13b,34b}-Instruct-hf: Meta's Llama-2 format."""

    format = replace(
        _META, name="codellama-instruct", models=tuple(f"codellama/CodeLlama-{n}b-Instruct-hf" for n in (7, 13, 34))
    )


class ChatPromptCodeLlama70bInstruct(FormatPrompt):
    """codellama/CodeLlama-70b-Instruct-hf: turns end in ``<step>``, and the open turn names its destination."""

    format = PromptFormat(
        name="codellama-70b-instruct",
        models=("codellama/CodeLlama-70b-Instruct-hf",),
        head="<s>",
        user=("Source: user\n\n ", " <step> "),
        assistant=("Source: assistant\n\n ", " <step> "),
        reply_open="Source: assistant\nDestination: user\n\n ",
        system=("Source: system\n\n ", " <step> "),
        system_place="block",
        trim="message",
        stop_strs=("<step>",),
        special_strs=("<s>", "<step>"),
        bos="in_text",
        add_special_tokens=False,
    )
