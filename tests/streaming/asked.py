"""A prompt class of few words, with a question asked."""

from __future__ import annotations

from chatlab.prompts.base import AbstractChatPrompt


class Plain(AbstractChatPrompt):
    """Q and A, with a stop string and an output replacement."""

    def create_prompt(self, opts=None):
        return "".join(f"{c.get_role_name()}{c.get_message() or ''}\n" for c in self.get_contents(opts))

    def get_stop_strs(self):
        return ["\nQ:"]

    def get_replacement_when_output(self):
        return [("<NL>", "\n")]


def asked(*messages: str) -> Plain:
    prompt = Plain()
    prompt.set_requester("Q: ")
    prompt.set_responder("A: ")
    for message in messages[:-1]:
        prompt.add_requester_msg(message)
        prompt.add_responder_msg("ok")
    prompt.add_requester_msg(messages[-1])
    return prompt
