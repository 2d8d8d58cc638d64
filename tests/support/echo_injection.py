"""Tokenizers with known causes of drift put in on purpose, and prompts that set them off.

The clean tokenizer echoes every prompt exactly. An injection is one change that makes it drift, with the cause
that must be named for it. What two injections do together is judged by what each does alone.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from chatlab.echo.edits import Cause
from chatlab.tokenizers.fast import FastTokenizer

Json = dict[str, Any]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"\n[]()<>/|éＡｂ①\u2581"
SPECIALS = ["<unk>", "<s>", "</s>", "<|user|>", "<|end|>", "<pad>"]


def clean_state() -> Json:
    """A character BPE with byte fallback that loses nothing: specials, bytes, letters."""
    vocab = {token: number for number, token in enumerate(SPECIALS)}
    vocab |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    for letter in LETTERS:
        vocab.setdefault(letter, len(vocab))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for number, token in enumerate(SPECIALS)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


@dataclass
class Setup:
    """A tokenizer in the making, with the options of the call that goes with it."""

    state: Json
    clean_up: Callable[[str], str] | None = None
    options: dict[str, Any] | None = None

    def tokenizer(self) -> FastTokenizer:
        return FastTokenizer(RustTokenizer.from_str(json.dumps(self.state)), clean_up=self.clean_up)


@dataclass(frozen=True)
class Injection:
    name: str
    cause: Cause
    inject: Callable[[Setup], None]
    triggers: tuple[str, ...]
    """Fragments that set it off."""
    slots: frozenset[str] = frozenset()
    """What it uses up; two injections with a slot in common do not go together."""
    brings: frozenset[Cause] = frozenset()
    """Causes that come with it and show only beside another injection."""


def _normalizer_first(step: Json) -> Callable[[Setup], None]:
    def inject(setup: Setup) -> None:
        old = setup.state["normalizer"]
        parts = [] if old is None else old["normalizers"] if old["type"] == "Sequence" else [old]
        setup.state["normalizer"] = {"type": "Sequence", "normalizers": [step, *parts]}

    return inject


def _decoder_last(step: Json) -> Callable[[Setup], None]:
    return lambda setup: setup.state["decoder"]["decoders"].append(step)


def _metaspace(scheme: str, strip: bool) -> Callable[[Setup], None]:
    def inject(setup: Setup) -> None:
        setup.state["pre_tokenizer"] = {
            "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False,
        }  # fmt: skip
        if strip:
            _decoder_last({"type": "Strip", "content": " ", "start": 1, "stop": 0})(setup)

    return inject


def _whitespace_split(setup: Setup) -> None:
    # The space mark must not be written before the split, or there is no whitespace left to collapse.
    setup.state["normalizer"] = None
    setup.state["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        ],
    }
    _decoder_last({"type": "Strip", "content": " ", "start": 1, "stop": 0})(setup)


def _flag(token: str, **flags: bool) -> Callable[[Setup], None]:
    def inject(setup: Setup) -> None:
        for added in setup.state["added_tokens"]:
            if added["content"] == token:
                added.update(flags)

    return inject


def _no_byte_fallback(setup: Setup) -> None:
    setup.state["model"]["byte_fallback"] = False


def _no_byte_decoder(setup: Setup) -> None:
    decoder = setup.state["decoder"]
    decoder["decoders"] = [step for step in decoder["decoders"] if step["type"] != "ByteFallback"]


def _bos_eos(setup: Setup) -> None:
    pieces = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pieces += [{"SpecialToken": {"id": "</s>", "type_id": 0}}]
    setup.state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": [*pieces, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [SPECIALS.index(t)], "tokens": [t]} for t in ("<s>", "</s>")},
    }
    setup.options = {"add_special_tokens": True, "skip_special_tokens": False}


def _truncated(setup: Setup) -> None:
    setup.state["truncation"] = {"direction": "Right", "max_length": 6, "strategy": "LongestFirst", "stride": 0}


def _padded(setup: Setup) -> None:
    setup.state["padding"] = {
        "strategy": {"Fixed": 400}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": SPECIALS.index("<pad>"), "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    setup.options = {"skip_special_tokens": False}


def clean_up(text: str) -> str:
    """What transformers' clean-up does to spaces, in short."""
    return re.sub(r" ([.?!,])", r"\1", text)


def _clean_up(setup: Setup) -> None:
    setup.clean_up = clean_up


def _no_decoder(setup: Setup) -> None:
    setup.state["decoder"] = None
    setup.state["normalizer"] = None  # so that nothing but the join differs: no space mark is left to read back


