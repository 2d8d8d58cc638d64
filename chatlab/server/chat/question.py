"""What a chat request asks, read from its body, and what it does to a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from chatlab.errors import RequestError
from chatlab.prompts.base import AbstractChatPrompt, RoleType


@dataclass(frozen=True, kw_only=True)
class Question:
    """``{"user_input": "…", "regenerate": false}``."""

    user_input: str | None
    """The message; ``None`` where the last one is to be answered again."""
    return_token_ids: bool = False
    """Whether the answer tells the ids of its prompt."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """The question of a body; fields that are not ours are left to others.

        Raises:
            RequestError: a field is missing or of another type; it is named.
        """
        flags = {name: data.get(name, False) for name in ("regenerate", "return_token_ids")}
        for name, flag in flags.items():
            if type(flag) is not bool:
                raise RequestError(f"{name} must be true or false", field=name)
        user_input = data.get("user_input")
        if flags["regenerate"]:
            user_input = None
        elif not isinstance(user_input, str) or not user_input:
            raise RequestError("user_input must be a text that is not empty", field="user_input")
        return cls(user_input=user_input, return_token_ids=flags["return_token_ids"])

    def put_to(self, prompt: AbstractChatPrompt) -> int | str:
        """Ask it, open the reply, and return the reply's message id.

        Raises:
            RequestError: the last question is to be answered again, and there is none.
            PromptError: the format has no place for it.
        """
        if self.user_input is not None:
            prompt.add_requester_msg(self.user_input)
            return prompt.add_responder_msg(None)
        history = prompt.get_history()
        if history and history[-1].role_type is RoleType.RESPONDER and prompt.get_turn():
            prompt.clear_last_message()
            return history[-1].message_id
        if not history or history[-1].role_type is not RoleType.REQUESTER:
            raise RequestError("there is no answer to give again: ask first", field="regenerate")
        return prompt.add_responder_msg(None)
