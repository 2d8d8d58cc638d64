"""A conversation held with a script, and a slow reading of what its ids must be that shares no code with it."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from chatlab import ChatTemplatePrompt, stream
from chatlab.engines.scripted import ScriptedEngine
from chatlab.streaming.conversation.conversation import Conversation
from tests.support.small_tokenizers import small_tokenizers

SPECIAL = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|return|>", "<start_of_turn>", "<end_of_turn>",
    "<|user|>", "<|assistant|>", "<|observation|>",
)  # fmt: skip
CALL_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def tokenizer_of(template: str, kind: str = "byte bpe") -> PreTrainedTokenizerFast:
    rust = Tokenizer.from_str(small_tokenizers()[kind].to_str())
    rust.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    made = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def id_of(tokenizer: Any, piece: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(piece))


class Held:
    """A conversation over a template, whose replies are told one by one, as ids and how each ends."""

    def __init__(self, template: str, kind: str = "byte bpe", end: str = "<|im_end|>", **options: Any) -> None:
        self.tokenizer = tokenizer_of(template, kind)
        self.template, self.end = template, end
        self.conversation = Conversation(ChatTemplatePrompt(self.tokenizer), self.tokenizer, **options)
        self.prompts: list[list[int]] = []

    @property
    def prompt(self) -> Any:
        return self.conversation.prompt

    def answer(self, reply: str, *, ended: bool = True, **options: Any) -> list[int]:
        """Let the model say a reply; return what it had said before the prompt's own new part."""
        ids = self.tokenizer.encode(reply, add_special_tokens=False)
        eos = id_of(self.tokenizer, self.end) if ended else None
        engine = ScriptedEngine(
            ids or [id_of(self.tokenizer, "a")], self.tokenizer, eos_id=eos, finish_reason="eos" if ended else "length"
        )
        stream(self.conversation, engine, context_len=10**6, max_new_tokens=10**5, warn=False, **options).result()
        self.prompts += engine.prompts
        return engine.prompts[0]

    def say(self, question: Any, reply: str, **options: Any) -> list[int]:
        self.conversation.ask(question)
        return self.answer(reply, **options)

    def text(self) -> str:
        return str(self.tokenizer.decode(self.conversation.token_ids))

    def written(self, messages: Any = None, *, opened: bool = False) -> str:
        """What the template writes of the history, by Jinja alone."""
        said = self.prompt.get_messages() if messages is None else messages
        made = Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.template)
        return made.render(messages=said, add_generation_prompt=opened, bos_token="<s>", eos_token="</s>")

    def written_before_last(self) -> str:
        """What it writes for the last reply to be said."""
        return self.written(self.prompt.get_messages()[:-1], opened=True)


def slow_ids(tokenizer: Any, template: str, end: str, talk: list[tuple[str, list[int], bool]]) -> list[list[int]]:
    """Every prompt of a talk over a template that keeps replies: (question, reply ids, whether it ended) each.

    What is written before the first reply is encoded; then each time the text behind the reply's own place.
    """
    made = Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    messages: list[dict[str, str]] = []
    prompts: list[list[int]] = []
    said: list[int] = []
    place = "PLACE-OF-THE-REPLY"
    for number, (question, reply_ids, _) in enumerate(talk):
        messages.append({"role": "user", "content": question})
        text = made.render(messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        if number:
            text = text.split(place)[-1]
            if talk[number - 1][2]:
                ids = tokenizer.encode(text, add_special_tokens=False)
                ids = ids[ids.index(id_of(tokenizer, end)) + 1 :]
            else:
                ids = tokenizer.encode(text, add_special_tokens=False)
        else:
            ids = tokenizer.encode(text, add_special_tokens=False)
        prompts.append(said + ids)
        said = prompts[-1] + reply_ids
        if messages[-2:] and number:
            messages[-2]["content"] = "gone"
        messages.append({"role": "assistant", "content": place})
    return prompts
