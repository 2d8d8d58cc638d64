"""The messages, tools and template variables of a request: data of a stranger's, checked before a template sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chatlab.errors import RequestError
from chatlab.prompts.control_tokens.reading import CONTROL_SPELLING
from chatlab.prompts.filling import ROLES, text_of
from chatlab.server.openai.requests.body import Body, is_number, shown

MAX_DEPTH = 32
"""How deep a tool's schema or a document may be nested."""
MAX_NUMBER = 2**31
_WORDS = re.compile(r"[\w .,:/+-]{0,200}")
"""What a template variable may spell: plain words, no delimiter of any template."""
_SETTLED = frozenset(
    {"messages", "tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "documents"}
)
"""Variables that a template gets, and not from here."""


def read_messages(body: Body) -> list[dict[str, Any]]:
    """The messages, with their text parts joined.

    Raises:
        RequestError: there is none, or one is not as OpenAI's interface has messages.
    """
    messages = body.objects("messages")
    if not messages:
        raise body.wrong("messages", "a list of messages, one at least", messages)
    return [_message(message) for message in messages]


def _message(body: Body) -> dict[str, Any]:
    role = body.text("role")
    if role not in ROLES:
        raise body.wrong("role", f"one of {', '.join(ROLES)}", role)
    message: dict[str, Any] = {"role": role, "content": _content(body)}
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (value := body.text(name)) is not None:
            message[name] = value
    if (calls := body.objects("tool_calls")) and role != "assistant":
        raise body.refused("tool_calls", f"a {role} calls no tools")
    if calls:
        message["tool_calls"] = [_tool_call(call) for call in calls]
    body.only({"refusal": [""], "audio": [], "function_call": [], "annotations": [[]]}, "leave it out")
    if (reasoning := body.text("reasoning")) is not None and message.setdefault(
        "reasoning_content", reasoning
    ) != reasoning:
        raise body.refused("reasoning", "it differs from reasoning_content: give one of them")
    if message["content"] is None and not {"tool_calls", "reasoning_content"} & message.keys():
        raise body.wrong("content", "a string or a list of text parts", None)
    body.close()
    return message


def _content(body: Body) -> str | None:
    content = body.take("content")
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise body.wrong("content", "a string or a list of text parts", content)
    for number, data in enumerate(content):
        part = Body(data, body.place(f"content[{number}]"))
        if (kind := part.text("type")) != "text":
            raise part.refused("type", f"only text is read here, not {shown(kind)}")
        if part.text("text") is None:
            raise part.wrong("text", "a string", None)
        part.close()
    return text_of(content)


def _tool_call(body: Body) -> dict[str, Any]:
    body.only({"type": ["function"]}, "only functions are called")
    call_id, function = body.text("id"), body.object("function")
    if function is None:
        raise body.wrong("function", "an object", None)
    name, arguments = function.text("name"), function.take("arguments")
    if not name:
        raise function.wrong("name", "a name", name)
    if not isinstance(arguments, str | dict):
        raise function.wrong("arguments", "a JSON object as a string", arguments)
    if isinstance(arguments, dict):
        check_nesting(arguments, function.place("arguments"))
    function.close()
    body.close({"index", "raw"})  # its number in a stream, and the model's own text of it, as our own messages have it
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if call_id is None else {"id": call_id, **call}


def read_tools(body: Body) -> list[dict[str, Any]] | None:
    """The tools that are offered to the model; ``None`` where there are none, or ``tool_choice`` is ``none``.

    Raises:
        RequestError: a tool is no function's schema, or a call is demanded, which cannot be promised.
    """
    body.only({"functions": [], "function_call": []}, "use tools and tool_choice")
    body.only({"parallel_tool_calls": [True]}, "the model decides how many tools it calls")
    tools = body.items("tools", "a list of tools") or ()
    for number, data in enumerate(tools):
        tool = Body(data, body.place(f"tools[{number}]"))
        tool.only({"type": ["function"]}, "only functions are offered")
        function = tool.object("function")
        if function is None:
            raise tool.wrong("function", "an object", None)
        _check_function(function)
        tool.close()
    choice = body.take("tool_choice")
    if choice not in (None, "none", "auto"):
        raise body.refused("tool_choice", f"only auto and none can be promised, not {shown(choice)}")
    return list(tools) if tools and choice != "none" else None


def _check_function(function: Body) -> None:
    name = function.text("name")
    if not name or len(name) > 256:
        raise function.wrong("name", "a name of at most 256 characters", name)
    function.text("description")
    parameters = function.take("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise function.wrong("parameters", "a JSON schema", parameters)
    check_nesting(parameters, function.place("parameters"))
    function.only({"strict": [False]}, "arguments are not held to their schema here")
    function.close()


def read_variables(body: Body) -> dict[str, Any]:
    """What is told to the template beside the messages: data alone, and never a template.

    Raises:
        RequestError: one is none that a request may set, or is more than plain words, numbers and yes or no.
    """
    body.only(
        {"chat_template": [], "mm_processor_kwargs": [{}], "media_io_kwargs": [{}]}, "templates come with the model"
    )
    given = body.take("chat_template_kwargs")
    if given is not None and not isinstance(given, dict):
        raise body.wrong("chat_template_kwargs", "an object", given)
    variables = dict(given or {})
    for name, value in variables.items():
        _check_variable(name, value, f"chat_template_kwargs.{name}")
    if (effort := body.text("reasoning_effort")) is not None:
        _check_variable("reasoning_effort", effort, "reasoning_effort")
        variables.setdefault("reasoning_effort", effort)
    documents = body.items("documents", "a list of objects")
    if documents is not None:
        if not all(isinstance(document, dict) for document in documents):
            raise body.wrong("documents", "a list of objects", documents)
        check_nesting(documents, "documents")
        variables["documents"] = documents
    return variables


def _check_variable(name: str, value: object, place: str) -> None:
    if not name.isidentifier() or name.startswith("_") or name.endswith("_token") or name in _SETTLED:
        raise RequestError(f"{shown(place)} is no variable that a request may set", field=place, code="unsupported")
    plain = value is None or isinstance(value, bool) or (is_number(value) and abs(value) <= MAX_NUMBER)  # type: ignore[arg-type]
    words = isinstance(value, str) and _WORDS.fullmatch(value) and not CONTROL_SPELLING.search(value)
    if not plain and not words:
        wanted = "plain words, a number, or true or false"
        raise RequestError(f"{place} must be {wanted}, not {shown(value)}", field=place)


def check_nesting(value: object, place: str) -> None:
    """Refuse data that is nested too deep, before anything walks it by recursion.

    Raises:
        RequestError: it is.
    """
    level: Sequence[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise RequestError(f"{place} is nested deeper than {MAX_DEPTH}", field=place)


def _inner(value: object) -> Sequence[object]:
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ()
