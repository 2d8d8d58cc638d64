r"""Read what a model wrote as a tool call: name, arguments as JSON text, and an id where it gave one."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a function."""

    name: str
    arguments: str
    """A JSON object as text: as the model wrote it where it wrote JSON, for written anew it would be another text."""
    call_id: str | None = None


class CallSyntaxError(ValueError):
    """A text is no tool call of its format; stays within this room, where a message tells of it."""


Texts = Collection[tuple[str, str, bool]]
"""Functions and their parameters that are texts, whatever they look like, and whether ``null`` is none."""


def read_calls(text: str, how: str, texts: Texts = ()) -> tuple[list[ToolCall], str | None]:
    """The calls in the text of one call, or none and why it cannot be read.

    The text is a model's: nothing in it is run, and however deep or strange it is, it is read or told of. A format whose
    values have no type (XML) gives what is JSON as that, unless ``texts`` says that it is a text.

    >>> read_calls('{"name": "weather", "arguments": {"city": "Rome", "n": 1.0}}', "json")[0][0].arguments
    '{"city": "Rome", "n": 1.0}'
    """
    try:
        calls = _UNTYPED[how](text.strip(), texts) if how in _UNTYPED else _TYPED[how](text.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        return [], f"this is no call as {how} writes it: {error or type(error).__name__}"
    return (calls, None) if calls else ([], f"this is no call as {how} writes it: it is empty")


def _read_json(text: str) -> list[ToolCall]:
    """``{"name": …, "arguments": {…}}``, ``parameters`` for ``arguments``, OpenAI's own form, or a list of them."""
    end = _JSON.raw_decode(text)[1]
    if rest := text[end:].strip(" \n;"):  # Llama puts a semicolon between calls
        return [*_read_json(text[:end]), *_read_json(rest)]
    if text.startswith("["):
        return [_one_of_json(part) for part in _parts_of_list(text)]
    return [_one_of_json(text[:end])]


def _one_of_json(text: str) -> ToolCall:
    fields = _fields(text)
    inner = fields.get("function")
    if inner is not None and inner.startswith("{"):
        fields = _fields(inner) | {key: value for key, value in fields.items() if key == "id"}
    name = fields.get("name") or fields.get("tool_name") or fields.get("function")
    arguments = fields.get("arguments") or fields.get("parameters") or "{}"
    call_id = fields.get("id") or fields.get("tool_call_id")
    if name is None:
        raise CallSyntaxError("it names no function")
    return _call(json.loads(name), arguments, json.loads(call_id) if call_id else None)


def _call(name: object, arguments: str, call_id: object = None) -> ToolCall:
    if not isinstance(name, str) or not name.strip():
        raise CallSyntaxError(f"the name {name!r} of the function is no text")
    value = _JSON.decode(arguments)
    if isinstance(value, str):  # JSON within JSON, as some templates write it
        arguments, value = value, _JSON.decode(value)
    if not isinstance(value, dict):
        raise CallSyntaxError("its arguments are no object")
    return ToolCall(name=name.strip(), arguments=arguments, call_id=None if call_id is None else str(call_id))


def _no_constant(name: str) -> None:
    raise CallSyntaxError(f"{name} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)


def _fields(text: str) -> dict[str, str]:
    """The fields of a JSON object, each value as it is written."""
    fields: dict[str, str] = {}
    offset = _after_blank(text, 0)
    if text[offset : offset + 1] != "{":
        raise CallSyntaxError("it is no object")
    while text[offset : offset + 1] in ("{", ","):
        offset = _after_blank(text, offset + 1)
        if text[offset : offset + 1] == "}":
            break
        key, offset = _JSON.raw_decode(text, offset)
        start = _after_blank(text, _after_blank(text, offset) + 1)
        _, offset = _JSON.raw_decode(text, start)
        fields[key] = text[start:offset]
        offset = _after_blank(text, offset)
    return fields


def _parts_of_list(text: str) -> list[str]:
    """The items of a JSON list, each as it is written."""
    parts, offset = list[str](), 0
    while text[offset : offset + 1] in ("[", ","):
        offset = _after_blank(text, offset + 1)
        if text[offset : offset + 1] == "]":
            break
        _, end = _JSON.raw_decode(text, offset)
        parts.append(text[offset:end])
        offset = _after_blank(text, end)
    return parts


def _after_blank(text: str, offset: int) -> int:
    while text[offset : offset + 1] in _BLANKS:
        offset += 1
    return offset


_BLANKS = tuple(" \t\n\r")


def _read_qwen_xml(text: str, texts: Texts) -> list[ToolCall]:
    """``<function=name><parameter=key>value</parameter></function>``."""
    functions = re.findall(r"<function=([^>\n]+)>(.*?)</function>(?=\s*(?:<function=|\Z))", text, re.DOTALL)
    if not functions:
        raise CallSyntaxError("there is no <function=…>…</function>")
    pattern = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
    return [_of_values(name, dict(pattern.findall(body)), texts) for name, body in functions]


def _read_glm_xml(text: str, texts: Texts) -> list[ToolCall]:
    """``name``, then pairs of ``<arg_key>`` and ``<arg_value>``."""
    name, _, body = text.partition("<arg_key>")
    if "<" in name or "{" in name:
        raise CallSyntaxError("it does not begin with the name of a function")
    pairs = re.findall(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", "<arg_key>" + body, re.DOTALL)
    if body and not pairs:
        raise CallSyntaxError("an <arg_key> has no <arg_value>")
    return [_of_values(name, dict(pairs), texts)]


def _of_values(name: str, values: Mapping[str, str], texts: Texts) -> ToolCall:
    """A call whose values have no type: what is JSON, or Python's word for it, is read so, and the rest is text."""
    name, read = name.strip(), dict[str, Any]()
    for key, value in values.items():
        may_be_null = value in ("null", "None") and (name, key.strip(), False) not in texts
        is_text = any((name, key.strip(), nullable) in texts for nullable in (False, True))
        read[key.strip()] = value if is_text and not may_be_null else _typed(value)
    return _call(name, json.dumps(read, ensure_ascii=False))


def _typed(text: str) -> Any:
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return text


def _read_deepseek(text: str) -> list[ToolCall]:
    """``function<｜tool▁sep｜>name``, then JSON in a fence; since V3.1 ``name<｜tool▁sep｜>{…}``."""
    head, found, rest = text.partition("<｜tool▁sep｜>")
    if not found:
        raise CallSyntaxError("there is no <｜tool▁sep｜>")
    fenced = re.fullmatch(r"([^\n]+)\n```json\n(.*)\n```", rest, re.DOTALL)
    return [_call(fenced[1], fenced[2]) if fenced else _call(head, rest)]


def _read_kimi(text: str) -> list[ToolCall]:
    """``functions.name:0<|tool_call_argument_begin|>{…}``; what comes first is the id."""
    head, found, arguments = text.partition("<|tool_call_argument_begin|>")
    named = re.fullmatch(r"(?:functions\.)?(.+?)(?::\d+)?", head.strip())
    if not found or not named:
        raise CallSyntaxError("there is no name before <|tool_call_argument_begin|>")
    return [_call(named[1], arguments, head.strip())]


def _read_mistral(text: str) -> list[ToolCall]:
    """A JSON list; since V11 ``name[CALL_ID]id[ARGS]{…}``, the id where there is one."""
    if text.startswith("["):
        return _read_json(text)
    named = re.fullmatch(r"([^\[{\s]+)(?:\[CALL_ID\]([^\[]+))?(?:\[ARGS\])?\s*(\{.*\})", text, re.DOTALL)
    if not named:
        raise CallSyntaxError("it is neither a list nor a name with arguments")
    return [_call(named[1], named[3], named[2])]


def _read_harmony(text: str) -> list[ToolCall]:
    """``functions.name <|constrain|>json<|message|>{…}``: a header that names who is called, then the arguments."""
    header, found, arguments = text.partition("<|message|>")
    name = re.match(r"(?:functions\.)?([^\s<]+)", header)
    if not found or not name:
        raise CallSyntaxError("there is no name before <|message|>")
    return [_call(name[1], arguments)]


def _read_pythonic(text: str) -> list[ToolCall]:
    """``[name(key='value'), …]``, of literals alone; read, never run."""
    if text.startswith(("{", "[{")):
        return _read_json(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an odd escape in a model's text, nobody can do anything
        tree = ast.parse(text, mode="eval").body
    return [_of_node(node) for node in (tree.elts if isinstance(tree, ast.List) else [tree])]


def _of_node(node: ast.expr) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args or not all(keyword.arg for keyword in node.keywords):
        raise CallSyntaxError("it is no call with named arguments")
    arguments = {keyword.arg: ast.literal_eval(_JsonWords().visit(keyword.value)) for keyword in node.keywords}
    return _call(ast.unparse(node.func), json.dumps(arguments, ensure_ascii=False, allow_nan=False))


class _JsonWords(ast.NodeTransformer):
    """JSON's words among Python's literals, as templates write them inside of lists and objects."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The literal that a word means; another name stays one, and is no literal."""
        words = {"true": True, "false": False, "null": None}
        return ast.Constant(words[node.id]) if node.id in words else node


def _read_gemma4(text: str) -> list[ToolCall]:
    """``call:name{key:<|"|>text<|"|>,n:1}``: keys bare, texts between marks that no text holds."""
    named = re.fullmatch(r"call:([^{]+)(\{.*\})", text, re.DOTALL)
    if not named:
        raise CallSyntaxError("there is no call:name{…}")
    parts = named[2].split('<|"|>')
    parts[::2] = [re.sub(r"([{,]\s*)([^\s{}\[\],:\"]+)\s*:", r'\1"\2":', part) for part in parts[::2]]
    parts[1::2] = [json.dumps(part, ensure_ascii=False) for part in parts[1::2]]
    return [_call(named[1], "".join(parts))]


_UNTYPED: Mapping[str, Callable[[str, Texts], list[ToolCall]]] = {"qwen_xml": _read_qwen_xml, "glm_xml": _read_glm_xml}
_TYPED: Mapping[str, Callable[[str], list[ToolCall]]] = {
    "json": _read_json,
    "deepseek": _read_deepseek,
    "kimi": _read_kimi,
    "mistral": _read_mistral,
    "harmony": _read_harmony,
    "pythonic": _read_pythonic,
    "gemma4": _read_gemma4,
}
WAYS = frozenset({*_UNTYPED, *_TYPED})
"""How a tool call is written, by name."""
