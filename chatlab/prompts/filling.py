"""Messages laid into a prompt, whatever its class takes; what a class has no place for is named, never dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from chatlab.errors import MessageTypeError, NoPlaceError, PromptError, RoleOrderError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.formats.registry import prompt_class as prompt_class_named
from chatlab.prompts.plain_data import plain_data

ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "environment")
"""Roles that prompt classes are asked to place; a chat template gets whatever role there is."""

CHILD = "child_message"
"""The field of a user message that holds a context of its own, for the formats that know one."""


PromptClass = Callable[[], AbstractChatPrompt]
AnyPromptClass = PromptClass | AbstractChatPrompt | str
"""A prompt class, the name of a format, or a prompt without messages, which stands for prompts like it."""


def prompt_class_of(given: AnyPromptClass) -> PromptClass:
    """Return what makes the prompts: of a class, of a format's name, or of a prompt without messages.

    Raises:
        PromptError: no format has that name, or the prompt has messages already.

    >>> prompt_class_of("llama2").__name__
    'ChatPromptMetaLlamaLlama2Chat'
    """
    if isinstance(given, str):
        return prompt_class_named(given)
    if not isinstance(given, AbstractChatPrompt):
        return given
    if given.get_history():
        raise PromptError(
            f"a prompt class is needed, not a prompt with {len(given.get_history())} messages: give "
            f"{type(given).__name__} itself, or a prompt without messages"
        )
    return given.copy


def new_prompt(prompt_class: AnyPromptClass) -> AbstractChatPrompt:
    """A fresh prompt of ``prompt_class``, checked to be one.

    Raises:
        PromptError: it makes no prompt, or its class does not define ``create_prompt``.
    """
    name = getattr(prompt_class, "__name__", type(prompt_class).__name__)
    make = prompt_class_of(prompt_class)
    if not callable(make):
        raise PromptError(f"a prompt class is needed, not {name}: pass the class itself, or the name of a format")
    prompt: object = make()
    missing = []
    if not isinstance(prompt, AbstractChatPrompt):
        missing = [member for member in dir(AbstractChatPrompt) if member[0] != "_" and not hasattr(prompt, member)]
    elif type(prompt).create_prompt is AbstractChatPrompt.create_prompt:
        missing = ["create_prompt"]
    if missing:
        raise PromptError(
            f"{name} has no {', '.join(missing)}: derive it from AbstractChatPrompt and define create_prompt(opts)"
        )
    return cast(AbstractChatPrompt, prompt)


def offer(prompt: AbstractChatPrompt, tools: Sequence[Any] | None, variables: Mapping[str, Any]) -> None:
    """Give a prompt the tools and template variables of a dialogue.

    Raises:
        NoPlaceError: there are some, and its class has no place for them.
    """
    set_offer = getattr(prompt, "set_tools_and_variables", None)
    if set_offer is not None and (tools is not None or variables):
        set_offer(tools, variables)
    elif set_offer is None and (tools or variables):
        what = "tools" if tools else f"the template variable {next(iter(variables))}"
        raise _no_place("the dialogue", what, prompt)


def add_message(prompt: AbstractChatPrompt, number: int, message: Mapping[str, Any]) -> None:
    """Add message ``number``, from 1, to a prompt; a leading system text becomes its system text.

    A class with ``add_message``, such as ``ChatTemplatePrompt``, gets the message as it is.

    Raises:
        MessageTypeError: the message has no role, or the class takes text and its content is none.
        NoPlaceError: it says something beside its text, and the class has no place for that.
        RoleOrderError: its role has no place where it stands.
    """
    role, content = message.get("role"), message.get("content")
    is_plain = len(message) == 2 and type(content) is str
    if is_plain and role == "user":
        prompt.add_requester_msg(content)
    elif is_plain and role == "assistant":
        prompt.add_responder_msg(content)
    elif is_plain and role == "system" and number == 1:
        prompt.set_system_prompt(content)
    elif (add := getattr(prompt, "add_message", None)) is not None:
        add(message)
    else:
        _add_text(prompt, number, message)


def _add_text(prompt: AbstractChatPrompt, number: int, message: Mapping[str, Any]) -> None:
    """Add a message to a class that knows texts alone, and refuse what would be lost of it."""
    role, text, fields = message_parts(message)
    if role not in ROLES:
        raise PromptError(f"no role is called {role!r:.80}: roles are {', '.join(ROLES)}")
    if not isinstance(fields.get("content"), list):
        check_text_content(role, fields.get("content"))
    child = fields.get(CHILD) if role == "user" else None
    what = said_beside_text({key: value for key, value in fields.items() if key != CHILD or child is None})
    if what is not None:
        raise _no_place(f"message {number}", what, prompt)
    if role in ("system", "developer") and number == 1:
        prompt.set_system_prompt(text)
    elif role == "user":
        prompt.add_requester_msg(text, **({} if child is None else {CHILD: child}))
    elif role == "assistant":
        prompt.add_responder_msg(text)
    else:
        raise RoleOrderError(f"message {number} has role {role!r}, which has no place there in {type(prompt).__name__}")


def _no_place(where: str, what: str, prompt: AbstractChatPrompt) -> NoPlaceError:
    name = type(prompt).__name__
    return NoPlaceError(
        f"{where} has {what}, which {name} has no place for: "
        "use ChatTemplatePrompt over a template that knows it, or leave it out, as Dialogue.without and drift --without do with a field",
        kind=f"{name} has no place for {what}",
    )


def said_beside_text(message: Mapping[str, Any]) -> str | None:
    """What a message holds beside its role and its text, by name, or None; an empty field holds nothing.

    >>> said_beside_text({"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": []})
    >>> said_beside_text({"role": "assistant", "content": "Hi", "reasoning_content": "A greeting."})
    'reasoning_content'
    """
    for key, value in message.items():
        if key not in ("role", "content") and _holds(value):
            return str(key)
    content = message.get("content")
    if content is None or isinstance(content, str):
        return None
    for part in content if isinstance(content, list | tuple) else [content]:
        if text_of_part(part) is None:
            kind = part.get("type") if isinstance(part, Mapping) else None
            return f"a part of type {kind}" if isinstance(kind, str) else f"a content of type {type(part).__name__}"
        beside = next((key for key in part if key not in ("type", "text") and _holds(part[key])), None)
        if beside is not None:
            return f"{beside} in a part"
    return None


def _holds(value: object) -> bool:
    return value is not None and value is not False and not (isinstance(value, str | list | tuple | dict) and not value)


def message_parts(message: object) -> tuple[str, str, dict[str, Any]]:
    """The role of a message, its text, and its other fields; with its content among them where that is not one text.

    Raises:
        MessageTypeError: it is no mapping, or has no role.
    """
    plain = plain_data(message)
    if not isinstance(plain, Mapping) or not isinstance(plain.get("role"), str):
        raise MessageTypeError(f'a message is an object with "role" and "content", not {message!r:.80}')
    role, content = plain["role"], plain.get("content")
    if isinstance(content, str):
        fields = {key: value for key, value in plain.items() if key != "content"}
        return role, content, {} if fields.keys() == {"role"} and role in ("user", "assistant") else fields
    return role, text_of(content), {**plain, "content": content}


def check_text_content(role: str, content: object) -> None:
    """Refuse a content that is neither text nor a list of text parts.

    Raises:
        MessageTypeError: it is another thing.
    """
    if isinstance(content, list | tuple):
        bad = next((part for part in content if text_of_part(part) is None), None)
        if bad is not None:
            raise MessageTypeError(f'a part of a message must be {{"type": "text", "text": …}}, not {bad!r:.80}')
    elif content is not None and not isinstance(content, str):
        raise MessageTypeError(f"the content of a {role} message must be text, not {type(content).__name__}")


def text_of(content: object) -> str:
    """The text of a content: itself, or its text parts joined; empty where it has none."""
    if isinstance(content, str):
        return content
    return "".join(filter(None, map(text_of_part, content if isinstance(content, list | tuple) else ())))


def text_of_part(part: object) -> str | None:
    """The text of a text part, or None for a part that is none."""
    is_text = isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
    return str(part["text"]) if is_text else None  # type: ignore[index]  # is_text says it is a mapping
