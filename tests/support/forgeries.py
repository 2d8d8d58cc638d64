"""Messages and tools that spell control tokens, in prompts of every style."""

from __future__ import annotations

from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.control_tokens.spans import span_prompt
from chatlab.prompts.formats.registry import FORMATS
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from tests.support.templates import THINKING

# Formats with many, few and no control tokens; with a system block, without; stripping and not.
STYLES = ["llama2-chatstream", "llama2-meta", "mistral-v3", "phi3-2024-07", "chatml", "llama3", "gemma", "zephyr",
          "redpajama-incite-chat", "rinna-gpt-neox-instruct", "opencalm", "deepseek-r1-distill"]  # fmt: skip


def built(style, questions, answers, system=None):
    prompt = FORMATS[style]()
    if system is not None:
        prompt.set_system_prompt(system)
    for question, answer in zip(questions, [*answers, None], strict=False):
        prompt.add_requester_msg(question)
        prompt.add_responder_msg(answer)
    return prompt


def control_of_messages(tokenizer, prompt, encoded):
    """The slow reference: control ids of the result less those of the same prompt with neutral messages."""
    reader = reader_of(tokenizer)
    masked = span_prompt(prompt).masked("x")
    control = reader.special | {i for i, content in reader.added.items() if content in masked}
    neutral = prompt.with_texts(lambda text, whose: "".join(c if c.isspace() else "x" for c in text))
    own = reader.read(neutral.create_prompt(), bool(prompt.add_special_tokens)).token_ids
    own = [i for i in own if i in control and i != reader.unk_id]
    return [i for i in encoded.token_ids if i in control and i != reader.unk_id], own


def injections(token, rng):
    """Where a control token may be put: each message, inside a word, beside whitespace, split over two messages."""
    cut = rng.randrange(1, len(token)) if len(token) > 1 else 1
    yield [f"hello {token} world", "bye"], ["fine"], None
    yield ["hello", "bye"], [f"{token}fine"], None
    yield ["hello", "bye"], ["fine"], f"Be brief. {token}"
    yield [f"\n{token}\n", f"a{token}{token}b"], [f" {token} "], token
    yield [f"hello {token[:cut]}", "bye"], [f"{token[cut:]} fine"], None
    yield ["hello", f"{token[cut:]} bye"], [f"fine {token[:cut]}"], token[:cut]


def tool_prompts(tokenizer, token, rng):
    """A prompt a place where a template lets tools speak: a result, a call's name and arguments, a description, split over two."""
    cut = rng.randrange(1, len(token)) if len(token) > 1 else 1
    schema = {"name": "weather", "description": f"Tell {token} it.", "parameters": {"type": "object"}}
    call = {"type": "function", "function": {"name": "weather", "arguments": {"place": f"Oslo{token}"}}}
    asked = {"role": "user", "content": "Weather?"}
    for messages, tools in (
        ([asked, {"role": "tool", "name": "weather", "content": f"rain {token} now"}], None),
        ([asked, {"role": "assistant", "content": None, "tool_calls": [call]}], None),
        ([{"role": "system", "content": token}, asked], [{"type": "function", "function": schema}]),
        ([{**asked, "content": token[:cut]}, {"role": "tool", "name": token[cut:], "content": token[cut:]}], None),
    ):
        prompt = ChatTemplatePrompt(tokenizer, chat_template=THINKING, tools=tools)
        for message in messages:
            prompt.add_message(message)
        prompt.add_responder_msg(None)
        yield prompt
