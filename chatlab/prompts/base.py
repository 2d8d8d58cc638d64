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

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

from chatlab.errors import PromptError
from chatlab.lexicon import lexicon_pattern
from chatlab.prompts.content import ChatContent as ChatContent
from chatlab.prompts.content import MessageId as MessageId
from chatlab.prompts.content import PromptTTL as PromptTTL
from chatlab.prompts.content import RoleType as RoleType
from chatlab.prompts.content import checked_text
from chatlab.prompts.history import ChatHistory

KEY_OF = "a key of the "
"""What ``with_texts`` says first of a text that is a key, such as the name of a tool's parameter."""


def may_be_sorted(text: str, whose: str) -> bool:
    """Whether a text is a key in plain words, which templates sort and compare: a change to it may change their choice."""
    return whose.startswith(KEY_OF) and text.replace("-", "_").isidentifier()


class AbstractChatPrompt(ChatHistory):
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

    def __init__(self) -> None:
        super().__init__()
        self.system = ""
        self.chat_mode = True
        self.prefix_as_stop_str: bool | None = None
        self.tokenizer: Any = None
        self._system_prompt: str | None = None

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

    def get_stop_strs(self) -> list[str] | None:
        """Texts at which a reply ends."""
        return [] if self.chat_mode else None

    def set_prefix_as_stop_str_enabled(self, enabled: bool) -> None:
        """End a reply also where it begins to speak for the requester, such as ``<human>:``, or not there.

        Until this is called the class's own ``get_stop_strs`` says it all.
        """
        self.prefix_as_stop_str = bool(enabled)

    def is_prefix_as_stop_str_enabled(self) -> bool:
        """Whether ``get_all_stop_strs`` begins with the requester's prefix."""
        return bool(self.prefix_as_stop_str)

    def get_prefix_stop_str(self) -> str:
        """How the prompt begins a message of the requester, with the name as it is now; empty where it names nobody."""
        name = self.requester.strip()
        return f"{name.removesuffix(':')}:" if name else ""

    def get_all_stop_strs(self) -> list[str] | None:
        """Texts at which a reply ends: the requester's prefix first where that is enabled, then ``get_stop_strs``."""
        stops = self.get_stop_strs()
        prefix = self.get_prefix_stop_str() if self.prefix_as_stop_str and self.chat_mode else ""
        if not prefix or isinstance(stops, str):  # a str is the caller's error to tell
            return stops
        return [prefix, *(stop for stop in stops or () if stop != prefix)]

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

    # The history, as it is shown

    def get_contents(self, opts: Mapping[str, Any] | None = None) -> list[ChatContent]:
        """The messages that the prompt shows, oldest first, with the plain system text where it has its place.

        Args:
            opts: as for ``get_history``: ``omit_last_message``, ``to_message_id``.
        """
        return self._with_system_prompt(self.get_history(opts))

    def _with_system_prompt(self, contents: list[ChatContent]) -> list[ChatContent]:
        """``contents``, which may be changed, with the plain system text in its place."""
        if self._system_prompt is not None:
            for index, content in enumerate(contents):
                if content.role_type is RoleType.REQUESTER and content.message is not None:
                    contents[index] = replace(content, message=f"{self._system_prompt}\n\n{content.message}")
                    break
        return contents

    def copy(self) -> Self:
        """A prompt with the same state whose history goes its own way."""
        # copy.copy takes the long way round through pickling; an experiment makes a copy a turn.
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _contents=list(self._contents))
        return twin

    def with_message_text(self, message_id: MessageId, text: str, fields: Mapping[str, Any] | None = None) -> Self:
        """A copy in which one message says another text, and has other fields where some are given.

        Raises:
            PromptError: no message has that id.
        """
        twin = self.copy()
        content = twin.get_content(message_id)
        kept = {key: value for key, value in content.fields.items() if key != "content"}
        fields = {**kept, **(fields or {})}
        twin._contents[twin._contents.index(content)] = replace(content, message=text, fields=fields)
        return twin

    def without_oldest_turn(self, count: int = 1) -> Self | None:
        """A copy that begins with the next question, or with the one ``count`` turns on; None where no turn is left then."""
        asked = [index for index, content in enumerate(self._contents) if content.role_type is RoleType.REQUESTER]
        if not 0 < count < len(asked):
            return None
        twin = self.copy()
        twin._contents = self._contents[asked[count] :]
        return twin

    def with_texts(self, rewrite: Callable[[str, str], str]) -> Self:
        """A copy in which every text that came from outside is ``rewrite(text, whose)``.

        Args:
            rewrite: gets a text and whose it is, such as ``requester message 3``; see ``may_be_sorted`` for keys.
        """
        twin = self.copy()
        twin._contents = [_rewritten(content, rewrite) for content in self._contents]
        if self._system_prompt is not None:
            twin.set_system_prompt(rewrite(self._system_prompt, "system text"))
        return twin

    # Modes

    def set_chat_mode_enabled(self, enabled: bool) -> None:
        """With chat mode off the prompt is the last requester message alone."""
        self.chat_mode = bool(enabled)

    def is_chat_mode_enabled(self) -> bool:
        """Whether the prompt shows a chat."""
        return self.chat_mode

    def set_tokenizer(self, tokenizer: Any) -> None:
        """Name the tokenizer whose special tokens ``get_skip_len`` leaves out."""
        self.tokenizer = tokenizer

    # What a program that cuts the echo by length plans to skip

    def get_skip_len(self, omit_last_message: bool = False) -> int:
        """Characters of the prompt once its special tokens are taken out, corrected as the format says.

        The format's own word is ``get_custom_skip_echo_len``, asked last, as ChatStream asks it. This is the plan of a program that decodes with ``skip_special_tokens=True`` and cuts the
        prompt off by length. It is often wrong: ``chatlab.echo`` measures by how much.

        Args:
            omit_last_message: leave the text of the last message out of the prompt, not the name of who speaks.

        Raises:
            PromptError: the class's own rule gives no number.
        """
        prompt = self.create_prompt({"omit_last_message": True} if omit_last_message else {}) or ""
        special = special_strs(self.tokenizer) if self.tokenizer is not None else self.special_token_strs
        return custom_skip_echo_len(self, len(lexicon_pattern(special).sub("", prompt)))

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
            "prefix_as_stop_str": self.prefix_as_stop_str,
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
            prefix = data.get("prefix_as_stop_str")
            if not isinstance(chat_mode, bool) or type(next_id) is not int or not isinstance(prefix, bool | None):
                raise TypeError("chat_mode is a bool, next_message_id an int, prefix_as_stop_str a bool or None")
            prompt_ttl, contents = PromptTTL(data["prompt_ttl"]), [_content(c) for c in data["contents"]]
        except (KeyError, TypeError, ValueError) as error:
            raise PromptError(f"not the data of a {type(self).__name__}: {error!r}") from error
        self.system, self.requester, self.responder = texts["system"], texts["requester"], texts["responder"]
        self.chat_mode, self.prompt_ttl, self._system_prompt = chat_mode, prompt_ttl, system_prompt
        self._contents, self._next_message_id, self.prefix_as_stop_str = contents, next_id, prefix


