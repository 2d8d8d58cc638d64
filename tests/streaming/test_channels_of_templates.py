"""Each published template gets its delimiters: what it writes for a message, split again, is that message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chatlab.errors import TemplateError
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.sandbox import render
from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channel_formats.registry import FORMATS, NAMES, channels_of_template
from chatlab.streaming.channels import split_channels
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine

ARGUMENTS = {"flag": False, "none": None, "num": 1.0, "s": "é<&'\"\n", "obj": {"k": [True, "</tool_call>"]}}
OTHER = {"city": "Zürich", "n": 2}


def call(number: int, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"abcdefgh{number}", "type": "function", "function": {"name": "weather", "arguments": arguments}}


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "",
        "parameters": {"type": "object", "properties": {"zip": {"type": "string"}}},
    },
}
MESSAGES: dict[str, dict[str, Any]] = {
    "plain": {"content": "A, b.\n\n- c"},
    "blanks": {"content": "\n  A.\n\n"},
    "reasoning": {"content": "A.", "reasoning": "Hm: a < b.\n\nSo."},
    "call": {"content": "", "tool_calls": [call(0, OTHER)]},
    "strange": {"content": "", "tool_calls": [call(0, ARGUMENTS)]},
    "number": {"content": "", "tool_calls": [call(0, {"zip": "8001"})]},
    "calls": {"content": "", "tool_calls": [call(0, OTHER), call(1, OTHER)]},
    "content and call": {"content": "A.", "tool_calls": [call(0, OTHER)]},
    "all": {"content": "A.", "reasoning": "Hm.", "tool_calls": [call(0, OTHER)]},
}
CALLS = frozenset(name for name, message in MESSAGES.items() if "tool_calls" in message)
THOUGHTS = frozenset({"reasoning", "all"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a template writes an assistant's turn, and what of a message it loses."""

    opening: str
    closings: tuple[str, ...] = ("<|im_end|>\n",)
    thoughts_in: str = "reasoning_content"
    arguments_as: str = "object"
    content_as: str = "text"
    begins_thinking: bool = False
    """Whether the prompt opens the reasoning of the reply."""
    loses: frozenset[str] = frozenset()
    """Messages that it does not write whole: the field that it drops, or the blanks that it trims."""
    refuses: frozenset[str] = frozenset()


TRIMS = frozenset({"blanks"})
MANY = frozenset({"calls"})
IM = "<|im_start|>assistant\n"
ONE_CALL = {"loses": TRIMS | THOUGHTS | {"content and call"}, "refuses": MANY}
TABLE: dict[str, Row] = {
    "cohere": Row(opening="<|CHATBOT_TOKEN|>", closings=("<|END_OF_TURN_TOKEN|>",), loses=TRIMS | THOUGHTS | CALLS),
    "cohere2": Row(
        opening="<|START_RESPONSE|>", closings=("<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",), loses=THOUGHTS | CALLS
    ),
    "deepseekv3": Row(
        opening="<｜Assistant｜>",
        closings=("<｜end▁of▁sentence｜>",),
        arguments_as="text",
        begins_thinking=True,
        loses=THOUGHTS,
    ),
    "diffusion_gemma": Row(opening="<|turn>model\n", closings=("<turn|>\n", "<|tool_response>"), loses=TRIMS),
    "gemma": Row(opening="<start_of_turn>model\n", closings=("<end_of_turn>\n",), loses=TRIMS | THOUGHTS | CALLS),
    "gemma3": Row(opening="<start_of_turn>model\n", closings=("<end_of_turn>\n",), loses=TRIMS | THOUGHTS | CALLS),
    "glm4moe": Row(opening="<|assistant|>", closings=("",), loses=TRIMS),
    # Before a call, what was said is written as thought; before an answer, the thought is left out.
    "gptoss": Row(
        opening="<|start|>assistant",
        closings=("",),
        thoughts_in="thinking",
        loses=frozenset({"reasoning", "calls", "content and call"}),
        refuses=frozenset({"all"}),
    ),
    "idefics3": Row(
        opening="Assistant: ", closings=("<end_of_utterance>\n",), content_as="parts", loses=THOUGHTS | CALLS
    ),
    "lfm2": Row(opening=IM, loses=THOUGHTS | CALLS),
    # It puts quotes round a text and escapes nothing in it, so a text with quotes makes a call that nobody can read.
    "lfm2_2_5": Row(opening=IM, thoughts_in="thinking", loses=frozenset({"strange"})),
    "llama3": Row(opening="<|end_header_id|>\n\n", closings=("<|eot_id|>",), loses=TRIMS | THOUGHTS | CALLS),
    "llama3_1": Row(opening="<|end_header_id|>\n\n", closings=("<|eot_id|>",), **ONE_CALL),
    "llama3_2": Row(opening="<|end_header_id|>\n\n", closings=("<|eot_id|>",), **ONE_CALL),
    "llava_next": Row(opening="[/INST] ", closings=("</s> ",), content_as="parts", loses=THOUGHTS | CALLS),
    "nemotron_3_nano": Row(opening=IM, loses=TRIMS),
    "nemotron_3_super": Row(opening=IM, loses=TRIMS),
    "nemotron_3_ultra": Row(opening=IM, loses=TRIMS),
    "phi3": Row(opening="<|assistant|>\n", closings=("<|end|>\n<eos>",), loses=THOUGHTS | CALLS),
    "phi3_5": Row(opening="<|assistant|>\n", closings=("<|end|>\n<eos>",), loses=THOUGHTS | CALLS),
    "qwen2_5": Row(opening=IM, loses=THOUGHTS),
    "qwen2_5_vl": Row(opening=IM, loses=THOUGHTS | CALLS),
    "qwen3": Row(opening=IM, loses=TRIMS),
    "qwen3_5_nothink": Row(opening=IM, loses=TRIMS),
    "qwen3_5_think": Row(opening=IM, loses=TRIMS),
    "qwen3_6": Row(opening=IM, loses=TRIMS),
    "qwen3_instruct_2507": Row(opening=IM, loses=THOUGHTS),
    "qwen3_vl": Row(opening=IM, loses=THOUGHTS),
}


