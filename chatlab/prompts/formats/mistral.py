"""The Mistral family: ``[INST]`` formats that differ in spaces and in where the system text goes.

v1, v2, v3 and v7 are versions of the tokenizer, not of the model.
"""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_V1_MODELS = tuple(
    f"mistralai/{name}" for name in ("Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2", "Mixtral-8x7B-Instruct-v0.1")
)  # fmt: skip

_V3 = PromptFormat(
    name="mistral-v3",
    models=(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        "mistralai/Mistral-Large-Instruct-2407",
        "mistralai/Mistral-Small-Instruct-2409",
        "mistralai/Codestral-22B-v0.1",
        "mistralai/Mathstral-7B-v0.1",
    ),
    head="<s>",
    user=("[INST] ", "[/INST]"),
    assistant=(" ", "</s>"),
    system_place="last_user",
    stop_strs=("</s>",),
    special_strs=("<s>", "</s>", "[INST]", "[/INST]"),
    bos="in_text",
    add_special_tokens=False,
)
_V1 = replace(
    _V3,
    name="mistral-v1",
    models=_V1_MODELS,
    user=(" [INST] ", " [/INST]"),
    system_place="first_user",
    special_strs=("<s>", "</s>"),
)
_HUB_2023 = replace(_V1, name="mistral-v0.2-hf2023", models=(), user=("[INST] ", " [/INST]"), assistant=("", "</s>"))
_TEKKEN = replace(
    _V3,
    name="mistral-v3-tekken",
    models=(
        "mistralai/Mistral-Nemo-Instruct-2407",
        "mistralai/Pixtral-12B-2409",
        "mistralai/Ministral-8B-Instruct-2410",
    ),
    user=("[INST]", "[/INST]"),
    assistant=("", "</s>"),
)
_V7_SPECIAL = (*_V3.special_strs, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")


class ChatPromptMistralV1(FormatPrompt):
    """mistralai Instruct v0.1, v0.2 and Mixtral-8x7B, as mistral-common tokenizes them."""

    format = _V1


class ChatPromptMistralV01Hub2023(FormatPrompt):
    """Mistral-7B-Instruct-v0.1 by its hub template of 2023: one space after ``</s>``, none before the answer."""

    format = replace(_HUB_2023, name="mistral-v0.1-hf2023", assistant=("", "</s> "))


class ChatPromptMistralV02Hub2023(FormatPrompt):
    """Mistral-7B-Instruct-v0.2 and Mixtral-8x7B by their hub templates of 2023: no space around ``</s>``."""

    format = _HUB_2023


class ChatPromptMistralV2(FormatPrompt):
    """The API models of early 2024; their text is that of v3."""

    format = replace(_V3, name="mistral-v2", models=())


class ChatPromptMistralV3(FormatPrompt):
    """Mistral-7B-Instruct-v0.3, Mixtral-8x22B and kin: the system text moves to the last question every turn."""

    format = _V3


class ChatPromptMistralV3Tekken(FormatPrompt):
    """Mistral-Nemo, Pixtral-12B and Ministral-8B: v3 without a single space."""

    format = _TEKKEN


class ChatPromptMistralV7(FormatPrompt):
    """Mistral-Large-2411 and Pixtral-Large: v3 with a system block of its own."""

    format = replace(
        _V3,
        name="mistral-v7",
        models=("mistralai/Mistral-Large-Instruct-2411", "mistralai/Pixtral-Large-Instruct-2411"),
        system=("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"),
        system_place="block",
        special_strs=_V7_SPECIAL,
    )


class ChatPromptMistralV7Tekken(FormatPrompt):
    """Mistral-Small 2501 and 2503, without the dated default text that their hub template adds."""

    format = replace(
        _TEKKEN,
        name="mistral-v7-tekken",
        models=("mistralai/Mistral-Small-24B-Instruct-2501", "mistralai/Mistral-Small-3.1-24B-Instruct-2503"),
        system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        system_place="block",
        special_strs=_V7_SPECIAL,
    )