def _content(data: Mapping[str, Any]) -> ChatContent:
    content = ChatContent(**{**data, "role_type": RoleType(data["role_type"])})
    checked_text(content.role_name, "a role name")
    for text in (content.message, content.child_message):
        if text is not None:
            checked_text(text, f"a {content.role_type.value} message")
    if type(content.message_id) not in (int, str):
        raise TypeError(f"message_id is an int or a str, not {content.message_id!r}")
    return content


def prompt_text(prompt: AbstractChatPrompt, opts: Mapping[str, Any] | None = None) -> str:
    """What ``create_prompt`` gives, when that is text.

    Raises:
        MessageTypeError: it is not a ``str``, such as the None of a method without ``return``.
    """
    text: object = prompt.create_prompt() if opts is None else prompt.create_prompt(opts)
    return checked_text(text, f"what {type(prompt).__name__}.create_prompt returns")


def custom_skip_echo_len(prompt: AbstractChatPrompt, skip_echo_len: int) -> int:
    """What ``get_custom_skip_echo_len`` gives, when that is a number of characters.

    Raises:
        PromptError: it is none, such as the None of a method without ``return``.
    """
    length: object = prompt.get_custom_skip_echo_len(skip_echo_len)
    if type(length) is not int:
        name = f"{type(prompt).__name__}.get_custom_skip_echo_len"
        raise PromptError(f"{name} must return an int, characters to skip, not {length!r:.80}")
    return length


def _rewritten(content: ChatContent, rewrite: Callable[[str, str], str]) -> ChatContent:
    whose = f"{content.role_type.value} message {content.message_id}"
    message = None if content.message is None else rewrite(content.message, whose)
    child = None if content.child_message is None else rewrite(content.child_message, f"child of {whose}")
    return replace(content, message=message, child_message=child)


def special_strs(tokenizer: Any) -> tuple[str, ...]:
    """The texts of a tokenizer's special tokens: of transformers, raw ``tokenizers`` or ``load_tokenizer``."""
    if hasattr(tokenizer, "special_strs"):
        return tuple(tokenizer.special_strs)
    if hasattr(tokenizer, "all_special_tokens"):
        return tuple(map(str, tokenizer.all_special_tokens))
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        return tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
    raise PromptError(f"{type(tokenizer).__name__} does not name its special tokens (all_special_tokens)")
