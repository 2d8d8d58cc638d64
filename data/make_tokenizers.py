"""Write data/tokenizers/: five small tokenizer families, trained on data/dialogues, the same bytes on every machine.

Run ``python data/make_tokenizers.py [--out FOLDER]`` after make_dialogues.py; it takes some seconds. The bytes are those
of the library versions in constraints.txt.

=======================  =============================================================================================
llama2-style/legacy      SentencePiece BPE with dummy prefix; every segment after a special token begins with ``▁``
llama2-style/non-legacy  the same vocabulary; only the text's first segment does
phi3-style/before        the same vocabulary, Phi-3's turn markers as added tokens
phi3-style/after         as before, but for 12 booleans: the markers eat the whitespace behind them
byte-bpe                 byte-level BPE with ChatML markers (GPT-2, Llama-3 and Qwen are of this family)
unigram                  SentencePiece Unigram behind NFKC and collapsed spaces (T5, Gemma's elders)
wordpiece                lower-cased WordPiece with ``[UNK]`` (BERT): decoding cannot give the text back
=======================  =============================================================================================
"""

from __future__ import annotations

import argparse
import io
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from chatlab.prompts.formats.llama2 import SYSTEM_PROMPT

DATA = Path(__file__).parent
SPACE = "▁"

# Kinds whose odd characters should fall back to bytes instead of earning a piece.
UNSEEN_KINDS = {"combining", "odd-spaces", "rare", "scripts", "special-tokens", "u2581"}

LLAMA2_TEMPLATE = (
    "{{ bos_token }}[INST] "
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{{ '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' }}{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ message['content'] + ' [/INST] ' }}"
    "{% else %}{{ message['content'] + ' ' + eos_token + bos_token + '[INST] ' }}{% endif %}"
    "{% endfor %}"
)
PHI3_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

PHI3_MARKERS = [
    "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
    "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>",
]  # fmt: skip


