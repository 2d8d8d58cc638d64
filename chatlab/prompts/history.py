"""Who said what: the messages of a prompt, added, filled, found, cleared and taken off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from chatlab.errors import PromptError, RoleOrderError
from chatlab.prompts.content import ChatContent, MessageId, PromptTTL, RoleType, checked_text, settled_opts


class ChatHistory:
    """The messages of one dialogue, oldest first, with ChatStream's documented methods.

    "The last" requester message or reply is the last one of its kind, whatever stands behind it.
    """

    responder_may_begin: ClassVar[bool] = False
    """Whether the format has a place for a responder message before the first requester message."""
    default_ttl: ClassVar[PromptTTL] = PromptTTL.MULTI_TURN

    def __init__(self) -> None:
        self.requester = ""
        self.responder = ""
        self.prompt_ttl = self.default_ttl
        self._contents: list[ChatContent] = []
        self._next_message_id = 1

    def set_requester(self, requester: str) -> None:
        """Name the one who asks, also in the messages that are there."""
        self.requester = self._rename(RoleType.REQUESTER, requester)

    def set_responder(self, responder: str) -> None:
        """Name the one who answers, also in the messages that are there."""
        self.responder = self._rename(RoleType.RESPONDER, responder)

    # Speaking

    def add_requester_msg(self, message: str | None, child_message: str | None = None) -> int:
        """Append a message of the one who asks, and return its message id.

        Args:
            message: its text; None for one that the model is to write, of which the prompt shows the name alone.
            child_message: a context that belongs to the message, for formats with a place of its own for it.

        Raises:
            MessageTypeError: it is neither a ``str`` nor None.
        """
        for text, what in ((message, "a requester message"), (child_message, "a child message")):
            if text is not None:
                checked_text(text, what)
        return self._append(RoleType.REQUESTER, self.requester, message, child_message)

    def add_responder_msg(self, message: str | None) -> int:
        """Append a reply, or None to open one that ``set_responder_last_msg`` fills; return its message id.

        Raises:
            MessageTypeError: it is neither a ``str`` nor None.
            RoleOrderError: the format has no place for a reply before the first question.
        """
        if message is not None:
            checked_text(message, "a responder message")
        if not self._contents and not self.responder_may_begin:
            raise RoleOrderError(f"{type(self).__name__} begins with a requester message: call add_requester_msg first")
        return self._append(RoleType.RESPONDER, self.responder, message)

    def set_responder_last_msg(self, message: str) -> None:
        """Fill the open reply, or replace the reply that stands last.

        Raises:
            MessageTypeError: it is not a ``str``.
            RoleOrderError: the last message is not a reply, so an earlier one would be lost.
        """
        checked_text(message, "a responder message")
        if not self._contents or self._contents[-1].role_type is not RoleType.RESPONDER:
            raise RoleOrderError("no reply is open: call add_responder_msg(None) first")
        last = self._contents[-1]
        fields = {key: value for key, value in last.fields.items() if key != "content"}
        self._contents[-1] = replace(last, message=message, fields=fields)

    def set_responder_last_msg_id(self, message_id: MessageId) -> None:
        """Give the last reply an id of the program's own.

        Raises:
            PromptError: another message has that id, or it is neither an int nor a ``str``.
            RoleOrderError: there is no reply.
        """
        if type(message_id) not in (int, str):
            raise PromptError(f"a message id is an int or a str, not {message_id!r:.80}")
        index = self._last_index(RoleType.RESPONDER)
        other = self.find_chat_content_by_message_id(message_id)
        if other is not None and other is not self._contents[index]:
            raise PromptError(f"the id {message_id!r:.80} is another message's")
        self._contents[index] = replace(self._contents[index], message_id=message_id)
        if isinstance(message_id, int):
            self._next_message_id = max(self._next_message_id, message_id + 1)

    # Reading

    def get_requester_last_msg(self) -> str | None:
        """The last message of the one who asks, or None."""
        return self._last_msg(RoleType.REQUESTER)

    def get_responder_last_msg(self) -> str | None:
        """The last reply, or None when there is none or it is still open."""
        return self._last_msg(RoleType.RESPONDER)

    def get_history(self, opts: Mapping[str, Any] | None = None) -> list[ChatContent]:
        """The messages that the prompt shows as they were said, oldest first.

        Args:
            opts: ``omit_last_message`` opens the last message again: the name of who speaks stays, the text does
                not. ``to_message_id`` ends the history with the message of that id.

        Raises:
            PromptError: no message has that id, or ``opts`` is no mapping.
        """
        opts, contents = settled_opts(opts), list(self._contents)
        if opts.get("to_message_id") is not None:
            contents = contents[: contents.index(self.get_content(opts["to_message_id"])) + 1]
        if self.prompt_ttl is PromptTTL.SINGLE_TURN:
            asked = [index for index, content in enumerate(contents) if content.role_type is RoleType.REQUESTER]
            contents = contents[asked[-1] :] if asked else contents
        if contents and opts.get("omit_last_message"):
            contents[-1] = replace(contents[-1], message=None, child_message=None)
        return contents

    def get_content(self, message_id: MessageId) -> ChatContent:
        """The message with this id.

        Raises:
            PromptError: it was removed or never there.
        """
        found = self.find_chat_content_by_message_id(message_id)
        if found is None:
            ids = [content.message_id for content in self._contents]
            raise PromptError(f"no message has id {message_id!r:.80}: ids here are {ids}")
        return found

    def find_chat_content_by_message_id(self, message_id: MessageId) -> ChatContent | None:
        """The message with this id, or None."""
        return next((content for content in self._contents if content.message_id == message_id), None)

    def get_turn(self) -> int:
        """How many questions were asked; 2 from the moment the second one is."""
        return sum(content.role_type is RoleType.REQUESTER for content in self._contents)

    def is_empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self._contents

    # Taking back

    def clear_last_message(self) -> None:
        """Open the last reply again; a last message of the requester becomes empty.

        Raises:
            RoleOrderError: the history is empty.
        """
        last = self._contents[-1] if self._contents else self.remove_last_message()
        self._contents[-1] = _cleared(last)

    def clear_last_responder_message(self) -> None:
        """Open the last reply again, to have it written anew.

        Raises:
            RoleOrderError: there is no reply.
        """
        index = self._last_index(RoleType.RESPONDER)
        self._contents[index] = _cleared(self._contents[index])

    def remove_last_message(self) -> ChatContent:
        """Take the last message off the history and return it.

        Raises:
            RoleOrderError: the history is empty.
        """
        if not self._contents:
            raise RoleOrderError("the history is empty: there is no last message")
        return self._contents.pop()

    def remove_last_requester_msg(self) -> ChatContent:
        """Take the last message of the one who asks off the history and return it.

        Raises:
            RoleOrderError: there is none.
        """
        return self._contents.pop(self._last_index(RoleType.REQUESTER))

    def remove_last_responder_msg(self) -> ChatContent:
        """Take the last reply, open or not, off the history and return it.

        Raises:
            RoleOrderError: there is none.
        """
        return self._contents.pop(self._last_index(RoleType.RESPONDER))

    def clear_history(self) -> None:
        """Forget every message; names, system text and modes stay."""
        self._contents.clear()

    # How long a message lives

    def set_prompt_ttl(self, prompt_ttl: PromptTTL) -> None:
        """Show the whole dialogue, or the last question only.

        Raises:
            PromptError: it is no ``PromptTTL``.
        """
        try:
            self.prompt_ttl = PromptTTL(prompt_ttl)
        except ValueError as error:
            raise PromptError(f"a prompt lives for {[ttl.value for ttl in PromptTTL]}, not {prompt_ttl!r}") from error

    def get_prompt_ttl(self) -> PromptTTL:
        """How long a message lives in the prompt."""
        return self.prompt_ttl

    def _append(
        self, role_type: RoleType, role_name: str, message: str | None, child_message: str | None = None
    ) -> int:
        message_id = self._next_message_id
        self._contents.append(
            ChatContent(
                role_type=role_type,
                role_name=role_name,
                message=message,
                message_id=message_id,
                child_message=child_message,
            )
        )
        self._next_message_id += 1
        return message_id

    def _last(self, role_type: RoleType) -> Iterator[int]:
        """Where messages of this kind stand, the last one first."""
        return (i for i in reversed(range(len(self._contents))) if self._contents[i].role_type is role_type)

    def _last_index(self, role_type: RoleType) -> int:
        index = next(self._last(role_type), None)
        if index is None:
            raise RoleOrderError(f"the history holds no {role_type.value} message")
        return index

    def _last_msg(self, role_type: RoleType) -> str | None:
        return next((self._contents[index].message for index in self._last(role_type)), None)

    def _rename(self, role_type: RoleType, name: str) -> str:
        checked_text(name, "a role name")
        self._contents = [replace(c, role_name=name) if c.role_type is role_type else c for c in self._contents]
        return name


def _cleared(content: ChatContent) -> ChatContent:
    """A message of which nothing is left but who speaks: of a reply, neither its thoughts nor its calls."""
    if content.role_type is RoleType.RESPONDER:
        return replace(content, message=None, fields={})
    return replace(content, message="", fields={k: v for k, v in content.fields.items() if k != "content"})
