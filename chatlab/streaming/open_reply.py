"""The open reply of a prompt: who may write it, and how it is opened, filled, ended and taken back."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from chatlab.errors import ChatBusy, RoleOrderError
from chatlab.prompts.base import AbstractChatPrompt, RoleType
from chatlab.prompts.messages import MessagePrompt
from chatlab.streaming.channel_formats.message import prompt_message


class OpenReply:
    """The one owner of a reply's life in its prompt, from the opening to the end.

    One prompt has one open reply at a time, so no two streams, and no two requests of one session, write into the
    same message. The claim ends with :meth:`end`, with :meth:`withdraw`, or when the last reference is dropped.

    As a context it guards the way to the engine: left by an exception, it withdraws, and a refused request leaves
    the history as it was. Left otherwise it stays open.

    >>> from chatlab.prompts.formats.vicuna import ChatPromptVicuna
    >>> prompt = ChatPromptVicuna()
    >>> _ = prompt.add_requester_msg("Hi")
    >>> reply = OpenReply(prompt)
    >>> reply.fill("Hel"), reply.fill("Hello"), reply.end()
    (None, None, None)
    >>> prompt.get_responder_last_msg()
    'Hello'
    """

    def __init__(self, prompt: AbstractChatPrompt | None) -> None:
        """Claim the prompt and open its reply, unless one is open already; of ``None`` nothing is claimed.

        Raises:
            ChatBusy: another reply to the same prompt object has not ended.
            RoleOrderError: the prompt holds no question to answer.
        """
        self.ended = False
        self.prompt = prompt
        """The prompt that it is a reply to."""
        self._opened = False
        if prompt is not None:
            self._claim(prompt)
            with self:
                self._opened = _open(prompt)

    def fill(self, text: str) -> None:
        """Write the whole reply as far as it came; after the end it does nothing."""
        if self.prompt is not None and not self.ended:
            self.prompt.set_responder_last_msg(text)

    def end(self, message: Mapping[str, Any] | None = None) -> None:
        """Leave the reply as it is, and the prompt to others; a prompt that holds messages gets the whole message."""
        try:
            if message is not None and isinstance(self.prompt, MessagePrompt) and not self.ended:
                said = prompt_message(message, argument_text=self.prompt.reads_argument_text)
                self.prompt.set_responder_last_message(said)
        finally:
            self.ended = True
            with _CLAIMS.lock:
                if self.prompt is not None and _CLAIMS.of.get(id(self.prompt)) is self:
                    del _CLAIMS.of[id(self.prompt)]

    def withdraw(self) -> None:
        """End it, and take it off the history again if it was opened here; after the end it does nothing."""
        if self.ended:
            return
        self.end()
        if self.prompt is not None and self._opened:
            history = self.prompt.get_history()
            if history and history[-1].role_type is RoleType.RESPONDER:
                self.prompt.remove_last_message()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.withdraw()

    def _claim(self, prompt: AbstractChatPrompt) -> None:
        with _CLAIMS.lock:
            if id(prompt) in _CLAIMS.of:
                raise ChatBusy(
                    "another stream answers this prompt: read it to its end or close() it, or give prompt.copy()"
                )
            _CLAIMS.of[id(prompt)] = self


class _Claims:
    """Who answers which prompt. An open reply keeps its prompt, so no other prompt can have its id meanwhile."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.of: WeakValueDictionary[int, OpenReply] = WeakValueDictionary()
        self.lock = threading.Lock()


_CLAIMS = _Claims()
if hasattr(os, "register_at_fork"):
    # What answers a prompt goes on in the parent; in the child nothing does, and no thread is left to free the lock.
    os.register_at_fork(after_in_child=_CLAIMS.forget)


def _open(prompt: AbstractChatPrompt) -> bool:
    """Open a reply at the end of the history, unless one is open already; tell whether that was done."""
    contents = prompt.get_history()
    last = contents[-1] if contents else None
    if last and last.role_type is not RoleType.RESPONDER and last.role_name not in ("system", "developer"):
        prompt.add_responder_msg(None)
        return True
    if last is None or last.message is not None:
        raise RoleOrderError(
            "there is no question to answer: call add_requester_msg first, or clear_last_message to answer again"
        )
    return False
