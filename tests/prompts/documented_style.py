"""A prompt class in the style of the documented ones."""

from __future__ import annotations

from chatlab import AbstractChatPrompt, RoleType


class DocumentedStyle(AbstractChatPrompt):
    """A class as users of ChatStream write it: unannotated, opts={}, getters, RoleType."""

    def __init__(self):
        super().__init__()
        self.set_system("")
        self.set_requester("<human>")
        self.set_responder("<bot>")

    def get_stop_strs(self):
        return ["<human>:"] if self.chat_mode else None

    def create_prompt(self, opts={}):  # noqa: B006 - the style that users have
        if self.chat_mode == False:  # noqa: E712
            return self.get_requester_last_msg()
        ret = self.system
        for chat_content in self.get_contents(opts):
            name = self.requester if chat_content.get_role_type() == RoleType.REQUESTER else self.responder
            message = chat_content.get_message()
            ret += f"{name}: {message}\n" if message else f"{name}:"
        return ret

    def build_initial_prompt(self, chat_prompt):
        chat_prompt.add_requester_msg("Hello")
        chat_prompt.add_responder_msg("Ask me.")


def asked(*messages: str | None, prompt_class=DocumentedStyle):
    prompt = prompt_class()
    for index, message in enumerate(messages):
        (prompt.add_responder_msg if index % 2 else prompt.add_requester_msg)(message)
    return prompt
