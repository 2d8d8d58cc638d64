"""Formats that name the speaker in plain text, and the two that name nobody.

Where a format has no special end token, the requester's name stops the reply.
"""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_HUMAN_BOT = PromptFormat(
    name="redpajama-incite-chat",
    models=("togethercomputer/RedPajama-INCITE-7B-Chat", "togethercomputer/RedPajama-INCITE-Chat-3B-v1"),
    user=("{requester}: ", "\n"),
    assistant=("{responder}: ", "\n"),
    reply_open="{responder}:",
    requester="<human>",
    responder="<bot>",
    stop_strs=("{requester}:", "<|endoftext|>"),
    bos="none",
    add_special_tokens=True,
)
_JAPANESE = PromptFormat(
    name="line-japanese-large-lm",
    models=(
        "line-corporation/japanese-large-lm-1.7b-instruction-sft",
        "line-corporation/japanese-large-lm-3.6b-instruction-sft",
    ),
    user=("{requester}: ", "\n"),
    assistant=("{responder}: ", "\n"),
    reply_open="{responder}: ",
    requester="ユーザー",
    responder="システム",
    stop_strs=("{requester}: ",),
    bos="none",
    add_special_tokens=False,
)
_CONTINUATION = PromptFormat(
    name="opencalm",
    models=tuple(f"cyberagent/open-calm-{size}" for size in ("small", "medium", "large", "1b", "3b", "7b")),
    user=("", ""),
    assistant=("", ""),
    bos="none",
    add_special_tokens=True,
)


class ChatPromptTogetherRedPajamaINCITEChat(FormatPrompt):
    """``togethercomputer/RedPajama-INCITE-*-Chat``."""

    format = _HUMAN_BOT


class ChatPromptMosaicmlMptChat(FormatPrompt):
    """``mosaicml/mpt-*-chat`` as ChatStream has it: RedPajama's format, not the ChatML the models were tuned on."""

    format = replace(
        _HUMAN_BOT,
        name="mpt-chat-chatstream",
        models=("mosaicml/mpt-7b-chat", "mosaicml/mpt-30b-chat"),
        stop_strs=("{requester}:",),
    )


class ChatPromptOpenlmrOpenLlama(FormatPrompt):
    """openlm-research/open_llama_*: a base model, asked in ``Q:`` and ``A:``."""

    format = replace(
        _HUMAN_BOT,
        name="open-llama-qa",
        models=tuple(f"openlm-research/open_llama_{size}" for size in ("3b", "7b", "13b", "3b_v2", "7b_v2")),
        requester="Q",
        responder="A",
        stop_strs=("\n{requester}:", "\nB:", "\nC:"),
        bos="tokenizer",
    )


class ChatPromptRinnaJpGptNeoxInstSft(FormatPrompt):
    """``rinna/japanese-gpt-neox-3.6b-instruction-*``: every newline of every message becomes ``<NL>``, as the card says."""

    format = replace(
        _JAPANESE,
        name="rinna-gpt-neox-instruct",
        models=tuple(f"rinna/japanese-gpt-neox-3.6b-instruction-{kind}" for kind in ("sft", "sft-v2", "ppo")),
        user=("{requester}: ", "<NL>"),
        assistant=("{responder}: ", "<NL>"),
        newline="<NL>",
        stop_strs=(),
    )


class ChatPromptLineCorpJpLargeLmInstSft(FormatPrompt):
    """``line-corporation/japanese-large-lm-*-instruction-sft`` as ChatStream has it: nothing after an answer."""

    format = replace(_JAPANESE, name="line-japanese-large-lm-chatstream", assistant=("{responder}: ", ""))


class ChatPromptLineJapaneseLargeLm(FormatPrompt):
    """``line-corporation/japanese-large-lm-*-instruction-sft`` by its card: a newline after an answer."""

    format = _JAPANESE


class ChatPromptCyberAgentOpenCalm(FormatPrompt):
    """``cyberagent/open-calm-*``: a base model that continues the messages as they follow each other."""

    format = _CONTINUATION


class ChatPromptStockmarkGptNeoxJp(FormatPrompt):
    """stockmark/gpt-neox-japanese-1.4b: a base model that continues the messages as they follow each other."""

    format = replace(_CONTINUATION, name="stockmark-gpt-neox", models=("stockmark/gpt-neox-japanese-1.4b",))
