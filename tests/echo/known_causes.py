"""Tokenizers whose faults are known by how they were built, and prompts whose every fragment has a known fate.

This is the second judge of causes: it shares no change, no list and no state with the laboratory. A base is a
pipeline that gives every prompt back; a fault is one line of the library's own classes put into it. A prompt is made
of fragments, and each says which cause its damage has, so that the truth needs no experiment.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from chatlab.echo.edits import Cause
from chatlab.tokenizers.fast import FastTokenizer

MARK = "\u2581"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?-"
PLAIN = ("ab", "hello", "tu", "z9")
SPECIALS = ("<|s|>", "<|e|>")
BORDERS = (*SPECIALS, "\u00f6", "\u0120\u0120")
"""Behind every added token a segment begins."""


@dataclass
class Case:
    """A tokenizer in the making, with the call that goes with it."""

    rust: Tokenizer
    decoder: list[Any] = field(default_factory=list)
    normalizer: list[Any] = field(default_factory=list)
    pre: list[Any] = field(default_factory=list)
    specials: dict[str, dict[str, bool]] = field(default_factory=lambda: {s: {} for s in SPECIALS})
    clean_up: Callable[[str], str] | None = None
    options: dict[str, Any] = field(default_factory=lambda: {"skip_special_tokens": False})

    def tokenizer(self) -> FastTokenizer:
        rust = self.rust
        for name, parts, kind in (
            ("normalizer", self.normalizer, normalizers),
            ("pre_tokenizer", self.pre, pre_tokenizers),
            ("decoder", self.decoder, decoders),
        ):
            if parts:
                setattr(rust, name, kind.Sequence(parts))
        for content, flags in self.specials.items():
            rust.add_special_tokens([AddedToken(content, special=True, **{"normalized": False, **flags})])
        return FastTokenizer(rust, clean_up=self.clean_up)


def byte_level() -> Case:
    """GPT-2's way: every byte has a letter."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("l", "l"), ("\u0120", "t")]
    vocab = {piece: number for number, piece in enumerate([*alphabet, *(a + b for a, b in merges)])}
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Case(Tokenizer(models.BPE(vocab, merges)), decoder=[decoders.ByteLevel()], pre=[pre])


def marked(byte_fallback: bool = True) -> Case:
    """SentencePiece's way, without a dummy prefix: the space is a mark."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(LETTERS + MARK + "\n<>|")]
    vocab = {piece: number for number, piece in enumerate([*pieces, "he", f"{MARK}t"])}
    model = models.BPE(vocab, [("h", "e"), (MARK, "t")], unk_token="<unk>", byte_fallback=byte_fallback)
    decoder = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return Case(Tokenizer(model), decoder=decoder, normalizer=[normalizers.Replace(" ", MARK)])


def unigram() -> Case:
    """A Unigram model, which names its unknown token by id."""
    pieces = [("<unk>", 0.0), *((letter, -3.0) for letter in dict.fromkeys(LETTERS + MARK + "\n<>|")), ("he", -1.0)]
    decoder = [decoders.Replace(MARK, " "), decoders.Fuse()]
    return Case(
        Tokenizer(models.Unigram(pieces, 0, False)), decoder=decoder, normalizer=[normalizers.Replace(" ", MARK)]
    )


def words() -> Case:
    """BERT's way: words, with a space between any two; a prompt of words and single spaces comes back."""
    known = [*PLAIN, "<", ">", "|", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(["[UNK]", *known]))}
    model = models.WordPiece(vocab, unk_token="[UNK]")
    return Case(
        Tokenizer(model),
        decoder=[decoders.WordPiece(cleanup=False)],
        pre=[pre_tokenizers.BertPreTokenizer()],
        specials={},
    )


Fragment = tuple[str, Cause | None]


@dataclass(frozen=True)
class Fault:
    """One thing put into a base, what sets it off, and what the damage is called."""

    base: Callable[[], Case]
    put: Callable[[Case], Any]
    cause: Cause
    triggers: tuple[str, ...]
    slot: str
    """Where in the pipeline it sits; two faults of one slot do not go together."""
    at: str = "any"
    """``start``, ``end`` or ``any``: where a trigger stands."""
    after: str = ""
    """What must stand before a trigger, with no damage of its own."""
    eats: str = ""
    """Letters that it takes wherever they stand: no other fault's triggers may have them."""

    def goes_with(self, other: Fault) -> bool:
        """Tell whether the damage of both can be told apart by its place."""
        eaten = any(set(one.eats) & set("".join(two.triggers)) for one, two in ((self, other), (other, self)))
        # Pieces joined with spaces show every other damage in another place.
        joins = Cause.DECODER_JOIN in (self.cause, other.cause)
        return other.base is self.base and other.slot != self.slot and not eaten and not joins


def _first(step: Any) -> Callable[[Case], None]:
    return lambda case: case.normalizer.insert(0, step)


