"""A dialogue whose format the engine knows: roles and texts, rendered by the model's own chat template."""

from __future__ import annotations

from typing import Any

from chatlab.prompts.messages import MessagePrompt, messages_of


class EngineChat(MessagePrompt):
    """A history for :meth:`Engine.render`; it has no text of its own, so ``create_prompt`` stays undefined.

    >>> chat = EngineChat()
    >>> chat.set_system_prompt("Be brief.")
    >>> _ = chat.add_requester_msg("Hi"), chat.add_responder_msg(None)
    >>> chat.messages()
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hi'}]
    """

    def messages(self) -> list[dict[str, Any]]:
        """Return what :func:`chatlab.stream` takes: everything said, without the reply that is open."""
        return messages_of(self)
