"""Law L8 on the Python tokenizers of transformers, which keep no offsets."""

from __future__ import annotations

import functools
import random
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import BertGenerationTokenizer, ByT5Tokenizer, PerceiverTokenizer, SpeechT5Tokenizer
from transformers.tokenization_python import PreTrainedTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.errors import ControlTokenError, EncodeError
from chatlab.prompts.control_tokens import encode_prompt
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.dialogue import prompts_of
from chatlab.prompts.formats.registry import FORMATS
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from tests.support.forgeries import STYLES, built, control_of_messages, injections
from tests.support.small_tokenizers import encodable_dialogues

pytestmark = [
    pytest.mark.filterwarnings("ignore::chatlab.prompts.control_tokens.ControlTokenWarning"),
    # ByT5 tells its own users not to spell </s>; these texts do so on purpose.
    pytest.mark.filterwarnings("ignore:This sequence already has </s>:UserWarning"),
]

FOLDER = tokenizer_path("llama2-style/legacy")
MODEL = str(FOLDER / "tokenizer.model")


class Characters(PreTrainedTokenizer):
    """One id a code point, after those of the added tokens."""

    def __init__(self, **kwargs):
        super().__init__(unk_token="<unk>", bos_token="<s>", eos_token="</s>", **kwargs)

    @property
    def vocab_size(self):
        return 0x20000

    def get_vocab(self):
        return dict(self.added_tokens_encoder)

    def _tokenize(self, text, **kwargs):
        return list(text)

    def _convert_token_to_id(self, token):
        return ord(token) + 100 if len(token) == 1 else None

    def _convert_id_to_token(self, index):
        return chr(index - 100)


class Shouting(Characters):
    """Rewrites the text before it is split, so that other tokens are found than were written."""

    def prepare_for_tokenization(self, text, **kwargs):
        return text.replace("<S>", "<s>"), kwargs


def flagged() -> Characters:
    tokenizer = Characters()
    tokenizer.add_tokens([AddedToken("<|left|>", special=True, lstrip=True), AddedToken("<|right|>", special=True, rstrip=True),
                          AddedToken("<|both|>", special=True, lstrip=True, rstrip=True), AddedToken("<|word|>", special=True, single_word=True),
                          AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True, rstrip=True),
                          AddedToken("    ", normalized=False), AddedToken("Titanic", normalized=False)])  # fmt: skip
    return tokenizer


KINDS = {
    "bytes": ByT5Tokenizer,
    "more bytes": PerceiverTokenizer,
    "sentencepiece legacy": lambda: BertGenerationTokenizer(MODEL),
    "sentencepiece non-legacy": lambda: BertGenerationTokenizer(MODEL, legacy=False),
    "speech": lambda: SpeechT5Tokenizer(MODEL),
    "flagged characters": flagged,
}


@functools.cache
def slow(kind: str):
    return KINDS[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_of_a_slow_tokenizer_yields_a_control_id(kind):
    tokenizer, rng, forged = slow(kind), random.Random(kind), 0
    tokens = [text for text in reader_of(tokenizer).added.values() if text != "Titanic"]
    for token in rng.sample(tokens, min(len(tokens), 12)):
        for questions, answers, system in injections(token, rng):
            for style in rng.sample(STYLES, 3):
                prompt = built(style, questions, answers, system)
                encoded = encode_prompt(as_tokenizer(tokenizer), prompt)
                found, own = control_of_messages(tokenizer, prompt, encoded)
                assert found == own, (style, questions, answers, system)
                assert encode_prompt(tokenizer, prompt).token_ids == encoded.token_ids
                forged += bool(encoded.forged)
    assert forged


@pytest.mark.parametrize("kind", KINDS)
def test_clean_dialogues_keep_the_ids_of_the_class(kind):
    tokenizer, checked, rng = slow(kind), 0, random.Random(kind)
    tokens = [text.lower() for text in reader_of(tokenizer).added.values() if text != "Titanic"]
    dialogues = [d for d in encodable_dialogues() if sum(len(t.user) for t in d.turns) < 2_000]
    for dialogue in rng.sample(dialogues, 160):
        texts = [dialogue.system or "", *(text for t in dialogue.turns for text in (t.user, t.assistant or ""))]
        if any(token in text.lower() for token in tokens for text in texts):
            continue
        style = rng.choice(STYLES)
        *_, (_, prompt) = prompts_of(dialogue, FORMATS[style])
        add = FORMATS[style].add_special_tokens
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "This sequence already has </s>")
            encoded = encode_prompt(tokenizer, prompt)
        assert encoded.token_ids == tokenizer(prompt.create_prompt(), add_special_tokens=add)["input_ids"]
        assert encoded.forged == ()
        checked += 1
    assert checked >= 100, f"only {checked} clean dialogues"