def training_lines() -> list[str]:
    """Once each line of the dialogues that a tokenizer should know well, and, often, the Llama-2 prompt's fixed text."""
    lines: dict[str, None] = {}
    for row in (DATA / "dialogues" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines():
        dialogue = json.loads(row)
        if dialogue["labels"]["kind"] not in UNSEEN_KINDS:
            messages = [dialogue["system"] or "", *(text for turn in dialogue["turns"] for text in turn.values())]
            lines.update((line, None) for message in messages for line in message.splitlines() if line)
    return [*lines] + [*SYSTEM_PROMPT.splitlines(), "[INST] <<SYS>>", "<</SYS>>", "[/INST] [INST]"] * 40


def train_sentencepiece(lines: list[str], *, model_type: str, vocab_size: int) -> bytes:
    """A serialized SentencePiece model with Llama-2's settings (but for its type and size).

    As in Llama-2, no piece joins ``▁`` to Japanese or to an emoji: such text is cut off from the space before it, and
    the dummy prefix, which every line would get in training, is switched on afterwards.
    """
    starts = (start for line in lines for start in re.split(r" (?=[^\x00-\x7f])", line))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(f" {start}" if start[:1].isascii() else start for start in starts), model_writer=model,
        model_type=model_type, vocab_size=vocab_size, character_coverage=0.9995, byte_fallback=model_type == "bpe",
        add_dummy_prefix=False, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, max_sentencepiece_length=12, num_threads=1, max_sentence_length=100_000,
        minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    proto.normalizer_spec.add_dummy_prefix = True
    return proto.SerializeToString(deterministic=True)


def merges_of(pieces: list[str], normal: set[str]) -> list[tuple[str, str]]:
    """The merges behind SentencePiece BPE pieces: best piece first, every split into two known pieces."""
    rank = {piece: number for number, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        if piece in normal:
            splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
            known = [split for split in splits if normal.issuperset(split)]
            merges += sorted(known, key=lambda split: (rank[split[0]], rank[split[1]]))
    return merges


def llama_bpe(model: bytes) -> Tokenizer:
    """A SentencePiece BPE model as a raw tokenizer, with Llama's special tokens, post-processor and decoder."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(token_id) for token_id in range(len(processor))]
    normal = {
        piece
        for token_id, piece in enumerate(pieces)
        if not (processor.is_control(token_id) or processor.is_unknown(token_id) or processor.is_byte(token_id))
    }
    vocab = {piece: token_id for token_id, piece in enumerate(pieces)}
    bpe = models.BPE(vocab, merges_of(pieces, normal), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", vocab["<s>"])]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def llama_config(**more: Any) -> dict[str, Any]:
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": 2048,
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    } | more


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )


def write_folder(
    folder: Path, tokenizer: Tokenizer | dict[str, Any], tokenizer_config: dict[str, Any], model_type: str | None = None
) -> None:
    """A folder that AutoTokenizer loads; config.json only where a model type decides the class."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads(tokenizer.to_str()) if isinstance(tokenizer, Tokenizer) else tokenizer
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    (folder / "tokenizer.json").write_text(text, encoding="utf-8", newline="\n")
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    if model_type:
        ids = content["model"]["vocab"] | {token["content"]: token["id"] for token in content["added_tokens"]}
        named = {f"{name}_token_id": ids.get(tokenizer_config.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
        write_json(folder / "config.json", {"model_type": model_type, "vocab_size": len(ids)} | named)


def make_llama2_style(out: Path, model: bytes) -> None:
    """Two revisions of one vocabulary: the ``legacy`` switch is Metaspace's prepend scheme."""
    for name, scheme in (("legacy", "always"), ("non-legacy", "first")):
        tokenizer = llama_bpe(model)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False)
        config = llama_config(legacy=name == "legacy", chat_template=LLAMA2_TEMPLATE)
        write_folder(out / name, tokenizer, config, model_type="llama")
        (out / name / "tokenizer.model").write_bytes(model)


def make_phi3_style(out: Path, model: bytes) -> None:
    """Before and after a change of 12 booleans: ``rstrip`` on 11 added tokens, ``special`` on one of them."""
    for name, after in (("before", False), ("after", True)):
        tokenizer = llama_bpe(model)
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
        tokenizer.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in PHI3_MARKERS])
        content = json.loads(tokenizer.to_str())
        for token in content["added_tokens"]:
            token["rstrip"] = after and token["content"] not in ("<unk>", "<s>", "<|endoftext|>")
            token["special"] = not (after and token["content"] == "</s>")
        decoder = {
            str(token["id"]): {key: token[key] for key in token if key != "id"} for token in content["added_tokens"]
        }
        config = llama_config(
            add_bos_token=False, added_tokens_decoder=decoder, chat_template=PHI3_TEMPLATE, eos_token="<|endoftext|>",
            legacy=False, pad_token="<|endoftext|>",
        )  # fmt: skip
        write_folder(out / name, content, config, model_type="phi3")


def make_byte_bpe(out: Path, lines: list[str]) -> None:
    """Byte-level BPE: every text is in the vocabulary, and a token may end inside a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=alphabet, special_tokens=markers, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    config = {
        "chat_template": CHATML_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_folder(out, tokenizer, config)


def make_unigram(out: Path, lines: list[str]) -> None:
    """Unigram: NFKC rewrites the text, runs of spaces collapse, unknown characters become ``<unk>``."""
    model = train_sentencepiece(
        [unicodedata.normalize("NFKC", line) for line in lines], model_type="unigram", vocab_size=1500
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = [(processor.id_to_piece(token_id), processor.get_score(token_id)) for token_id in range(len(processor))]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always", split=True)
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 2)]
    )
    config = {
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": 2048,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }
    write_folder(out, tokenizer, config)


def most_common(counts: Counter[str], size: int) -> list[str]:
    """The ``size`` most frequent keys; ties in code point order."""
    return sorted(counts, key=lambda key: (-counts[key], key))[:size]


def make_wordpiece(out: Path, lines: list[str]) -> None:
    """WordPiece: lower-cased, accents stripped, split at punctuation, joined with cleaned-up spaces.

    The vocabulary is counted here, since the library's trainer breaks ties by hash order.
    """
    markers = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(
        models.WordPiece({marker: number for number, marker in enumerate(markers)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    words = Counter(
        word
        for line in lines
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(line))
    )
    letters, endings = Counter("".join(words)), Counter(word[cut:] for word in words for cut in range(1, len(word)))
    alphabet = most_common(letters, 400)
    pieces = [*markers, *alphabet, *(f"##{letter}" for letter in alphabet)]
    pieces += [*most_common(words, 600), *(f"##{ending}" for ending in most_common(endings, 300))]
    tokenizer.model = models.WordPiece(
        {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {
        "clean_up_tokenization_spaces": True,
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "model_max_length": 512,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "[UNK]",
    }
    write_folder(out, tokenizer, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA / "tokenizers")
    out: Path = parser.parse_args().out
    lines = training_lines()
    llama_model = train_sentencepiece(lines, model_type="bpe", vocab_size=3000)
    make_llama2_style(out / "llama2-style", llama_model)
    make_phi3_style(out / "phi3-style", llama_model)
    make_byte_bpe(out / "byte-bpe", lines)
    make_unigram(out / "unigram", lines)
    make_wordpiece(out / "wordpiece", lines)


if __name__ == "__main__":
    main()
