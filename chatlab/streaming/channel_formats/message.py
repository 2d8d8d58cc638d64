r"""The message that the channels of a reply make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chatlab.prompts.filling import text_of
from chatlab.streaming.channel_formats.tool_calls import Texts, ToolCall, read_calls
from chatlab.streaming.channels import Passage, join_passages


def message_of(
    passages: Iterable[Passage], calls: str = "json", tools: Iterable[Mapping[str, Any]] = (), texts: Texts = ()
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
        texts: further arguments that are texts, as :func:`text_arguments` tells them.
    """
    texts = {*texts, *text_arguments(tools)}
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


def prompt_message(message: Mapping[str, Any], *, argument_text: bool) -> dict[str, Any]:
    """The message of a reply as the next prompt takes it: what only tells of the reply is left out.

    Its content is a text, if an empty one: of a missing content some chat templates raise, and none does of this.

    Args:
        message: what :func:`message_of` gives.
        argument_text: whether the arguments of a call stay the model's own JSON text; else they are an object.
    """
    said = {key: value for key, value in message.items() if key not in ("tool_calls", "unparsed_calls")}
    said["content"] = said["content"] or ""
    calls = [{key: call[key] for key in ("id", "type", "function")} for call in message.get("tool_calls", ())]
    for call in calls if not argument_text else ():
        call["function"] = {**call["function"], "arguments": json.loads(call["function"]["arguments"])}
    return {**said, "tool_calls": calls} if calls else said


def passages_of(message: Mapping[str, Any]) -> Iterator[Passage]:
    """What a message says by channel, for a view of it: what it thought, its text, and each call as JSON.

    >>> [passage.text for passage in passages_of({"content": "Hi", "reasoning_content": "Hm."})]
    ['Hm.', 'Hi']
    """
    thought = next((message[key] for key in ("reasoning_content", "thinking", "reasoning") if message.get(key)), None)
    if isinstance(thought, str):
        yield Passage("reasoning", thought)
    if text := text_of(message.get("content")):
        yield Passage("content", text)
    for call in message.get("tool_calls") or ():
        yield Passage("tool_call", json.dumps(_inner(call, "function") or call, ensure_ascii=False, default=str))


def _as_openai(call: ToolCall, number: int, raw: str) -> dict[str, Any]:
    return {
        "id": call.call_id or f"call{number:05d}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        "raw": raw,
    }


def text_arguments(tools: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, bool]]:
    """Each argument that is a text, as schemas of tools tell: function, parameter, and whether it may be null.

    What is no schema tells nothing.
    """
    for tool in tools:
        function = _inner(tool, "function") or tool
        properties = _inner(_inner(function, "parameters"), "properties")
        name = function.get("name", "") if isinstance(function, Mapping) else ""
        for key in properties:
            kinds = _kinds(_inner(properties, key))
            if "string" in kinds and kinds <= {"string", "null"}:
                yield name, key, "null" in kinds


def _kinds(schema: Mapping[str, Any], depth: int = 8) -> set[str]:
    """The types that a schema allows, as far as it says: by ``type``, by its values, or by what it is one of."""
    of = {str: "string", type(None): "null"}
    values = [value for value in (schema.get("enum"), [schema["const"]] if "const" in schema else None) if value]
    named = schema.get("type")
    kinds = {named} if isinstance(named, str) else {str(kind) for kind in named} if isinstance(named, list) else set()
    if not kinds:
        kinds = {of.get(type(value), "other") for value in (values[0] if values else ()) if depth}
        parts = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())] if depth else []
        kinds = kinds.union(*(_kinds(part, depth - 1) for part in parts if isinstance(part, Mapping)))
    return kinds | {"null"} if schema.get("nullable") is True else kinds


def _inner(value: object, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