INJECTIONS = [
    Injection("metaspace always", Cause.DUMMY_PREFIX, _metaspace("always", strip=False), ("</s>ab", "<s>c"), frozenset({"pre", "start"})),
    Injection("prepend", Cause.DUMMY_PREFIX, lambda s: _prepend(s), ("</s>ab", "<s>c"), frozenset({"pre", "start"})),
    Injection("metaspace first", Cause.LEADING_SPACE, _metaspace("first", strip=True), ("^ x",), frozenset({"pre", "start"})),
    Injection("rstrip", Cause.ADDED_TOKEN_STRIP, _flag("<|user|>", rstrip=True), ("<|user|>\n", "<|user|>  x"), frozenset({"space"})),
    Injection("lstrip", Cause.ADDED_TOKEN_STRIP, _flag("<|end|>", lstrip=True), ("x <|end|>", "\n<|end|>"), frozenset({"space"})),
    Injection("nfkc", Cause.NORMALIZER, _normalizer_first({"type": "NFKC"}), ("Ａ", "ｂ", "①"), frozenset({"norm"})),
    Injection("lowercase", Cause.NORMALIZER, _normalizer_first({"type": "Lowercase"}), ("ABC", "Q"), frozenset({"norm"})),
    Injection("replace", Cause.NORMALIZER, _normalizer_first({"type": "Replace", "pattern": {"String": "q"}, "content": "kw"}), ("q", "qq"), frozenset({"norm"})),
    Injection("whitespace split", Cause.PRE_TOKENIZER, _whitespace_split, ("a  b", "a\nb", "c \n d"), frozenset({"pre", "start", "space", "mark"}), frozenset({Cause.DUMMY_PREFIX})),
    Injection("no byte fallback", Cause.UNKNOWN_TOKEN, _no_byte_fallback, ("日", "🔥", "語x"), frozenset({"bytes"})),
    Injection("no byte decoder", Cause.BYTE_FALLBACK, _no_byte_decoder, ("日", "🔥"), frozenset({"bytes"})),
    Injection("strip left", Cause.DECODER_STRIP, _decoder_last({"type": "Strip", "content": " ", "start": 3, "stop": 0}), ("^  x",), frozenset({"start", "decoder"})),
    # No Strip at the right end: tokenizers 0.23 panics when it meets an empty piece there.
    Injection("bos eos", Cause.BOS_EOS_SHOWN, _bos_eos, (), frozenset({"options", "end"})),
    Injection("truncation", Cause.TRUNCATION, _truncated, ("abcdefghijk",), frozenset({"end", "options"})),
    Injection("padding", Cause.PADDING, _padded, (), frozenset({"options", "end"})),
    Injection("clean-up", Cause.CLEAN_UP, _clean_up, ("x .", "y , z", "no !"), frozenset({"space"})),
    Injection("space mark", Cause.SPACE_MARK, lambda s: None, ("a\u2581b", "\u2581c"), frozenset({"mark"})),
    Injection("no decoder", Cause.DECODER_JOIN, _no_decoder, ("abc", "de"), frozenset({"pre", "start", "end", "decoder", "norm", "bytes", "space", "mark", "options"})),
]  # fmt: skip


def _prepend(setup: Setup) -> None:
    # The prefix goes on before spaces are marked, as in the Llama-2 files of the hub.
    _normalizer_first({"type": "Prepend", "prepend": "\u2581"})(setup)


def build(injections: list[Injection]) -> Setup:
    setup = Setup(clean_state())
    setup.state = copy.deepcopy(setup.state)
    for injection in injections:
        injection.inject(setup)
    return setup


def random_prompt(rng: random.Random, injections: list[Injection]) -> str:
    """A prompt of plain fragments, control tokens and triggers; ``^`` puts a trigger in front."""
    joined = any(injection.name == "no decoder" for injection in injections)
    plain = ["ab", "hello", "Hi", "x y", "[a]", "tu", "z"] if not joined else ["ab", "hello", "Hi"]
    split = any(injection.name == "whitespace split" for injection in injections)
    specials = [] if split or joined else ["<s>", "</s>", "<|user|>", "<|end|>"]
    if split:
        plain = ["ab", "hello", "[a]", "tu"]
    fragments = [rng.choice(plain) for _ in range(rng.randint(2, 5))]
    fragments += rng.sample(specials, rng.randint(0, len(specials))) if specials else []
    head = ""
    for injection in injections:
        for trigger in injection.triggers:
            if trigger.startswith("^"):
                head = trigger[1:]
            elif rng.random() < 0.8:
                fragments.append(trigger)
    rng.shuffle(fragments)
    return head + (" ".join(fragments) if split else "".join(fragments))


def random_injections(rng: random.Random) -> list[Injection]:
    """One or two injections that can live together."""
    first = rng.choice(INJECTIONS)
    others = [i for i in INJECTIONS if i.cause is not first.cause and not i.slots & first.slots]
    return [first, rng.choice(others)] if others and rng.random() < 0.5 else [first]
