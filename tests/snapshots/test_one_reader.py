"""What ``load_tokenizer`` gives is what a snapshot records, for every way in which files can lie (law L5)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.snapshots import recorder
from chatlab.snapshots.corpus import probe_corpus
from chatlab.snapshots.gguf_document import document_of
from chatlab.snapshots.snapshot import snapshot
from chatlab.tokenizers.load import load_tokenizer
from tests.support.bytewise import write_tekken, write_tiktoken
from tests.support.injections import BASES

MODEL = "tokenizer.model"


def differing(source: Path, loader: str = "auto", ours: str = "auto", **options: object) -> list[str]:
    """Labels of the probes on which a snapshot's view and ``load_tokenizer`` give other ids or another text."""
    tokenizer = load_tokenizer(source, loader=ours, **options)
    view = snapshot(source, loader, options=options).view(loader)
    rows = [(label, row) for part in ("probes", "chats") for label, row in view[part].items() if "ids" in row]
    assert len(rows) > 200
    # The flag that cleans decoded text up is a part of transformers' call, and of the adapter's.
    return [
        label
        for label, row in rows
        if tokenizer.encode(row["text"]) != row["ids"]
        or tokenizer.decode(row["ids"], skip_special_tokens=False) != row["keep"]
    ]


@pytest.mark.parametrize("base", BASES)
def test_a_folder_is_read_alike(base):
    assert differing(tokenizer_path(base)) == []


def bare(folder: Path) -> Path:
    return Path(shutil.copy(tokenizer_path("llama2-style/legacy") / MODEL, folder))


def alone(folder: Path) -> Path:
    bare(folder)
    return folder


def beside_a_config(folder: Path) -> Path:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return alone(folder)


def beside_both_configs(folder: Path) -> Path:
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"})
    )
    return beside_a_config(folder)


def lone_json(folder: Path) -> Path:
    return Path(shutil.copy(tokenizer_path("byte-bpe") / "tokenizer.json", folder))


def json_alone(folder: Path) -> Path:
    return lone_json(folder).parent


def tekken_alone(folder: Path) -> Path:
    return write_tekken(folder / "tekken.json").parent


def lone_tekken(folder: Path) -> Path:
    return write_tekken(folder / "tekken.json")


def llama_3_alone(folder: Path) -> Path:
    return write_tiktoken(folder / "tokenizer.model").parent


def ranks_alone(folder: Path) -> Path:
    return write_tiktoken(folder / "qwen.tiktoken").parent


LAID = [bare, alone, beside_a_config, beside_both_configs, lone_json, json_alone]
BYTEWISE = [tekken_alone, lone_tekken, llama_3_alone, ranks_alone]


@pytest.mark.parametrize("laid", [*LAID, *BYTEWISE])
def test_files_that_lie_alone_are_read_alike(laid: Callable[[Path], Path], tmp_path):
    assert differing(laid(tmp_path)) == []


@pytest.mark.parametrize("legacy", [True, False])
def test_a_bare_model_is_read_alike_with_its_switch(legacy, tmp_path):
    assert differing(bare(tmp_path), legacy=legacy) == []
    assert differing(bare(tmp_path), "sentencepiece", "sentencepiece", legacy=legacy) == []


def test_the_recorder_alone_reads_a_bare_model_as_the_program_does(tmp_path):
    """Another library version is asked through the recorder alone."""
    folder = alone(tmp_path)
    taken = snapshot(bare(tmp_path), "auto").record
    request = {"folder": str(folder), "corpus": probe_corpus(), "loaders": ["auto"]}
    assert recorder.canonical(recorder.record(request)["views"]) == recorder.canonical(taken["views"])


@pytest.mark.real
@pytest.mark.parametrize("name", ["llama-2", "mistral/v1", "mistral/v3", "phi-3/before", "phi-3/after", "stories260k"])
def test_a_real_folder_is_read_alike(real, name):
    assert differing(real / name) == []


@pytest.mark.real
@pytest.mark.parametrize("name", ["llama-2", "mistral/v1", "mistral/v3"])
def test_a_real_model_file_is_read_alike(real, name):
    assert differing(real / name / MODEL) == []
    assert differing(real / name / MODEL, "sentencepiece", "sentencepiece") == []


@pytest.mark.real
@pytest.mark.parametrize("name", ["ggml-vocab-llama-spm", "ggml-vocab-falcon"])
def test_a_real_gguf_is_read_alike_and_all_its_fields_are_recorded(real, name):
    path = real / "gguf" / f"{name}.gguf"
    assert differing(path) == []
    (document,) = [d for n, d in snapshot(path).record["documents"].items() if n.endswith(".gguf")]
    assert {"tokenizer.ggml.model", "general.architecture"} <= document["metadata"].keys()
    assert document["kinds"]
    tables = snapshot(path).record["tables"]
    assert len(tables[document["vocab"]]) == load_tokenizer(path).vocab_len


def test_a_gguf_that_is_none_is_an_outcome(tmp_path):
    folder = json_alone(tmp_path)
    (folder / "model.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "unreadable" in snapshot(folder).record["documents"]["model.gguf"]


def test_the_templates_of_a_gguf_are_places_like_others():
    fields = {
        "tokenizer.ggml.tokens": ["<s>", "a"],
        "tokenizer.ggml.token_type": [3, 1],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.chat_template": "hi",
        "tokenizer.chat_template.rag": "rag",
    }
    document = document_of(fields)
    documents = {"model.gguf": document}
    assert recorder.file_templates(documents) == {"default": "hi", "rag": "rag"}
    assert recorder.file_specials(documents) == {"bos_token": "<s>"}
    assert recorder.file_tokens(documents) == {"<s>": -1}
    assert document["metadata"] == {"tokenizer.ggml.bos_token_id": 0}


def test_the_control_tokens_of_a_tekken_are_probed(tmp_path):
    taken = snapshot(tekken_alone(tmp_path))
    assert {"<s>", "</s>", "[INST]", "[/INST]"} <= set(taken.record["tokens"])
    assert taken.view()["probes"]["added/[INST]/alone"]["ids"] == [3]
