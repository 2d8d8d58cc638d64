"""Law L8 on the real tokenizers: every special token in every place, and thousands of clean dialogues."""

from __future__ import annotations

import random
import warnings

import pytest

from chatlab.prompts.control_tokens import encode_prompt
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.dialogue import prompts_of
from chatlab.prompts.formats.registry import FORMATS
from chatlab.tokenizers.load import load_tokenizer
from tests.support.forgeries import STYLES, built, control_of_messages, injections, tool_prompts
from tests.support.small_tokenizers import encodable_dialogues

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore::chatlab.prompts.control_tokens.ControlTokenWarning"),
]

# Every way to load each real tokenizer: chatlab's interface, a raw pipeline, an AutoTokenizer.
WAYS = [
    ("chatlab", "llama-2"), ("chatlab", "llama-2/tokenizer.model"), ("auto", "llama-2"),
    ("raw", "phi-3/before"), ("raw", "phi-3/after"), ("chatlab", "phi-3/after"), ("auto", "phi-3/before"),
    ("chatlab", "mistral/v1/tokenizer.model"), ("chatlab", "mistral/v3/tokenizer.model"),
    ("chatlab", "stories260k/tokenizer.model"),
]  # fmt: skip


def loaded(real, way, path):
    if way == "chatlab":
        return load_tokenizer(real / path)
    if way == "raw":
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(real / path / "tokenizer.json"))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(real / path))


def plain_ids(tokenizer, text, add_special_tokens):
    encoded = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    return encoded.ids if hasattr(encoded, "ids") else encoded


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: " ".join(way))
def tokenizer(real, request):
    return loaded(real, *request.param)


def test_no_message_yields_a_control_id(tokenizer):
    rng, forged = random.Random(0), 0
    contents = list(reader_of(tokenizer).added.values())
    contents = contents[:20] + contents[20::50]  # Mistral v3 numbers 761 control tokens of one kind
    for content in contents:
        for questions, answers, system in injections(content, rng):
            for style in rng.sample(STYLES, 4):
                prompt = built(style, questions, answers, system)
                encoded = encode_prompt(tokenizer, prompt)
                found, own = control_of_messages(tokenizer, prompt, encoded)
                assert found == own, (style, questions, answers, system)
                forged += bool(encoded.forged)
    assert forged >= 3 * len(contents)


def test_no_word_of_a_tool_yields_a_control_id(tokenizer):
    rng, forged = random.Random(0), 0
    contents = list(reader_of(tokenizer).added.values())
    contents = contents[:20] + contents[20::50]
    for content in contents:
        for prompt in tool_prompts(tokenizer, content, rng):
            encoded = encode_prompt(tokenizer, prompt)
            found, own = control_of_messages(tokenizer, prompt, encoded)
            assert found == own, (prompt.get_messages(), prompt.tools)
            forged += bool(encoded.forged)
    assert forged >= 3 * len(contents)


def test_clean_dialogues_keep_their_ids(tokenizer):
    contents, checked = list(reader_of(tokenizer).added.values()), 0
    dialogues = [d for d in encodable_dialogues() if sum(len(t.user) for t in d.turns) < 2_000]
    for number, dialogue in enumerate(dialogues):
        texts = [dialogue.system or "", *(text for t in dialogue.turns for text in (t.user, t.assistant or ""))]
        if any(content in text for content in contents for text in texts):
            continue
        cls = FORMATS[STYLES[number % len(STYLES)]]
        for _, prompt in prompts_of(dialogue, cls):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                encoded = encode_prompt(tokenizer, prompt)
            assert encoded.token_ids == plain_ids(tokenizer, prompt.create_prompt(), cls.add_special_tokens)
            checked += 1
    assert checked >= 2_000
