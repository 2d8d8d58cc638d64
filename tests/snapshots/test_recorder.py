"""The file that writes snapshots: alone, the same everywhere, and with an answer for what cannot be read."""

from __future__ import annotations

import ast
import json
import logging
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import sentencepiece

from chatlab.embedded import tokenizer_path
from chatlab.snapshots import recorder
from chatlab.snapshots.corpus import probe_corpus, static_probes
from chatlab.tokenizers import source
from tests.support.injections import BASES, copy_of

SOURCE = Path(recorder.__file__)


def record(folder: Path, **request: object) -> dict:
    return recorder.record({"folder": str(folder), "corpus": probe_corpus(), **request})


def test_it_imports_only_the_standard_library_at_its_top():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    names = {a.name.split(".")[0] for n in tree.body if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names | {"__future__"}


def test_it_never_imports_chatlab():
    imported = [
        n for n in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom | ast.Import)
    ]
    assert not [n for n in imported if "chatlab" in ast.unparse(n)]


@pytest.mark.parametrize("base", BASES)
def test_equal_files_in_another_folder_give_a_byte_identical_record(base, tmp_path):
    copy = copy_of(base, tmp_path / "some" / "where" / "else")
    assert recorder.canonical(record(tokenizer_path(base))) == recorder.canonical(record(copy))


def test_another_process_writes_the_same_bytes(tmp_path):
    """Hash randomization, another cwd and another import order change nothing."""
    folder = tokenizer_path("phi3-style/before")
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    request.write_text(json.dumps({"folder": str(folder), "corpus": probe_corpus()}))
    subprocess.run(
        [sys.executable, "-P", str(SOURCE), str(request), str(result)],
        check=True,
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "7", "HF_HUB_OFFLINE": "1"},
    )
    assert result.read_text() == recorder.canonical(record(folder))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("base", BASES)
def test_a_record_names_no_place(base, tmp_path):
    folder = copy_of(base, tmp_path / "unmistakable")
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    assert "unmistakable" not in recorder.canonical(record(folder))


def test_about_five_hundred_probes_half_of_them_of_added_tokens_and_chats():
    view = record(tokenizer_path("phi3-style/before"), loaders=["auto"])["views"]["auto"]
    families = Counter(p["family"] for p in view["probes"].values())
    total = sum(families.values()) + len(view["chats"]) + len(view["sequences"])
    assert 460 <= total <= 560
    assert families["added"] + len(view["chats"]) + families["turns"] >= total / 2


def test_static_probes_have_unique_labels_and_a_family():
    probes = static_probes()
    assert len({p.label for p in probes}) == len(probes)
    assert {p.family for p in probes} >= {"whitespace", "digits", "scripts", "code", "clean-up", "bytes", "markers"}


def test_the_corpus_is_what_its_script_writes(root, tmp_path):
    (tmp_path / "data").mkdir()
    script = shutil.copy(root / "data" / "make_probes.py", tmp_path / "data")
    subprocess.run([sys.executable, script], check=True, capture_output=True)
    assert (tmp_path / "data" / "probes" / "corpus.json").read_bytes() == (
        root / "data" / "probes" / "corpus.json"
    ).read_bytes()


def test_the_files_fetched_are_the_files_recorded():
    assert set(recorder.FILE_PATTERNS) == {*source.FILE_PATTERNS, "*.gguf"}


def test_a_lone_surrogate_is_an_error_of_that_probe_alone():
    probes = record(tokenizer_path("byte-bpe"), loaders=["auto"])["views"]["auto"]["probes"]
    failed = [label for label, p in probes.items() if "error" in p]
    assert failed == ["bytes/lone-surrogate"]


def test_a_file_that_is_no_json_is_an_error_of_the_view(tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    result = record(folder)
    assert "error" in result["views"]["raw"]
    assert "unreadable" in result["documents"]["tokenizer.json"]


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer file"):
        record(tmp_path)


def test_our_reading_of_a_sentencepiece_model_equals_the_library():
    path = tokenizer_path("llama2-style/legacy") / "tokenizer.model"
    tables = recorder.Tables()
    document = recorder.read_sentencepiece(path.read_bytes(), tables)
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [library.id_to_piece(i) for i in range(library.vocab_size())]
    assert tables[document["model"]["vocab"]] == {piece: i for i, piece in enumerate(pieces)}
    assert tables[document["model"]["scores"]] == [library.get_score(i) for i in range(library.vocab_size())]
    assert {p for p, kind in document["kinds"].items() if kind == "control"} == {
        p for i, p in enumerate(pieces) if library.is_control(i)
    }
    assert document["specials"] == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_truncated_sentencepiece_model_is_unreadable_not_half_read(cut, tmp_path):
    folder = copy_of("llama2-style/legacy", tmp_path / "t")
    data = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").write_bytes(data[: len(data) - cut])
    assert "unreadable" in record(folder, loaders=["raw"])["documents"]["tokenizer.model"]


def test_the_parsed_backend_equals_plain_json():
    text = (tokenizer_path("byte-bpe") / "tokenizer.json").read_text(encoding="utf-8")
    tables, plain = recorder.Tables(), recorder.Tables()
    expected = json.loads(text)
    compact = json.dumps(expected, separators=(",", ":"))
    expected["model"] = plain.model(expected["model"])
    assert recorder.parse_backend(compact, tables) == expected
    assert tables == plain


def test_a_clock_in_a_template_stands_still(tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y-%m-%d') }} {{ messages[0]['content'] }}")
    chats = record(folder, loaders=["auto", "raw"])["views"]
    assert chats["auto"]["chats"]["chat/turns-1"]["text"] == "2024-05-02 Hi"
    assert chats["raw"]["chats"]["chat/turns-1"]["text"] == "2024-05-02 Hi"


def test_the_jinja_file_shadows_the_template_of_the_config(tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / "chat_template.jinja").write_text("own {{ messages[0]['content'] }}")
    view = record(folder, loaders=["auto"])["views"]["auto"]
    assert (view["template"]["source"], view["template"]["text"]) == (
        "chat_template.jinja",
        "own {{ messages[0]['content'] }}",
    )


def test_threads_that_record_at_once_give_the_clock_and_the_log_back():
    from transformers.utils import chat_template_utils

    before = chat_template_utils.datetime, logging.getLogger("transformers").level
    entered, left = threading.Event(), threading.Event()

    def second():
        with recorder.quiet():
            entered.set()
            left.wait(5)

    thread = threading.Thread(target=second)
    with recorder.quiet():
        thread.start()
        entered.wait(0.2)
    left.set()
    thread.join()
    assert (chat_template_utils.datetime, logging.getLogger("transformers").level) == before
