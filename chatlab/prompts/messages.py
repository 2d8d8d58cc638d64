"""From and to OpenAI-style message lists, JSON lines and dialogues."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatlab.errors import DialogueError, OutputError
from chatlab.files import whole_file
from chatlab.prompts.base import AbstractChatPrompt, PromptTTL, RoleType
from chatlab.prompts.dialogue import Dialogue
from chatlab.prompts.filling import CHILD, AnyPromptClass, add_message, message_parts, new_prompt
from chatlab.prompts.plain_data import plain_data


class MessagePrompt(AbstractChatPrompt):
    """A prompt that holds messages as they are, with their ``tool_calls`` and other fields, beside those of texts."""

    responder_may_begin = True

    @property
    def reads_argument_text(self) -> bool:
        """Whether the arguments of a call may be JSON text; else they are an object, as chat templates want them."""
        return False

    def add_message(self, message: Mapping[str, Any]) -> int:
        """Append an OpenAI-style message, with its ``tool_calls`` and other fields; return its id.

        Role, content and fields reach the template as they are, and it alone says what it takes: text, parts,
        images by their place, a tool's result as an object. A system message stands where it is put;
        ``set_system`` puts the text before all messages.

        Raises:
            MessageTypeError: it has no role, or is nested too deep.
        """
        role, text, fields = message_parts(message)
        role_type = {"user": RoleType.REQUESTER, "assistant": RoleType.RESPONDER}.get(role, RoleType.OTHER)
        message_id = self._append(role_type, role, text)
        if fields:
            self._contents[-1] = replace(self._contents[-1], fields=fields)
        return message_id

    def set_responder_last_message(self, message: Mapping[str, Any]) -> None:
        """Fill the open reply, or replace the reply that stands last, with all that a message says.

        Raises:
            MessageTypeError: it has no role, or is nested too deep.
            RoleOrderError: the last message is not a reply, so an earlier one would be lost.
        """
        _, text, fields = message_parts(message)
        self.set_responder_last_msg(text)
        self._contents[-1] = replace(self._contents[-1], fields=fields)


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
            message = {"role": role, "content": content.message, CHILD: content.child_message, **content.fields}
            messages.append({key: value for key, value in message.items() if value is not None})
    return messages


def prompt_of_messages(
    messages: Sequence[Mapping[str, Any]], prompt_class: AnyPromptClass, *, open_reply: bool = True
) -> AbstractChatPrompt:
    """A prompt that holds ``messages``; a leading system message becomes its system text.

    A class with ``add_message``, such as ``ChatTemplatePrompt``, gets each message as it is.

    Args:
        messages: OpenAI-style, ``content`` a string or a list of text parts.
        prompt_class: a prompt class, or anything that makes a prompt when called.
        open_reply: open a reply when the last message is not the model's.

    Raises:
        MessageTypeError: a message has no role, or the class takes text and its content is none.
        NoPlaceError: a message says something beside its text, and the class has no place for that.
        PromptError: no role has that name.
        RoleOrderError: a role has no place where it stands.
    """
    prompt = new_prompt(prompt_class)
    role = ""
    for number, message in enumerate(messages, 1):
        role, _, _ = message_parts(message)
        add_message(prompt, number, plain_data(message))
    if open_reply and messages and role != "assistant":
        prompt.add_responder_msg(None)
    return prompt


def dialogue_of(prompt: AbstractChatPrompt, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Dialogue:
    """The dialogue that a prompt holds, also those turns that a single-turn prompt does not show.

    Raises:
        DialogueError: it is empty.
    """
    prompt = prompt.copy()
    prompt.set_prompt_ttl(PromptTTL.MULTI_TURN)
    offered = {name: getattr(prompt, name, None) for name in ("tools", "variables")}
    return Dialogue.from_dict({"id": id, "labels": labels, "messages": messages_of(prompt), **offered})


def write_dialogues(path: str | Path, dialogues: Iterable[Dialogue]) -> int:
    """Write dialogues as JSON lines that ``read_dialogues`` reads, whole or not at all; return how many.

    Raises:
        DialogueError: a dialogue holds what JSON cannot say, such as an image.
        OutputError: the file cannot be written.
    """
    path, count = Path(path), 0
    with whole_file(path) as temporary:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                for dialogue in dialogues:
                    file.write(_line(dialogue) + "\n")
                    count += 1
        except OSError as error:
            raise OutputError(f"cannot write dialogues to {path}: {error.strerror}") from error
    return count


def _line(dialogue: Dialogue) -> str:
    try:
        line = json.dumps(dialogue.to_dict(), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DialogueError(f"dialogue {dialogue.id!r} cannot be written as JSON: {error}") from error
    try:
        line.encode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot write but a JSON escape can
        return json.dumps(dialogue.to_dict())
    return line
