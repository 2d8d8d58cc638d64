"""A dialogue whose format the engine knows: roles and texts, rendered by the model's own chat template."""

from __future__ import annotations

from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.content import RoleType

ROLES = {RoleType.REQUESTER: "user", RoleType.RESPONDER: "assistant"}
"""What chat templates call the two who speak."""


class EngineChat(AbstractChatPrompt):
    """A history for :meth:`Engine.render`; it has no text of its own, so ``create_prompt`` stays undefined.

    >>> chat = EngineChat()
    >>> chat.set_system_prompt("Be brief.")
    >>> _ = chat.add_requester_msg("Hi"), chat.add_responder_msg(None)
    >>> chat.messages()
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hi'}]
    """

    def messages(self) -> list[dict[str, str]]:
        """Return what :func:`chatlab.stream` takes: everything said, without the reply that is open."""
        system = self.get_system_prompt()
        first = [{"role": "system", "content": system}] if system else []
        said = [{"role": ROLES[c.role_type], "content": c.message} for c in self.get_history() if c.message is not None]
        return first + said
