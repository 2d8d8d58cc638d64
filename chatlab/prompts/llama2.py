"""The Llama-2 chat format, as ChatStream ships it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlab.prompts.base import AbstractChatPrompt, ChatContent, RoleType

# 506 characters: one newline between the paragraphs, where Meta's own text had two.
SYSTEM_PROMPT = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)


class ChatPromptMetaLlamaLlama2Chat(AbstractChatPrompt):
    r"""meta-llama/Llama-2-*-chat, as ChatStream ships it: a default system text and a space after the last ``[/INST]``.

    Its text carries ``<s>`` itself: call the tokenizer with ``add_special_tokens=False``.

    >>> prompt = ChatPromptMetaLlamaLlama2Chat()
    >>> prompt.set_system_prompt("Be brief.")
    >>> _ = prompt.add_requester_msg("Hi"), prompt.add_responder_msg(None)
    >>> prompt.create_prompt()
    '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] '
    """

    special_token_strs = ("<s>", "</s>")

    def __init__(self) -> None:
        super().__init__()
        self.set_system_prompt(SYSTEM_PROMPT)

    def set_system(self, system: str) -> None:
        """Give the whole header, ``<s>[INST] `` and all, as ChatStream does."""
        super().set_system(system)
        super().set_system_prompt(None)

    def set_system_prompt(self, text: str | None) -> None:
        """Give the plain system text, to stand between ``<<SYS>>`` and ``<</SYS>>``."""
        self.set_system("<s>[INST] " if text is None else f"<s>[INST] <<SYS>>\n{text}\n<</SYS>>\n\n")
        super().set_system_prompt(text)

    def _with_system_prompt(self, contents: list[ChatContent]) -> list[ChatContent]:
        return list(contents)

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """The text that the model reads; with chat mode off, the last requester message alone."""
        if not self.chat_mode:
            return self.get_requester_last_msg() or ""
        parts = [self.system]
        for content in self.get_contents(opts):
            if content.message:
                end = " [/INST] " if content.role_type is RoleType.REQUESTER else " </s><s>[INST] "
                parts.append(content.message + end)
        return "".join(parts)

    def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
        """ChatStream's correction: one character a turn from turn 2 on.

        It is kept because it is documented, and it is wrong: see ``chatlab.echo.cut``. It counts
        the spaces that a legacy tokenizer adds after each ``</s><s>``, and one more.
        """
        turn = self.get_turn()
        return skip_echo_len + turn if turn >= 2 else skip_echo_len
