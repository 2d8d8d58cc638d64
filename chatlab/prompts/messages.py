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

# Many templates write a role as part of a control token ('<|' + role + '|>'), so no other word may stand there.
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "environment")

_CALLS = ("tool_calls", "function_call")
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

    Args:
        messages: OpenAI-style, ``content`` a string or a list of text parts.
        prompt_class: a prompt class, or anything that makes a prompt when called.
        open_reply: open a reply when the last message is not the model's.

    Raises:
        MessageTypeError: a message has no role, or its content is not text.
        PromptError: a message calls tools, and the class has no place for that.
        RoleOrderError: a role has no place where it stands.
    """
    prompt = new_prompt(prompt_class)
    add_message = getattr(prompt, "add_message", None)
    role = ""
    for number, message in enumerate(messages):
        role, content, _ = check_message(message)
        if role in ("system", "developer") and number == 0:
            prompt.set_system_prompt(content or "")
        elif add_message:
            add_message(message)
        elif role == "user":
            child = {_CHILD: message[_CHILD]} if message.get(_CHILD) is not None else {}
            prompt.add_requester_msg(content or "", **child)
        elif role == "assistant" and (call := next((k for k in _CALLS if message.get(k)), None)):
            raise PromptError(
                f"message {number + 1} has {call}, which {type(prompt).__name__} has no place for: "
                "use ChatTemplatePrompt over a template that knows tools"
            )
        elif role == "assistant":
            prompt.add_responder_msg(content or "")
        else:
            raise RoleOrderError(
                f"message {number + 1} has role {role!r}, which has no place there in {type(prompt).__name__}"
            )
    if open_reply and messages and role != "assistant":
        prompt.add_responder_msg(None)
    return prompt


def check_message(message: Mapping[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """The role, the text and the other fields of an OpenAI-style message.

    Raises:
        MessageTypeError: it has no role, or its content is not text.
        PromptError: its role is none of ``ROLES``.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise MessageTypeError(f'a message is an object with "role" and "content", not {message!r:.80}')
    if message["role"] not in ROLES:
        raise PromptError(f"no role is called {message['role']!r:.80}: roles are {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    if content is not None and not isinstance(content, str):
        raise MessageTypeError(f"the content of a {message['role']} message must be text, not {type(content).__name__}")
    fields = {key: value for key, value in message.items() if key != "content" or content is None}
    return (
        message["role"],
        content,
        {} if fields.keys() == {"role"} and message["role"] in ("user", "assistant") else fields,
    )


def _part(part: Any) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise MessageTypeError(f'a part of a message must be {{"type": "text", "text": …}}, not {part!r:.80}')


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