def _split(step: Any) -> Callable[[Case], None]:
    return lambda case: case.pre.insert(0, step)


def _last(step: Any) -> Callable[[Case], None]:
    return lambda case: case.decoder.append(step)


def _flags(content: str, **flags: bool) -> Callable[[Case], Any]:
    return lambda case: case.specials.update({content: flags})


def _added(content: str) -> Callable[[Case], Any]:
    return lambda case: case.rust.add_tokens([AddedToken(content, normalized=False)])


def _skip(case: Case) -> None:
    case.options["skip_special_tokens"] = True


def _prefix_space(case: Case) -> None:
    case.pre[-1] = pre_tokenizers.ByteLevel(add_prefix_space=True)


def _metaspace(scheme: str) -> Callable[[Case], None]:
    return lambda case: case.pre.append(pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False))


def _stripped_metaspace(case: Case) -> None:
    case.pre.append(pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    case.decoder.append(decoders.Strip(" ", 1, 0))


def _no_bytes_read(case: Case) -> None:
    case.decoder = [decoders.Replace(MARK, " "), decoders.Fuse()]


def _pad(case: Case) -> None:
    case.rust.add_special_tokens([AddedToken("<pad>", special=True, normalized=False)])
    case.rust.enable_padding(length=300, pad_id=case.rust.token_to_id("<pad>"), pad_token="<pad>")


def _template(case: Case) -> None:
    case.rust.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    pair = [(s, case.rust.token_to_id(s)) for s in SPECIALS]
    case.rust.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS[0]} $A {SPECIALS[1]}", special_tokens=pair
    )
    case.options["add_special_tokens"] = True


def _clean_up(case: Case) -> None:
    case.clean_up = lambda text: text.replace(" ,", ",").replace(" !", "!")


BLANKS = (" ", "  ", "\n ")

