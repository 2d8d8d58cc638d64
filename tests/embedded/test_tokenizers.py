"""The tokenizers show the defects they are named for, and are the same bytes whenever they are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from chatlab.embedded import embedded_path, model_path, tokenizer_names, tokenizer_path
from chatlab.prompts.dialogue import Dialogue, prompts_of
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat

PHI3_PROMPT = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"


@cache
def load(name: str) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_path(name))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value, by its path."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(child, f"{path}/{key}")
    else:
        yield path, value


def differences(first: Path, second: Path) -> dict[str, tuple[Any, Any]]:
    one, two = (dict(flat(json.loads(path.read_text(encoding="utf-8")))) for path in (first, second))
    return {key: (one.get(key), two.get(key)) for key in one.keys() | two.keys() if one.get(key) != two.get(key)}


def test_the_scripts_make_the_same_bytes_again(tmp_path: Path, run_script: Callable[..., None]) -> None:
    run_script("make_tokenizers.py", tmp_path)
    committed = embedded_path("tokenizers")
    names = sorted(path.relative_to(committed) for path in committed.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in names if (committed / name).read_bytes() != (tmp_path / name).read_bytes()] == []


def test_the_embedded_data_stays_small(root: Path) -> None:
    sizes = [path.stat().st_size for path in (root / "data").rglob("*") if path.is_file()]
    assert max(sizes) < 5_000_000
    assert sum(sizes) < 12_000_000


@pytest.mark.parametrize(("name", "drift_at_border"), [("llama2-style/legacy", 1), ("llama2-style/non-legacy", 0)])
def test_llama2_drift_is_one_a_border_in_legacy_and_none_else(
    dialogues: list[Dialogue], name: str, drift_at_border: int
) -> None:
    tokenizer, prompts = load(name), 0
    for dialogue in dialogues:
        if dialogue.labels["kind"] == "special-tokens":
            continue
        for turn, prompt in prompts_of(dialogue, ChatPromptMetaLlamaLlama2Chat):
            text = prompt.create_prompt()
            echo = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True)
            borders = text.count("</s><s>")
            assert borders == turn - 1 or dialogue.labels["kind"] == "empty"
            assert len(echo) - len(text.replace("<s>", "").replace("</s>", "")) == drift_at_border * borders, (
                dialogue.id
            )
            prompts += 1
    assert prompts > 4000


def test_the_two_llama2_revisions_differ_in_the_legacy_switch_alone() -> None:
    legacy, other = (tokenizer_path(f"llama2-style/{name}") for name in ("legacy", "non-legacy"))
    assert differences(legacy / "tokenizer.json", other / "tokenizer.json") == {
        "/pre_tokenizer/prepend_scheme": ("always", "first")
    }
    assert differences(legacy / "tokenizer_config.json", other / "tokenizer_config.json") == {"/legacy": (True, False)}
    assert (legacy / "tokenizer.model").read_bytes() == (other / "tokenizer.model").read_bytes()


def test_tokenizer_json_gives_the_ids_of_the_sentencepiece_model(dialogues: list[Dialogue]) -> None:
    tokenizer = load("llama2-style/legacy")
    reference = SentencePieceProcessor(model_file=str(tokenizer_path("llama2-style/legacy") / "tokenizer.model"))
    compared = 0
    for dialogue in dialogues:
        for turn in dialogue.turns:
            for text in (turn.user, turn.assistant or ""):
                # transformers 5 gives no dummy prefix to a text that begins with a space.
                if dialogue.labels["kind"] != "special-tokens" and not text.startswith((" ", "▁")):
                    assert tokenizer.encode(text, add_special_tokens=False) == reference.encode(text), repr(text)
                    compared += 1
    assert compared > 8000


def test_the_sentencepiece_model_is_set_like_llama2() -> None:
    processor = SentencePieceProcessor(model_file=str(tokenizer_path("llama2-style/legacy") / "tokenizer.model"))
    pieces = [processor.id_to_piece(token_id) for token_id in range(len(processor))]
    assert pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert [processor.is_byte(token_id) for token_id in range(3, 259)] == [True] * 256
    assert processor.encode("a  é 12 ", out_type=str) == ["▁a", "▁▁", "é", "▁", "1", "2", "▁"]
    assert processor.decode(processor.encode("  two  spaces kept 𩸽")) == "  two  spaces kept 𩸽"


def test_no_piece_joins_a_space_to_japanese() -> None:
    pieces = load("llama2-style/legacy").get_vocab()
    assert [
        piece
        for piece in pieces
        if piece.startswith("▁") and not piece.strip("▁").isascii() and piece.strip("▁")[0] > "\u2e80"
    ] == []


def test_a_japanese_reply_extends_the_prompt_ids() -> None:
    tokenizer, prompt = load("llama2-style/legacy"), "<s>[INST] 首都は? [/INST] "
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    whole = tokenizer.encode(prompt + "東京です。", add_special_tokens=False)
    assert whole[: len(ids)] == ids
    assert tokenizer.convert_ids_to_tokens(whole[len(ids)])[0] == "東"


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_the_phi3_pair_differs_in_twelve_booleans(file: str) -> None:
    before, after = (tokenizer_path(f"phi3-style/{name}") / file for name in ("before", "after"))
    changed = differences(before, after)
    by_flag = {
        flag: [values for key, values in changed.items() if key.endswith(flag)] for flag in ("rstrip", "special")
    }
    assert by_flag == {"rstrip": [(False, True)] * 11, "special": [(True, False)]}
    assert len(changed) == 12


def test_phi3_newlines_behind_markers_vanish_after_the_change() -> None:
    before, after = (load(f"phi3-style/{name}") for name in ("before", "after"))
    assert before.decode(before.encode(PHI3_PROMPT)) == PHI3_PROMPT.replace("\n", " \n")
    assert (
        after.decode(after.encode(PHI3_PROMPT))
        == "<|user|> Hi<|end|><|assistant|> Hello.<|end|><|user|> Who?<|end|><|assistant|>"
    )
    newline = before.convert_tokens_to_ids("<0x0A>")
    assert before.encode(PHI3_PROMPT).count(newline) == 7
    assert after.encode(PHI3_PROMPT).count(newline) == 0


def test_phi3_plain_text_does_not_show_the_change(dialogues: list[Dialogue]) -> None:
    before, after = (load(f"phi3-style/{name}") for name in ("before", "after"))
    for dialogue in dialogues[:200]:
        assert before.encode(dialogue.turns[0].user) == after.encode(dialogue.turns[0].user)


@pytest.mark.parametrize("name", tokenizer_names())
def test_autotokenizer_reads_what_the_raw_file_says(name: str) -> None:
    raw = Tokenizer.from_file(str(tokenizer_path(name) / "tokenizer.json"))
    text = "Hello, [world]! 東京です。 12 + 30"
    assert load(name).encode(text) == raw.encode(text).ids


def test_byte_bpe_gives_every_message_back(dialogues: list[Dialogue]) -> None:
    tokenizer = load("byte-bpe")
    for dialogue in dialogues:
        for turn in dialogue.turns:
            text = turn.assistant or ""
            assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("name", "text", "echo"),
    [
        ("unigram", "ﬁne  ＡＢ Ⅳ", "fine AB IV"),
        ("unigram", "the 𩸽 fish", "the <unk> fish"),
        ("wordpiece", "Café au lait .", "cafe au lait."),
        ("wordpiece", "the 𩸽 fish", "the [UNK] fish"),
    ],
)
def test_the_lossy_families_lose_what_they_are_known_for(name: str, text: str, echo: str) -> None:
    tokenizer = load(name)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == echo


def test_the_llama2_template_writes_what_the_prompt_class_writes() -> None:
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.set_system_prompt("Be brief.")
    prompt.add_requester_msg("Hi")
    prompt.add_responder_msg("Hello!")
    prompt.add_requester_msg("東京?")
    chat = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "東京?")]
    messages = [{"role": role, "content": content} for role, content in chat]
    assert load("llama2-style/legacy").apply_chat_template(messages, tokenize=False) == prompt.create_prompt()


@pytest.mark.parametrize("name", ["phi3-style/before", "byte-bpe"])
def test_the_other_templates_end_where_the_reply_begins(name: str) -> None:
    prompt = load(name).apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt in {"<|user|>\nHi<|end|>\n<|assistant|>\n", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"}


def test_the_models_tokenizer_is_the_legacy_one() -> None:
    for file in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        assert (model_path() / file).read_bytes() == (tokenizer_path("llama2-style/legacy") / file).read_bytes()
