r"""The message that the channels of a reply make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chatlab.streaming.channel_formats.tool_calls import ToolCall, read_calls
from chatlab.streaming.channels import Passage, join_passages


def message_of(
    passages: Iterable[Passage], calls: str = "json", tools: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The message of a reply as OpenAI's interface has it, for the next prompt.

    ``content``; ``reasoning_content`` where there is any; ``tool_calls``, each with its ``function`` (``name``, and
    ``arguments`` as JSON text) and beside it ``raw``, the model's own text of the call. A call that cannot be read stays
    in ``content`` with its delimiters, as the model wrote it, and ``unparsed_calls`` tells its ``raw`` text and the
    ``error``. A call that the model gave no id has one of nine letters and digits, by its number.

    Args:
        passages: those of a whole reply.
        calls: how its tool calls are written.
        tools: those that the model was given; where its calls carry no types (XML), these tell which arguments are texts.
    """
    texts = frozenset(_text_parameters(tools))
    joined = join_passages(passages)
    said = {"content": "", "reasoning": ""}
    tool_calls: list[dict[str, Any]] = []
    unparsed: list[dict[str, str]] = []
    told = -1  # the last delimiter that went into the content with a call that could not be read
    for at, passage in enumerate(joined):
        if passage.delimiter:
            continue
        if passage.channel != "tool_call":
            said[passage.channel] += passage.text
            continue
        found, error = read_calls(passage.text, calls, texts)
        tool_calls += [_as_openai(call, len(tool_calls) + number, passage.text) for number, call in enumerate(found)]
        if error is not None:
            unparsed.append({"raw": passage.text, "error": error})
            around = [i for i in (at - 1, at, at + 1) if told < i < len(joined) and i >= 0]
            kept = [i for i in around if i == at or joined[i].delimiter and joined[i].channel == "tool_call"]
            said["content"] += "".join(joined[i].text for i in kept)
            told = kept[-1]
    message: dict[str, Any] = {"role": "assistant", "content": said["content"] or (None if tool_calls else "")}
    if said["reasoning"]:
        message["reasoning_content"] = said["reasoning"]
    if tool_calls:
        message["tool_calls"] = tool_calls
    if unparsed:
        message["unparsed_calls"] = unparsed
    return message


def _as_openai(call: ToolCall, number: int, raw: str) -> dict[str, Any]:
    return {
        "id": call.call_id or f"call{number:05d}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        "raw": raw,
    }


def _text_parameters(tools: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for tool in tools:
        function = tool.get("function", tool)
        properties = (function.get("parameters") or {}).get("properties") or {}
        yield from ((function.get("name", ""), key) for key, told in properties.items() if told.get("type") == "string")