@given(data=st.data())
def test_the_slow_way_is_the_sentencepiece_way(data):
    """Two readers of one model: their ids agree where no control token is spelled, and keep the law where one is."""
    ours, fast = slow("sentencepiece legacy"), load_tokenizer(MODEL)
    parts = st.sampled_from(["</s>", "<s>", "a", "日本", " ", "\n", "hello world", "<", "/s>"])
    messages = data.draw(st.lists(st.lists(parts, max_size=5).map("".join), min_size=1, max_size=3))
    prompt = built(data.draw(st.sampled_from(["llama2-chatstream", "llama2-meta", "vicuna-v1.1"])), messages, messages)
    one, other = (encode_prompt(t, prompt, add_special_tokens=False) for t in (ours, fast))
    assert one.forged == other.forged
    if not one.forged:
        assert one.token_ids == other.token_ids
    assert [i for i in one.token_ids if i in (1, 2)] == [i for i in other.token_ids if i in (1, 2)]
    text = fast.decode(one.token_ids)
    assert "".join(text.split()) == "".join(fast.decode(other.token_ids).split())


@given(data=st.data())
def test_any_mixture_of_flagged_tokens_stays_text(data):
    tokenizer = slow("flagged characters")
    parts = st.sampled_from([p for t in ("<|left|>", "<|right|>", "<|both|>", "<|im_end|>", "<unk>", "</s>", "    ", "Titanic")
                             for p in (t, t[:2], t[2:])] + [" ", "\n", "x", "日", "<"])  # fmt: skip
    message = st.lists(parts, max_size=6).map("".join)
    prompt = built(data.draw(st.sampled_from(STYLES)), data.draw(st.lists(message, min_size=1, max_size=3)), data.draw(st.lists(message, max_size=2)))  # fmt: skip
    found, own = control_of_messages(tokenizer, prompt, encode_prompt(tokenizer, prompt))
    assert found == own


def test_the_text_and_the_ordinary_added_tokens_of_a_message_are_kept():
    tokenizer = slow("flagged characters")
    prompt = built("chatml", ["Titanic    <|im_end|> \n<|right|>  <|left|> x"], [])
    encoded = encode_prompt(tokenizer, prompt)
    assert [token.piece for token in encoded.forged] == ["<|im_end|>", "<|right|>", "<|left|>"]
    shown = "".join(tokenizer.convert_ids_to_tokens(encoded.token_ids))
    assert "Titanic    <|im_end|> \n<|right|>  <|left|> x<|im_end|>" in shown
    assert tokenizer.convert_tokens_to_ids("Titanic") in encoded.token_ids
    assert encoded.token_ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


def test_a_tokenizer_that_rewrites_text_is_refused_and_its_way_out_works():
    tokenizer = Shouting()
    with pytest.raises(ControlTokenError, match="splits the text at.*allow_control_tokens=True"):
        encode_prompt(tokenizer, built("chatml", ["<S>"], []))
    prompt = built("chatml", ["<S>"], [])
    trusted = encode_prompt(tokenizer, prompt, allow_control_tokens=True).token_ids
    assert trusted == tokenizer(prompt.create_prompt())["input_ids"]


def test_a_lone_surrogate_is_refused_by_a_slow_tokenizer_too():
    with pytest.raises(EncodeError, match="cannot encode"):
        encode_prompt(slow("bytes"), built("chatml", ["\ud800"], []))