FAULTS = [
    # base, what is put in, cause, triggers, slot
    *(Fault(base, _first(normalizers.NFKC()), Cause.NORMALIZER, ("\uff21", "\u2460", "\ufb01"), "norm") for base in (byte_level, marked)),
    Fault(byte_level, _first(normalizers.Lowercase()), Cause.NORMALIZER, ("Q", "ABC"), "norm"),
    Fault(byte_level, _first(normalizers.Strip()), Cause.NORMALIZER, BLANKS, "norm", at="start", eats=" \n"),
    Fault(byte_level, _first(normalizers.Replace(Regex(r"[\t\n]"), " ")), Cause.NORMALIZER, ("\n", "\t"), "norm"),
    Fault(byte_level, _first(normalizers.Replace(Regex(" {2,}"), " ")), Cause.NORMALIZER, ("a   b", "c  d"), "norm"),
    Fault(byte_level, _first(normalizers.Sequence([normalizers.NFD(), normalizers.Sequence([normalizers.StripAccents()])])), Cause.NORMALIZER, ("\u00e9", "n\u0303"), "norm"),
    Fault(byte_level, _split(pre_tokenizers.Split("-", "removed")), Cause.PRE_TOKENIZER, ("a-b", "c--d"), "pre", eats="-"),
    Fault(byte_level, _split(pre_tokenizers.Punctuation("removed")), Cause.PRE_TOKENIZER, ("a,b", "c!d"), "pre", eats=",!-"),
    Fault(byte_level, _split(pre_tokenizers.CharDelimiterSplit("-")), Cause.PRE_TOKENIZER, ("a-b",), "pre", eats="-"),
    Fault(byte_level, _split(pre_tokenizers.WhitespaceSplit()), Cause.PRE_TOKENIZER, ("a b", "c\n d"), "pre", eats=" \n\t"),
    Fault(byte_level, _split(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\s+"), "removed")])), Cause.PRE_TOKENIZER, ("a  b",), "pre", eats=" \n\t"),
    Fault(byte_level, _prefix_space, Cause.DUMMY_PREFIX, ("ij",), "pre", after=SPECIALS[0]),
    Fault(byte_level, _added("\u00f6"), Cause.ADDED_TOKEN_DECODED, ("sch\u00f6n",), "added"),
    Fault(byte_level, _added("\u0120\u0120"), Cause.ADDED_TOKEN_DECODED, ("x\u0120\u0120y",), "added"),
    Fault(byte_level, _last(decoders.Strip(" ", 1, 0)), Cause.DECODER_STRIP, (" ",), "dec", at="start", eats=""),
    Fault(byte_level, _last(decoders.Replace(Regex("^ +"), "")), Cause.DECODER_STRIP, (" ",), "dec", at="start", eats=""),
    Fault(byte_level, lambda case: case.decoder.clear(), Cause.DECODER_JOIN, ("abc",), "dec"),
    *(
        Fault(base, *rest)
        for base in (byte_level, marked)
        for rest in (
            (_flags(SPECIALS[0], rstrip=True), Cause.ADDED_TOKEN_STRIP, BLANKS, "flags", "any", SPECIALS[0]),
            (_skip, Cause.SPECIAL_REMOVED, SPECIALS, "call"),
            (lambda case: case.rust.enable_truncation(9), Cause.TRUNCATION, ("abcdefghijklmnop qrstuvw",), "call", "end"),
            (_pad, Cause.PADDING, ("",), "call", "end"),
            (_template, Cause.BOS_EOS_SHOWN, ("",), "call", "end"),
            (_clean_up, Cause.CLEAN_UP, ("a ,b", "c !d"), "clean"),
        )
    ),
    Fault(marked, _metaspace("always"), Cause.DUMMY_PREFIX, ("ij",), "pre", after=SPECIALS[0]),
    Fault(marked, _first(normalizers.Prepend(MARK)), Cause.DUMMY_PREFIX, ("ij",), "norm", after=SPECIALS[0]),
    Fault(marked, _first(normalizers.Replace(Regex("^"), MARK)), Cause.DUMMY_PREFIX, ("ij",), "norm", after=SPECIALS[0]),
    Fault(marked, _first(normalizers.Replace(Regex("^(?=[A-Z])"), MARK)), Cause.DUMMY_PREFIX, ("Hi",), "norm", after=SPECIALS[0]),
    Fault(marked, _stripped_metaspace, Cause.LEADING_SPACE, (" ",), "pre", at="start"),
    Fault(marked, lambda case: None, Cause.SPACE_MARK, (f"a{MARK}b", f"{MARK}{MARK}c"), "mark"),
    Fault(marked, _no_bytes_read, Cause.BYTE_FALLBACK, ("\u65e5", "\U0001f525"), "dec"),
    Fault(lambda: marked(byte_fallback=False), lambda case: None, Cause.UNKNOWN_TOKEN, ("\u65e5", "x\u8a9e"), "none"),
    Fault(unigram, lambda case: None, Cause.UNKNOWN_TOKEN, ("\u65e5", "x\u8a9e"), "none"),
    Fault(unigram, _stripped_metaspace, Cause.UNKNOWN_TOKEN, ("\u65e5", "a\u8a9e"), "pre"),
    Fault(unigram, _first(normalizers.NFKC()), Cause.NORMALIZER, ("\uff21", "\uff42"), "norm"),
    Fault(words, lambda case: None, Cause.PRE_TOKENIZER, ("ab,tu", "tu  ab", "ab\nz9"), "none"),
    Fault(words, lambda case: None, Cause.UNKNOWN_TOKEN, ("\u65e5",), "none"),
    Fault(words, _first(normalizers.Lowercase()), Cause.NORMALIZER, ("ABC", "Q"), "norm"),
    Fault(words, lambda case: case.decoder.__setitem__(0, decoders.WordPiece(cleanup=True)), Cause.PRE_TOKENIZER, ("ab , tu", "z9 ! ab"), "dec"),
]  # fmt: skip


def random_case(rng: random.Random) -> tuple[Case, list[Fragment]]:
    """A base with one to three faults, and a prompt of fragments that says where each strikes."""
    first = rng.choice(FAULTS)
    faults = [first]
    for other in rng.sample(FAULTS, 6):
        if len(faults) < 3 and all(other.goes_with(fault) for fault in faults):
            faults.append(other)
    case = first.base()
    for fault in faults:
        fault.put(case)
    return case, list(_fragments(rng, faults))


def _fragments(rng: random.Random, faults: list[Fault]) -> Iterator[Fragment]:
    only = "" if faults[0].base is not words else " "
    starts = [f for f in faults if f.at == "start"][:1]
    ends = [f for f in faults if f.at == "end"][:1]
    # A dummy prefix and a template strike at the very start, too.
    always = {f.cause for f in faults if f.cause in (Cause.DUMMY_PREFIX, Cause.BOS_EOS_SHOWN)}
    everywhere = next((f.cause for f in faults if f.cause is Cause.DECODER_JOIN), None)
    yield "", next(iter(always), None)
    yield from ((rng.choice(f.triggers), f.cause) for f in starts)
    middle: list[list[Fragment]] = [[(rng.choice(PLAIN), everywhere)] for _ in range(rng.randint(1, 4))]
    for fault in (f for f in faults if f.at == "any"):
        for _ in range(rng.randint(1, 2)):
            lead: list[Fragment] = [(fault.after, _cause_of(fault.after, faults))] if fault.after else []
            middle.append([*lead, (rng.choice(fault.triggers), fault.cause), (rng.choice(PLAIN), everywhere)])
    rng.shuffle(middle)
    for number, group in enumerate(middle):
        for text, cause in group:
            if only and (number or text != group[0][0]):
                yield only, None
            yield text, cause
    yield from ((rng.choice(f.triggers), f.cause) for f in ends)


def _cause_of(special: str, faults: list[Fault]) -> Cause | None:
    return Cause.SPECIAL_REMOVED if special and any(f.put is _skip for f in faults) else None
