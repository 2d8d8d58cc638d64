"""From and to OpenAI-style message lists, JSON lines and dialogues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chatlab.errors import MessageTypeError, OutputError, PromptError, RoleOrderError
from chatlab.files import whole_file
from chatlab.prompts.base import AbstractChatPrompt, PromptTTL, RoleType
from chatlab.prompts.dialogue import Dialogue, new_prompt
from chatlab.prompts.plain_data import plain_data

ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "environment")
"""Roles that prompt classes are asked to place; a chat template gets whatever role there is."""

_SAID = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Fields that say something to the model; a prompt class that has no place for them must not lose them."""

_CHILD = "child_message"


def messages_of(prompt: AbstractChatPrompt, opts: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The OpenAI-style messages of a prompt, its plain system text first; an open reply is left out.

    >>> from chatlab.prompts.formats.phi3 import ChatPromptPhi3
    >>> prompt = ChatPromptPhi3()
    >>> _ = prompt.add_requester_msg("Hi"), prompt.add_responder_msg(None)
    >>> messages_of(prompt)
    [{'role': 'user', 'content': 'Hi'}]
    """
    messages: list[dict[str, Any]] = []
    if prompt.get_system_prompt() is not None:
        messages.append({"role": "system", "content": prompt.get_system_prompt()})
    for content in prompt.get_history(opts):
        if content.message is not None:
            role = "user" if content.role_type is RoleType.REQUESTER else "assistant"
            message = {"role": role, "content": content.message, _CHILD: content.child_message, **content.fields}
            messages.append({key: value for key, value in message.items() if value is not None})
    return messages


def prompt_of_messages(
    messages: Sequence[Mapping[str, Any]], prompt_class: Callable[[], AbstractChatPrompt], *, open_reply: bool = True
) -> AbstractChatPrompt:
    """A prompt that holds ``messages``; a leading system message becomes its system text.

    A class with ``add_message``, such as ``ChatTemplatePrompt``, gets each message as it is.

    Args:
        messages: OpenAI-style, ``content`` a string or a list of text parts.
        prompt_class: a prompt class, or anything that makes a prompt when called.
        open_reply: open a reply when the last message is not the model's.

    Raises:
        MessageTypeError: a message has no role, or the class takes text and its content is none.
        PromptError: a message calls tools or thinks, and the class has no place for that.
        RoleOrderError: a role has no place where it stands.
    """
    prompt = new_prompt(prompt_class)
    add_message = getattr(prompt, "add_message", None)
    role = ""
    for number, message in enumerate(messages, 1):
        role, text, fields = message_parts(message)
        if number == 1 and add_message and role == "system" and fields == {"role": "system"}:
            prompt.set_system_prompt(text)
        elif add_message:
            add_message(message)
        else:
            _add_plain(prompt, number, role, text, fields)
    if open_reply and messages and role != "assistant":
        prompt.add_responder_msg(None)
    return prompt


def _add_plain(prompt: AbstractChatPrompt, number: int, role: str, text: str, fields: Mapping[str, Any]) -> None:
    """Add a message to a class that knows texts alone, and refuse what would be lost of it."""
    name = type(prompt).__name__
    if role not in ROLES:
        raise PromptError(f"no role is called {role!r:.80}: roles are {', '.join(ROLES)}")
    check_text_content(role, fields.get("content"))
    said = next((key for key in _SAID if fields.get(key)), None)
    if said is not None:
        raise PromptError(
            f"message {number} has {said}, which {name} has no place for: "
            "use ChatTemplatePrompt over a template that knows it"
        )
    if role in ("system", "developer") and number == 1:
        prompt.set_system_prompt(text)
    elif role == "user":
        child = {_CHILD: fields[_CHILD]} if fields.get(_CHILD) is not None else {}
        prompt.add_requester_msg(text, **child)
    elif role == "assistant":
        prompt.add_responder_msg(text)
    else:
        raise RoleOrderError(f"message {number} has role {role!r}, which has no place there in {name}")


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
    parts = content if isinstance(content, list | tuple) else ()
    return role, "".join(filter(None, map(_text_of, parts))), {**plain, "content": content}


def check_text_content(role: str, content: object) -> None:
    """Refuse a content that is neither text nor a list of text parts.

    Raises:
        MessageTypeError: it is another thing.
    """
    if isinstance(content, list | tuple):
        bad = next((part for part in content if _text_of(part) is None), None)
        if bad is not None:
            raise MessageTypeError(f'a part of a message must be {{"type": "text", "text": …}}, not {bad!r:.80}')
    elif content is not None and not isinstance(content, str):
        raise MessageTypeError(f"the content of a {role} message must be text, not {type(content).__name__}")


def _text_of(part: object) -> str | None:
    is_text = isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
    return str(part["text"]) if is_text else None  # type: ignore[index]  # is_text says it is a mapping


def dialogue_of(prompt: AbstractChatPrompt, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Dialogue:
    """The dialogue that a prompt holds, also those turns that a single-turn prompt does not show.

    Raises:
        DialogueError: it is empty, or does not alternate between question and answer.
    """
    prompt = prompt.copy()
    prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
    return Dialogue.from_dict({"id": id, "labels": labels, "messages": messages_of(prompt)})


def write_dialogues(path: str | Path, dialogues: Iterable[Dialogue]) -> int:
    """Write dialogues as JSON lines that ``read_dialogues`` reads, whole or not at all; return how many.

    Raises:
        OutputError: the file cannot be written.
    """
    path, count = Path(path), 0
    with whole_file(path) as temporary:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                for dialogue in dialogues:
                    file.write(json.dumps(dialogue.to_dict(), ensure_ascii=_needs_escapes(dialogue)) + "\n")
                    count += 1
        except OSError as error:
            raise OutputError(f"cannot write dialogues to {path}: {error.strerror}") from error
    return count


def _needs_escapes(dialogue: Dialogue) -> bool:
    """Whether a text holds a lone surrogate, which UTF-8 cannot write but a JSON escape can."""
    try:
        json.dumps(dialogue.to_dict(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
