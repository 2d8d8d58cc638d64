r"""The channels of one reply: as they are asked for, or as the prompt and its tokenizer tell."""

from __future__ import annotations

from collections.abc import Sequence

from chatlab.prompts.formats.format import FormatPrompt
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.channel_formats.registry import (
    FORMATS,
    NAMES,
    Asked,
    channels_of_template,
    channels_of_tokens,
    given_channels,
)
from chatlab.streaming.channels import Channels
from chatlab.tokenizers.interface import Tokenizer

TAIL_LEN = 32
"""Ids at the end of a prompt in which an opening is looked for."""


def channels_for(asked: Asked, prompt: object, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> Channels:
    """The channels that a reply to a prompt has, begun where the prompt leaves off.

    ``"auto"`` asks the prompt's own chat template, then the name of its class, then the tokenizer's chat template, then
    its special tokens; where none of them tells, the reply is content.

    Raises:
        ChannelError: what is asked for is none.
    """
    channels = _told(prompt, tokenizer) if asked == "auto" else given_channels(asked)
    return channels.after(tokenizer.decode(list(prompt_ids[-TAIL_LEN:]), skip_special_tokens=False))


def _told(prompt: object, tokenizer: Tokenizer) -> Channels:
    if isinstance(prompt, ChatTemplatePrompt):
        return channels_of_template(prompt.chat_template) or FORMATS["plain"]
    if isinstance(prompt, FormatPrompt) and prompt.format.name in NAMES:
        return FORMATS[NAMES[prompt.format.name]]
    template = getattr(tokenizer.wrapped, "chat_template", None)
    told = channels_of_template(template) if isinstance(template, str) else None
    return told or channels_of_tokens(tokenizer.special_strs) or FORMATS["plain"]
