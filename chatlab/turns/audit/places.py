"""Where the parts of a reply stand in a render: found by putting a mark in a text's place, never by searching for words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from chatlab.turns.audit.conversation import Conversation, Message
from chatlab.turns.audit.renders import MARK, Refusal, Renders

_ANY_TOKEN = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,40}\]")
"""How control tokens are spelled; a template alone does not say which of its words are one."""
_TOKEN = re.compile(rf"\s*({_ANY_TOKEN.pattern})")
_LAST_TOKEN = re.compile(rf"({_ANY_TOKEN.pattern})\s*\Z")


def shared_len(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return len(commonprefix((one, other)))


def token_start(text: str, at: int) -> int:
    """Return where the token begins that a place stands in: two tokens may begin with the same characters.

    >>> token_start("a<|end|>", 3)
    1
    """
    start = text.rfind("<", max(0, at - 40), at + 1)
    return at if start < 0 or ">" in text[start:at] else start


def marked_content(conversation: Conversation, at: int) -> Conversation:
    """Return a conversation with a mark in the place of a message's text."""

    def put(message: Message) -> None:
        message["content"] = MARK

    return conversation.changed(at, put)


def marked_call(conversation: Conversation, at: int) -> Conversation:
    """Return a conversation with a mark as the name of a reply's last call."""

    def put(message: Message) -> None:
        message["tool_calls"][-1]["function"]["name"] = MARK

    return conversation.changed(at, put)


def end_token(tail: str, specials: dict[str, str]) -> str | None:
    r"""Return the control token that a text begins with, blanks aside.

    >>> end_token("<|im_end|>\n", {})
    '<|im_end|>'
    """
    eos = specials.get("eos_token", "")
    if eos and tail.lstrip().startswith(eos):
        return eos
    found = _TOKEN.match(tail)
    return found[1] if found else None


def ends_in_token(text: str, specials: dict[str, str]) -> bool:
    """Whether a text ends in a control token that ends something else than a tag of its own.

    >>> ends_in_token("</tool_call><|im_end|>", {}), ends_in_token("{}</tool_call>", {})
    (True, False)
    """
    eos = specials.get("eos_token", "")
    if eos and text.rstrip().endswith(eos):
        return True
    found = _LAST_TOKEN.search(text)
    return found is not None and not found[1].startswith(("</", "[/"))


def last_token(text: str) -> str | None:
    """Return the last control token of a text."""
    found = _ANY_TOKEN.findall(text)
    return found[-1] if found else None


@dataclass(frozen=True)
class Border:
    """One reply with the prompt before it, the closed turn, and the next prompt of the model after it."""

    conversation: Conversation
    at: int
    """Which message is the reply."""
    bare: str
    """The messages before the reply, nothing opened."""
    prompt: str
    """The same with the reply opened: what the model saw."""
    closed: str
    """With the reply, nothing opened."""
    following: str | None
    """The next prompt; ``None`` where nothing follows the reply."""

    @property
    def message(self) -> Message:
        """The reply."""
        return self.conversation.messages[self.at]

    @property
    def opening(self) -> str:
        """What the generation prompt adds."""
        return self.prompt[token_start(self.prompt, shared_len(self.bare, self.prompt)) :]


def border(renders: Renders, conversation: Conversation, at: int) -> Border:
    """Return the border behind a reply.

    Raises:
        Refusal: the template fails on one of its prompts.
    """
    end = conversation.next_call(at)
    before, whole = conversation.until(at), conversation.until(end)
    return Border(
        conversation=conversation,
        at=at,
        bare=renders.text(before),
        prompt=renders.text(before, True),
        closed=renders.text(conversation.until(at + 1)),
        following=renders.text(whole, True) if end > at + 1 else None,
    )


def has_influence(renders: Renders, conversation: Conversation, at: int, name: str, *, generation: bool) -> bool:
    """Whether a render depends on one field of a message; it is replaced by a mark to see."""
    other = conversation.changed(at, lambda message: _replace(message, name))
    try:
        return renders.text(conversation, generation) != renders.text(other, generation)
    except Refusal:
        return True


def _replace(message: dict[str, Any], name: str) -> None:
    message[name] = MARK
