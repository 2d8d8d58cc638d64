r"""Which delimiters a family writes: by name, by its chat template, by its special tokens, or as they are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Literal

from chatlab.errors import ChannelError
from chatlab.streaming.channel_formats.pairs import Pair, paired
from chatlab.streaming.channel_formats.sections import bare_json, harmony, with_section
from chatlab.streaming.channels import Channels

Asked = Channels | str | Sequence[Pair | Sequence[str]] | Literal["auto"]
"""Channels, the name of a format, pairs of delimiters, or ``"auto"``."""


def _think(opened: str = "\n", closed: tuple[str, str] = ("\n", "\n\n"), before: str = "") -> Pair:
    """Reasoning in tags; ``closed`` are the blanks before and after the closing one."""
    return Pair(
        channel="reasoning",
        opening="<think>",
        closing="</think>",
        before_opening=before,
        after_opening=opened,
        before_closing=closed[0],
        after_closing=closed[1],
    )


_CALL = Pair(
    channel="tool_call",
    opening="<tool_call>",
    closing="</tool_call>",
    before_opening="\n",
    after_opening="\n",
    before_closing="\n",
)
_JSON_CALL = replace(_CALL, quote='"')
_XML_CALL = replace(_CALL, fences=(("<parameter=", "</parameter>"),))
_NEMOTRON_CALL = replace(_XML_CALL, after_closing="\n")
_GLM_CALL = replace(_CALL, after_opening="", before_closing="\n", fences=(("<arg_value>", "</arg_value>"),))
_DEEPSEEK_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
_MISTRAL_CALL = Pair(channel="tool_call", opening="[TOOL_CALLS]", closing="", quote='"', ends_reasoning=True)

_ALL = (
    paired(name="plain"),
    paired(_think(), name="think"),
    paired(_JSON_CALL, name="hermes"),
    paired(_think(), _JSON_CALL, name="qwen3"),
    paired(_think(), replace(_XML_CALL, before_opening="\n\n"), calls="qwen_xml", name="qwen3.5"),
    paired(_think(closed=("\n", "\n")), _NEMOTRON_CALL, calls="qwen_xml", name="nemotron3"),
    paired(_think(closed=("", "")), _NEMOTRON_CALL, calls="qwen_xml", name="nemotron3-ultra"),
    paired(_think("", ("", "\n"), before="\n"), _GLM_CALL, calls="glm_xml", name="glm4"),
    with_section(paired(_think()), section=_DEEPSEEK_SECTION, call=_DEEPSEEK_CALL, calls="deepseek", name="deepseek"),
    with_section(
        paired(_think("", ("", ""))),
        section=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        call=("<|tool_call_begin|>", "<|tool_call_end|>"),
        calls="kimi",
        name="kimi-k2",
    ),
    paired(
        Pair(channel="reasoning", opening="[THINK]", closing="[/THINK]"), _MISTRAL_CALL, calls="mistral", name="mistral"
    ),
    paired(
        Pair(
            channel="reasoning",
            opening="<|channel>thought",
            closing="<channel|>",
            after_opening="\n",
            before_closing="\n",
        ),
        Pair(
            channel="tool_call",
            opening="<|tool_call>",
            closing="<tool_call|>",
            ends_reasoning=True,
            fences=(('<|"|>', '<|"|>'),),
        ),
        calls="gemma4",
        name="gemma4",
    ),
    paired(
        _think("", ("", "")),
        Pair(channel="tool_call", opening="<|tool_call_start|>", closing="<|tool_call_end|>", ends_reasoning=True),
        calls="pythonic",
        name="lfm2",
    ),
    paired(
        Pair(channel="reasoning", opening="<|START_THINKING|>", closing="<|END_THINKING|>"),
        Pair(
            channel="tool_call",
            opening="<|START_ACTION|>",
            closing="<|END_ACTION|>",
            quote='"',
            ends_reasoning=True,
        ),
        name="cohere2",
    ),
    harmony(),
    bare_json(),
)

FORMATS: Mapping[str, Channels] = {channels.name: channels for channels in _ALL}
"""Every format of channels by its name."""

_OF_TEMPLATES = {
    "plain": ("cohere", "gemma", "gemma3", "idefics3", "llama3", "llava_next", "phi3", "phi3_5", "qwen2_5_vl"),
    "hermes": ("qwen2_5", "qwen3_instruct_2507", "qwen3_vl"),
    "qwen3": ("qwen3",),
    "qwen3.5": ("qwen3_5_nothink", "qwen3_5_think", "qwen3_6"),
    "nemotron3": ("nemotron_3_nano", "nemotron_3_super"),
    "nemotron3-ultra": ("nemotron_3_ultra",),
    "glm4": ("glm4moe",),
    "deepseek": ("deepseekv3", "deepseek-r1-distill", "deepseek-r1-distill-2025-01"),
    "gemma4": ("diffusion_gemma",),
    "lfm2": ("lfm2", "lfm2_2_5"),
    "cohere2": ("cohere2",),
    "harmony": ("gptoss",),
    "llama3": ("llama3_1", "llama3_2", "llama3.1"),
    "mistral": ("mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken"),
}
NAMES: Mapping[str, str] = {name: name for name in FORMATS} | {
    template: name for name, templates in _OF_TEMPLATES.items() for template in templates
}
"""The format of each published template and prompt class, and of each format itself, by name."""

# The first whose texts all stand in a template, or in the vocabulary, is meant.
_TELLING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("harmony", ("<|channel|>", "<|message|>")),
    ("gemma4", ("<|channel>", "<|tool_call>")),
    ("deepseek", ("<｜tool▁calls▁begin｜>",)),
    ("deepseek", ("<｜Assistant｜>", "</think>")),
    ("kimi-k2", ("<|tool_calls_section_begin|>",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("lfm2", ("<|tool_list_start|>",)),
    ("cohere2", ("<|START_RESPONSE|>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("glm4", ("<arg_key>",)),
    ("nemotron3-ultra", ("<parameter=", "<think></think>", 'reasoning_content ~ "</think>"')),
    ("nemotron3", ("<parameter=", "<think></think>")),
    ("qwen3.5", ("<parameter=", "</think>")),
    ("qwen3", ("<tool_call>", "</think>")),
    ("hermes", ("<tool_call>",)),
    ("think", ("</think>",)),
    ("llama3", ('{"name": ', "<|start_header_id|>")),
    ("llama3", ("<|python_tag|>",)),
)


def channels_named(name: str) -> Channels:
    """The channels of a format, a published template or a prompt class, by name.

    Raises:
        ChannelError: there is none of this name.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}? There are" if near else "there are"
        raise ChannelError(f"no format of channels is called {name!r:.80}: {hint} {', '.join(sorted(FORMATS))}")
    return FORMATS[NAMES[name]]


def channels_of_template(chat_template: str) -> Channels | None:
    """The channels that a chat template writes, by the delimiters that stand in it; ``None`` where none does."""
    return _told_by(chat_template)


def channels_of_tokens(special_strs: Collection[str]) -> Channels | None:
    """The channels that the added tokens of a vocabulary tell of; ``None`` where none does."""
    return _told_by("\n".join(special_strs))


def given_channels(asked: Asked) -> Channels:
    """The channels that somebody gave.

    Raises:
        ChannelError: they are none.
    """
    if isinstance(asked, Channels):
        return asked
    if isinstance(asked, str):
        return channels_named(asked)
    if not isinstance(asked, Sequence):
        raise ChannelError(f"channels are 'auto', a format's name, pairs of delimiters or Channels, not {asked!r:.80}")
    return paired(*asked)


def _told_by(text: str) -> Channels | None:
    name = next((name for name, texts in _TELLING if all(part in text for part in texts)), None)
    return FORMATS[name] if name else None