def told(row: Row, message: dict[str, Any]) -> dict[str, Any]:
    """A message as a template wants it."""
    told = {key: value for key, value in message.items() if key != "reasoning"}
    if "reasoning" in message:
        told[row.thoughts_in] = message["reasoning"]
    if row.arguments_as == "text" and "tool_calls" in told:
        functions = [
            {**c["function"], "arguments": json.dumps(c["function"]["arguments"], ensure_ascii=False)}
            for c in told["tool_calls"]
        ]
        told["tool_calls"] = [{**c, "function": f} for c, f in zip(told["tool_calls"], functions, strict=True)]
    if row.content_as == "parts":
        told["content"] = [{"type": "text", "text": told["content"]}]
    return told


def rendered(template: str, row: Row, message: dict[str, Any]) -> str:
    """The reply that a template writes for a message."""
    messages = [user(row, "Q?"), {"role": "assistant", **told(row, message)}]
    variables = {"messages": messages, "tools": [TOOL], "bos_token": "<bos>", "eos_token": "<eos>"}
    text = render(template, variables)
    assert row.opening in text
    closing = next(closing for closing in row.closings if text.endswith(closing))
    return text.rpartition(row.opening)[2].removesuffix(closing)


def read(reply: str, name: str) -> dict[str, Any]:
    channels = FORMATS[NAMES[name]]
    found = message_of(split_channels(reply, channels), channels.calls, [TOOL])
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in found.get("tool_calls", ())]
    return {
        "content": found["content"] or "",
        "reasoning": found.get("reasoning_content", ""),
        "calls": calls,
        "unparsed": found.get("unparsed_calls", []),
    }


def meant(message: dict[str, Any]) -> dict[str, Any]:
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", ())]
    return {"content": message["content"], "reasoning": message.get("reasoning", ""), "calls": calls, "unparsed": []}


@pytest.fixture(scope="module")
def templates(real: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    return found


def test_the_table_names_every_template(templates: dict[str, str]) -> None:
    assert set(TABLE) == set(templates) <= set(NAMES)


@pytest.mark.parametrize("name", TABLE)
def test_what_a_template_writes_for_a_message_split_again_is_that_message(templates: dict[str, str], name: str) -> None:
    """Or the row says which ones it does not write whole; a row that says too much fails, too."""
    row, lost, refused = TABLE[name], set(), set()
    for label, message in MESSAGES.items():
        try:
            reply = rendered(templates[name], row, message)
        except TemplateError:
            refused.add(label)
            continue
        if read(reply, name) != meant(message):
            lost.add(label)
    assert (lost, refused) == (row.loses, row.refuses)


@pytest.mark.parametrize("name", TABLE)
def test_a_template_is_told_by_its_delimiters(templates: dict[str, str], name: str) -> None:
    told = channels_of_template(templates[name])
    assert (told.name if told else "plain") == NAMES[name]


class Written:
    """A tokenizer as a prompt sees it: a template, and the special tokens that it writes."""

    special_tokens_map = {"bos_token": "<bos>", "eos_token": "<eos>"}

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.content_as == "text"])
def test_the_prompt_after_a_streamed_reply_is_the_one_of_its_message(templates: dict[str, str], name: str) -> None:
    """Rendered from what was thought, said and called, not from a text that holds delimiters."""
    row = TABLE[name]
    for label in sorted(MESSAGES.keys() - row.loses - row.refuses):
        reply = rendered(templates[name], row, MESSAGES[label])
        asked = ChatTemplatePrompt(Written(templates[name]), tools=[TOOL])
        asked.add_message(user(row, "Q?"))
        if row.begins_thinking and "</think>" not in reply:
            reply = (
                "</think>\n\n" + reply
            )  # the prompt ends in <think>, so this is what a model says that does not think
        stream(asked, ScriptedEngine(reply), channels="auto", context_len=8192, max_new_tokens=2000).result()
        known = ChatTemplatePrompt(Written(templates[name]), tools=[TOOL])
        known.add_message(user(row, "Q?"))
        known.add_message({"role": "assistant", **told(row, MESSAGES[label])})
        assert next_prompt(asked, row, MESSAGES[label]) == next_prompt(known, row, MESSAGES[label]), label


def next_prompt(prompt: ChatTemplatePrompt, row: Row, message: dict[str, Any]) -> str:
    """What stands before the model's next reply: a result for each call, or another question."""
    for call in message.get("tool_calls", ()):
        prompt.add_message({"role": "tool", "content": "1", "name": "weather", "tool_call_id": call["id"]})
    if "tool_calls" not in message:
        prompt.add_message(user(row, "And?"))
    prompt.add_responder_msg(None)
    return prompt.create_prompt()


def user(row: Row, text: str) -> dict[str, Any]:
    return {"role": "user", "content": text if row.content_as == "text" else [{"type": "text", "text": text}]}
