"""The prompt interface: a history of messages, and the text that a model reads.

A prompt class holds who said what and turns it into one string. The names, the getters and the
flow are the ones ChatStream documents, so a class written for it runs here when its import lines
change::

    prompt.add_requester_msg("Hi")
    prompt.add_responder_msg(None)         # opens the reply
    text = prompt.create_prompt()          # what the model reads
    prompt.set_responder_last_msg("Hello!")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

from chatlab.errors import PromptError, RoleOrderError
from chatlab.prompts.content import ChatContent as ChatContent
from chatlab.prompts.content import PromptTTL as PromptTTL
from chatlab.prompts.content import RoleType as RoleType
from chatlab.prompts.content import checked_text

KEY_OF = "a key of the "
"""What ``with_texts`` says first of a text that is a key, such as the name of a tool's parameter."""


def may_be_sorted(text: str, whose: str) -> bool:
    """Whether a text is a key in plain words, which templates sort and compare: a change to it may change their choice."""
    return whose.startswith(KEY_OF) and text.replace("-", "_").isidentifier()


class AbstractChatPrompt:
    """A dialogue and the one string that a model reads of it.

    A subclass gives ``create_prompt``, and overrides what else its format needs.

    >>> class Plain(AbstractChatPrompt):
    ...     def create_prompt(self, opts=None):
    ...         return "".join(f"{c.get_role_name()}{c.get_message() or ''}" for c in self.get_contents(opts))
    >>> prompt = Plain()
    >>> prompt.set_requester("Q: ")
    >>> prompt.set_responder(" A: ")
    >>> _ = prompt.add_requester_msg("Who?"), prompt.add_responder_msg(None)
    >>> prompt.create_prompt()
    'Q: Who? A: '
    """

    special_token_strs: tuple[str, ...] = ()
    """Special tokens that the format writes out, for ``get_skip_len`` without a tokenizer."""
    add_special_tokens: ClassVar[bool | None] = None
    """What the tokenizer must be called with; None: True unless the text begins with the BOS token."""
    responder_may_begin: ClassVar[bool] = False
    """Whether the format has a place for a responder message before the first requester message."""
    default_ttl: ClassVar[PromptTTL] = PromptTTL.MULTI_TURN

    def __init__(self) -> None:
        self.system = ""
        self.requester = ""
        self.responder = ""
        self.chat_mode = True
        self.prompt_ttl = self.default_ttl
        self.tokenizer: Any = None
        self._system_prompt: str | None = None
        self._contents: list[ChatContent] = []
        self._next_message_id = 1

    # What the format is made of

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """The text that the model reads, ending where the reply begins.

        Args:
            opts: handed to ``get_contents``.

        Raises:
            PromptError: the class does not define it.
        """
        raise PromptError(f"{type(self).__name__} has no create_prompt(opts): define it to say what the model reads")

    def set_system(self, system: str) -> None:
        """Put ``system`` at the head of the prompt as it is; what a format expects there differs by class.

        It is part of the format, control tokens and all: give text that others wrote to ``set_system_prompt``.
        """
        self.system = checked_text(system, "the system text")

    def set_system_prompt(self, text: str | None) -> None:
        """Give a plain system text, to stand where the format has its place; None takes it away.

        Unlike ``set_system`` this means the same for every class. A class that does not say
        where the text goes gets it before the first requester message, with a blank line.
        """
        self._system_prompt = None if text is None else checked_text(text, "the system text")

    def get_system_prompt(self) -> str | None:
        """The plain system text given with ``set_system_prompt``."""
        return self._system_prompt

    def set_requester(self, requester: str) -> None:
        """Name the one who asks, also in the messages that are there."""
        self.requester = self._rename(RoleType.REQUESTER, requester)

    def set_responder(self, responder: str) -> None:
        """Name the one who answers, also in the messages that are there."""
        self.responder = self._rename(RoleType.RESPONDER, responder)

    def get_stop_strs(self) -> list[str] | None:
        """Texts at which a reply ends."""
        return [] if self.chat_mode else None

    def get_replacement_when_input(self) -> list[tuple[str, str]] | None:
        """Pairs (search, replacement) for a message on its way into the prompt."""
        return None

    def get_replacement_when_output(self) -> list[tuple[str, str]] | None:
        """Pairs (search, replacement) for a reply on its way to the user."""
        return None

    def writes_token(self, piece: str) -> bool:
        """Whether the format writes this added token, so that no message may."""
        return piece in self.special_token_strs

    def build_initial_prompt(self, chat_prompt: AbstractChatPrompt) -> None:
        """Add the messages a new dialogue begins with to ``chat_prompt``; none unless a class says so."""

    # The history

    def add_requester_msg(self, message: str) -> int:
        """Append a message of the one who asks, and return its message id.

        Raises:
            MessageTypeError: it is not a ``str``.
        """
        return self._append(RoleType.REQUESTER, self.requester, checked_text(message, "a requester message"))

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
        self._contents[-1] = replace(self._contents[-1], message=message)

    def get_requester_last_msg(self) -> str | None:
        """The last message of the one who asks, or None."""
        return self._last_msg(RoleType.REQUESTER)

    def get_responder_last_msg(self) -> str | None:
        """The last reply, or None when there is none or it is still open."""
        return self._last_msg(RoleType.RESPONDER)

    def get_contents(self, opts: Mapping[str, Any] | None = None) -> list[ChatContent]:
        """The messages that the prompt shows, oldest first, with the plain system text where it has its place.

        Args:
            opts: ``omit_last_message`` leaves the last message out.
        """
        return self._with_system_prompt(self.get_history(opts))

    def get_history(self, opts: Mapping[str, Any] | None = None) -> list[ChatContent]:
        """The messages that the prompt shows as they were said, oldest first; ``opts`` as for ``get_contents``."""
        contents = list(self._contents)
        if self.prompt_ttl is PromptTTL.SINGLE_TURN:
            asked = [index for index, content in enumerate(contents) if content.role_type is RoleType.REQUESTER]
            contents = contents[asked[-1] :] if asked else contents
        return contents[:-1] if opts and opts.get("omit_last_message") else contents

    def _with_system_prompt(self, contents: list[ChatContent]) -> list[ChatContent]:
        """``contents``, which may be changed, with the plain system text in its place."""
        if self._system_prompt is not None:
            for index, content in enumerate(contents):
                if content.role_type is RoleType.REQUESTER:
                    contents[index] = replace(content, message=f"{self._system_prompt}\n\n{content.message}")
                    break
        return contents

    def get_content(self, message_id: int) -> ChatContent:
        """The message with this id.

        Raises:
            PromptError: it was removed or never there.
        """
        for content in self._contents:
            if content.message_id == message_id:
                return content
        raise PromptError(f"no message has id {message_id!r}: ids here are {[c.message_id for c in self._contents]}")

    def get_turn(self) -> int:
        """How many questions were asked; 2 from the moment the second one is."""
        return sum(content.role_type is RoleType.REQUESTER for content in self._contents)

    def clear_last_message(self) -> None:
        """Open the last reply again; a last message of the requester becomes empty.

        Raises:
            RoleOrderError: the history is empty.
        """
        last = self._contents[-1] if self._contents else self.remove_last_message()
        message = None if last.role_type is RoleType.RESPONDER else ""
        self._contents[-1] = replace(last, message=message)

    def remove_last_message(self) -> ChatContent:
        """Take the last message off the history and return it.

        Raises:
            RoleOrderError: the history is empty.
        """
        if not self._contents:
            raise RoleOrderError("the history is empty: there is no last message")
        return self._contents.pop()

    def clear_history(self) -> None:
        """Forget every message; names, system text and modes stay."""
        self._contents.clear()

    def copy(self) -> Self:
        """A prompt with the same state whose history goes its own way."""
        # copy.copy takes the long way round through pickling; an experiment makes a copy a turn.
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _contents=list(self._contents))
        return twin

    def without_oldest_turn(self, count: int = 1) -> Self | None:
        """A copy that begins with the next question, or with the one ``count`` turns on; None where no turn is left then."""
        asked = [index for index, content in enumerate(self._contents) if content.role_type is RoleType.REQUESTER]
        if not 0 < count < len(asked):
            return None
        twin = self.copy()
        twin._contents = self._contents[asked[count] :]
        return twin

    def with_texts(self, change: Callable[[str, str], str]) -> Self:
        """A copy in which every text that came from outside is ``change(text, whose)``.

        Args:
            change: gets a text and whose it is, such as ``requester message 3``; see ``may_be_sorted`` for keys.
        """
        twin = self.copy()
        twin._contents = [
            c
            if c.message is None
            else replace(c, message=change(c.message, f"{c.role_type.value} message {c.message_id}"))
            for c in self._contents
        ]
        if self._system_prompt is not None:
            twin.set_system_prompt(change(self._system_prompt, "system text"))
        return twin

    # Modes

    def set_chat_mode_enabled(self, enabled: bool) -> None:
        """With chat mode off the prompt is the last requester message alone."""
        self.chat_mode = bool(enabled)

    def is_chat_mode_enabled(self) -> bool:
        """Whether the prompt shows a chat."""
        return self.chat_mode

    def set_prompt_ttl(self, prompt_ttl: PromptTTL) -> None:
        """Show the whole dialogue, or the last question only."""
        self.prompt_ttl = PromptTTL(prompt_ttl)

    def get_prompt_ttl(self) -> PromptTTL:
        """How long a message lives in the prompt."""
        return self.prompt_ttl

    def set_tokenizer(self, tokenizer: Any) -> None:
        """Name the tokenizer whose special tokens ``get_skip_len`` leaves out."""
        self.tokenizer = tokenizer

    # What a program that cuts the echo by length plans to skip

    def get_skip_len(self, omit_last_message: bool = False) -> int:
        """Characters of the prompt once its special tokens are taken out.

        This is the plan of a program that decodes with ``skip_special_tokens=True`` and cuts the
        prompt off by length. It is often wrong: ``chatlab.echo`` measures by how much.

        Args:
            omit_last_message: leave the last message out of the prompt.
        """
        prompt = self.create_prompt({"omit_last_message": True} if omit_last_message else {}) or ""
        special = special_strs(self.tokenizer) if self.tokenizer is not None else self.special_token_strs
        pattern = "|".join(map(re.escape, sorted(filter(None, special), key=len, reverse=True)))
        return len(re.sub(pattern, "", prompt) if pattern else prompt)

    def get_custom_skip_echo_len(self, skip_echo_len: int) -> int:
        """The planned length as the format corrects it, in characters."""
        return skip_echo_len

    # To and from plain data

    def to_dict(self) -> dict[str, Any]:
        """Everything that was set or said, as plain data."""
        return {
            "prompt_class": type(self).__name__,
            "system": self.system,
            "system_prompt": self._system_prompt,
            "requester": self.requester,
            "responder": self.responder,
            "chat_mode": self.chat_mode,
            "prompt_ttl": self.prompt_ttl.value,
            "next_message_id": self._next_message_id,
            "contents": [{**asdict(content), "role_type": content.role_type.value} for content in self._contents],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The prompt that ``to_dict`` wrote down.

        Raises:
            PromptError: the data belong to another class, or lack a field.
        """
        prompt = cls()
        prompt._restore(data)
        return prompt

    def _restore(self, data: Mapping[str, Any]) -> None:
        if data.get("prompt_class") != type(self).__name__:
            raise PromptError(f"these data are of {data.get('prompt_class')!r}, not of {type(self).__name__}")
        try:
            texts = {name: checked_text(data[name], name) for name in ("system", "requester", "responder")}
            system_prompt, chat_mode, next_id = data["system_prompt"], data["chat_mode"], data["next_message_id"]
            if system_prompt is not None:
                checked_text(system_prompt, "system_prompt")
            if not isinstance(chat_mode, bool) or type(next_id) is not int:
                raise TypeError("chat_mode is a bool and next_message_id an int")
            prompt_ttl, contents = PromptTTL(data["prompt_ttl"]), [_content(c) for c in data["contents"]]
        except (KeyError, TypeError, ValueError) as error:
            raise PromptError(f"not the data of a {type(self).__name__}: {error!r}") from error
        self.system, self.requester, self.responder = texts["system"], texts["requester"], texts["responder"]
        self.chat_mode, self.prompt_ttl, self._system_prompt = chat_mode, prompt_ttl, system_prompt
        self._contents, self._next_message_id = contents, next_id

    def _append(self, role_type: RoleType, role_name: str, message: str | None) -> int:
        message_id = self._next_message_id
        content = ChatContent(role_type=role_type, role_name=role_name, message=message, message_id=message_id)
        self._contents.append(content)
        self._next_message_id += 1
        return message_id

    def _last_msg(self, role_type: RoleType) -> str | None:
        return next((c.message for c in reversed(self._contents) if c.role_type is role_type), None)

    def _rename(self, role_type: RoleType, name: str) -> str:
        checked_text(name, "a role name")
        self._contents = [replace(c, role_name=name) if c.role_type is role_type else c for c in self._contents]
        return name


def _content(data: Mapping[str, Any]) -> ChatContent:
    content = ChatContent(**{**data, "role_type": RoleType(data["role_type"])})
    checked_text(content.role_name, "a role name")
    if content.message is not None or content.role_type is not RoleType.RESPONDER:
        checked_text(content.message, f"a {content.role_type.value} message")
    if type(content.message_id) is not int:
        raise TypeError(f"message_id is an int, not {content.message_id!r}")
    return content


def prompt_text(prompt: AbstractChatPrompt, opts: Mapping[str, Any] | None = None) -> str:
    """What ``create_prompt`` gives, when that is text.

    Raises:
        MessageTypeError: it is not a ``str``, such as the None of a method without ``return``.
    """
    text: object = prompt.create_prompt() if opts is None else prompt.create_prompt(opts)
    return checked_text(text, f"what {type(prompt).__name__}.create_prompt returns")


def special_strs(tokenizer: Any) -> tuple[str, ...]:
    """The texts of a tokenizer's special tokens: of transformers, raw ``tokenizers`` or ``load_tokenizer``."""
    if hasattr(tokenizer, "special_strs"):
        return tuple(tokenizer.special_strs)
    if hasattr(tokenizer, "all_special_tokens"):
        return tuple(map(str, tokenizer.all_special_tokens))
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        return tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
    raise PromptError(f"{type(tokenizer).__name__} does not name its special tokens (all_special_tokens)")
