"""The instruction family: a preamble, then ``### Instruction`` and ``### Response`` or their Japanese words."""

from __future__ import annotations

from dataclasses import replace

from chatlab.prompts.formats.format import FormatPrompt, PromptFormat

_ENGLISH = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
_JAPANESE = "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。"

_STABLELM = PromptFormat(
    name="japanese-stablelm-instruct-alpha",
    models=("stabilityai/japanese-stablelm-instruct-alpha-7b",),
    user=("### 指示: \n", "\n\n"),
    child=("### 入力: \n", "\n\n"),
    assistant=("### 応答: \n", "\n\n"),
    reply_open="### 応答: ",
    system_place="block",
    default_system=_JAPANESE,
    stop_strs=("### 指示: ",),
    bos="none",
    add_special_tokens=False,
)
_DOLLY = PromptFormat(
    name="dolly-v2-chatstream",
    models=("databricks/dolly-v2-3b", "databricks/dolly-v2-7b", "databricks/dolly-v2-12b"),
    user=("### Instruction:\n", "\n\n"),
    assistant=("### Response:\n", "\n\n"),
    reply_open="### Response:\n",
    system_place="block",
    default_system=_ENGLISH,
    stop_strs=("### Instruction:\n",),
    special_strs=("### Instruction:", "### Response:\n", "### End"),
    bos="none",
    add_special_tokens=True,
)
_WEBLAB_MODELS = ("matsuo-lab/weblab-10b-instruction-sft",)


class ChatPromptStabilityAiJpGptNeoxInstSft(FormatPrompt):
    """stabilityai/japanese-stablelm-instruct-alpha-7b: the open turn ends in a space, earlier ones in a newline."""

    format = _STABLELM


class ChatPromptJapaneseStableLMInstructV2(FormatPrompt):
    """stabilityai/japanese-stablelm-instruct-alpha-7b-v2, -3b-4e1t-instruct, -instruct-gamma-7b: single turn."""

    format = replace(
        _STABLELM,
        name="japanese-stablelm-instruct-v2",
        models=(
            "stabilityai/japanese-stablelm-instruct-alpha-7b-v2",
            "stabilityai/japanese-stablelm-3b-4e1t-instruct",
            "stabilityai/japanese-stablelm-instruct-gamma-7b",
        ),
        reply_open="### 応答: \n",
        preamble=f"{_JAPANESE}\n\n",
        default_system=None,
        system_place="first_user",
        single_turn=True,
        stop_strs=("###",),
    )


class ChatPromptMatsuoLabJpGptNeoxInstSft(FormatPrompt):
    """matsuo-lab/weblab-10b-instruction-sft as ChatStream has it: single turn, StableLM's preamble and spaces."""

    format = replace(
        _STABLELM,
        name="weblab-10b-chatstream",
        models=_WEBLAB_MODELS,
        single_turn=True,
        stop_strs=("### 指示: ", "Q:"),
    )


class ChatPromptWeblab10b(FormatPrompt):
    """matsuo-lab/weblab-10b-instruction-sft by its card: another preamble, no spaces, single turn."""

    format = replace(
        _STABLELM,
        name="weblab-10b",
        models=_WEBLAB_MODELS,
        user=("### 指示:\n", "\n\n"),
        child=None,
        assistant=("### 応答:\n", "\n\n"),
        reply_open="### 応答:",
        preamble="以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。\n\n",
        default_system=None,
        system_place="first_user",
        single_turn=True,
        stop_strs=("###",),
    )


class ChatPromptDatabricksDolly(FormatPrompt):
    """databricks/dolly-v2-* as ChatStream has it: many turns by plain repetition."""

    format = _DOLLY


class ChatPromptDollyV2(FormatPrompt):
    """databricks/dolly-v2-* as it was trained: single turn, ended by ``### End``."""

    format = replace(
        _DOLLY,
        name="dolly-v2",
        child=("Input:\n", "\n\n"),
        preamble=f"{_ENGLISH}\n\n",
        default_system=None,
        system_place="first_user",
        single_turn=True,
        stop_strs=("### End",),
    )


class ChatPromptAlpaca(FormatPrompt):
    """tatsu-lab/alpaca-7b and kin: single turn, no newline after the last ``### Response:``."""

    format = replace(
        _DOLLY,
        name="alpaca",
        models=("tatsu-lab/alpaca-7b-wdiff",),
        reply_open="### Response:",
        preamble=f"{_ENGLISH}\n\n",
        default_system=None,
        system_place="first_user",
        single_turn=True,
        stop_strs=("</s>",),
        special_strs=(),
        bos="tokenizer",
    )
