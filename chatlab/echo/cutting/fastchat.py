"""How many characters FastChat skipped, in the days when its programs cut the echo by length.

Its stream gave prompt and reply as one decoded text, and each program took ``text[skip_echo_len:].strip()``. Within
three weeks of April 2023 the rule grew a case for each family of models (commits 52b93f60, 00d9e667, a613fc60), until
the stream decoded the output ids alone (ea9123c8). Programs that copied the rule still have it.
"""

from __future__ import annotations

from collections.abc import Mapping

MARKERS: Mapping[str, tuple[str, ...]] = {
    "dolly": ("### Instruction:", "### Response:", "### End"),
    "oasst": ("<|prompter|>", "<|assistant|>", "<|endoftext|>"),
    "stablelm": ("<|SYSTEM|>", "<|USER|>", "<|ASSISTANT|>"),
    "qwen": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
}
"""The control tokens of a family as the rule lists them, since decoding leaves them out; ``qwen`` is a fork's."""


def one_more(prompt: str) -> int:
    """Every model, from 8 April 2023: the prompt, and the blank before the reply."""
    return len(prompt) + 1


def vicuna(prompt: str) -> int:
    """Models without a rule of their own, 12 to 29 April 2023: ``</s>`` comes back as one blank, so three less each."""
    return len(prompt) + 1 - 3 * prompt.count("</s>")


def llama2(prompt: str) -> int:
    """Llama-2, CodeLlama and Baichuan in its forks: ``<s>`` comes back as nothing, and ``</s>`` as one blank.

    The blank is the dummy prefix after each ``</s><s>``: the three is the law of the legacy drift.

    >>> llama2("<s>[INST] a [/INST] b </s><s>[INST] c [/INST] ") - len("[INST] a [/INST] b [INST] c [/INST] ")
    1
    """
    return len(prompt) - 3 * prompt.count("<s>") - 3 * prompt.count("</s>")


def chatglm(question: str) -> int:
    """ChatGLM, whose stream gave the last question, a blank and the reply."""
    return len(question) + 1


def family_of(prompt: str, question: str) -> str | None:
    r"""Return the family whose listed markers the format writes before the reply, ``None`` where it writes none.

    >>> family_of("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Hi"), family_of("USER: ### End", "### End")
    ('qwen', None)
    """
    behind = prompt.rpartition(question)[2] if question else prompt
    return next((name for name, markers in MARKERS.items() if any(marker in behind for marker in markers)), None)


def without_markers(prompt: str, question: str) -> int:
    """Families with listed markers: the prompt without them, whether or not decoding leaves them out."""
    markers = MARKERS.get(family_of(prompt, question) or "", ())
    return len(prompt) - sum(prompt.count(marker) * len(marker) for marker in markers)
