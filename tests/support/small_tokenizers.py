"""Small tokenizers of every kind, trained in a moment, each with control tokens of its own making."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from chatlab.embedded import dialogues_path
from chatlab.prompts.dialogue import Dialogue, read_dialogues

TEXTS = [
    "Do you know the movie Titanic? Yes, I do. Who is the director?",
    "映画タイタニックを知っていますか。はい、知っています。監督は誰ですか。",
    "def f(x):\n    return [x, x + 1]  # <b>not</b> a token",
    "one two three four five six seven eight nine ten, and so on and so on",
] * 4

PLAIN = ["<s>", "</s>", "<unk>"]
CHATML = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
BRACKETS = ["[INST]", "[/INST]", "<think>", "</think>"]


def _train(model, trainer, *, pre=None, normalizer=None, decoder=None):
    tokenizer = Tokenizer(model)
    if pre:
        tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    if decoder:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _bpe(scheme, **kwargs):
    """A SentencePiece-like BPE; its trainer puts the control tokens into the vocabulary."""
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=PLAIN, show_progress=False)
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return _train(models.BPE(unk_token="<unk>"), trainer, pre=metaspace, decoder=decoders.Metaspace(), **kwargs)


def _byte_bpe(prefix_space=False):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=CHATML, initial_alphabet=alphabet, show_progress=False)
    pre = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    return _train(models.BPE(), trainer, pre=pre, decoder=decoders.ByteLevel())


def _added(tokenizer, *tokens):
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def _merging():
    """A BPE whose merges build ``</s>`` and ``<s>`` out of plain characters, as a converted model's may."""
    tokenizer = _bpe("first")
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for piece in ["<", "s", ">", "/", "</", "s>"]:
        vocab.setdefault(piece, len(vocab))
    state["model"]["merges"][:0] = [["s", ">"], ["<", "/"], ["<", "s>"], ["</", "s>"]]
    return Tokenizer.from_str(json.dumps(state))


def _with_bos():
    tokenizer = _bpe("first")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def _legacy_prepend():
    """Llama-2's first tokenizer.json: the dummy prefix is a normalizer, and nothing pre-tokenizes."""
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=PLAIN, show_progress=False)
    steps = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _train(models.BPE(unk_token="<unk>"), trainer, normalizer=steps)


def _unigram():
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=PLAIN, unk_token="<unk>", show_progress=False)
    return _train(models.Unigram(), trainer, pre=pre_tokenizers.Metaspace(), normalizer=normalizers.NFKC())


def _wordpiece(normalizer=None):
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    model = models.WordPiece(unk_token="[UNK]")
    tokenizer = _train(model, trainer, pre=pre_tokenizers.BertPreTokenizer(), normalizer=normalizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def _wordlevel():
    trainer = trainers.WordLevelTrainer(special_tokens=PLAIN, show_progress=False)
    return _train(models.WordLevel(unk_token="<unk>"), trainer, pre=pre_tokenizers.Whitespace())


@cache
def small_tokenizers() -> dict[str, Tokenizer]:
    """Each by what is special about it."""
    return {
        "metaspace first": _bpe("first"),
        "metaspace always": _bpe("always"),
        "metaspace never": _bpe("never"),
        "legacy prepend": _legacy_prepend(),
        "merges build control tokens": _merging(),
        "bos and eos added": _with_bos(),
        "byte bpe": _byte_bpe(),
        "byte bpe with prefix space": _byte_bpe(prefix_space=True),
        "unigram": _unigram(),
        "wordpiece": _wordpiece(),
        "lower-cased wordpiece": _wordpiece(normalizers.BertNormalizer(lowercase=True)),
        "word level": _wordlevel(),
        "llama2 and mistral": _added(_bpe("first"), *(AddedToken(t, special=True, normalized=False) for t in BRACKETS)),
        "right-stripping": _added(
            _bpe("first"),
            *(AddedToken(t, special=True, normalized=False, rstrip=True) for t in ("<|user|>", "<|end|>", "<|assistant|>")),
        ),
        "both-stripping": _added(
            _byte_bpe(), *(AddedToken(t, special=True, normalized=False, lstrip=True, rstrip=True) for t in BRACKETS)
        ),
        "special flag unset": _added(_byte_bpe(), *(AddedToken(t, special=False, normalized=False) for t in PLAIN)),
        "normalized control tokens": _added(
            _bpe("first", normalizer=normalizers.Lowercase()), AddedToken("<|END|>", special=True, normalized=True)
        ),
        "single word": _added(_byte_bpe(), AddedToken("<ctl>", special=True, normalized=False, single_word=True)),
        "overlapping": _added(
            _byte_bpe(), *(AddedToken(t, special=True, normalized=False) for t in ("<|a|>", "|><|", "<|a|><|b|>", "s]["))
        ),
        "whitespace and plain words": _added(
            _byte_bpe(), *(AddedToken(t, special=False, normalized=False) for t in ("    ", "\n\n", "Titanic", "<table>"))
        ),
    }  # fmt: skip


def added_strs(tokenizer: Tokenizer) -> list[str]:
    """Every added token that is not whitespace."""
    return [t.content for t in tokenizer.get_added_tokens_decoder().values() if not t.content.isspace()]


@cache
def encodable_dialogues() -> list[Dialogue]:
    """The embedded dialogues, less those with a lone surrogate, which no tokenizer can take."""
    return [dialogue for dialogue in read_dialogues(dialogues_path()) if _is_valid(repr(dialogue.to_dict()))]


def _is_valid(text: str) -> bool:
    return "\\ud8" not in text and "\\udc" not in text
