"""From what a user writes to a tokenizer, or to an error that names the thing and the way out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer, ByT5Tokenizer

from chatlab.embedded import tokenizer_names, tokenizer_path
from chatlab.errors import OfflineError, RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.render import readable
from chatlab.tokenizers.fast import FastTokenizer
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer
from chatlab.tokenizers.slow import SlowTokenizer
from chatlab.tokenizers.source import UnpinnedWarning

# The hub tests fill the cache by hand, without the listing that a download leaves.
pytestmark = pytest.mark.filterwarnings("ignore:offline, and no listing of this commit is kept")

LEGACY = tokenizer_path("llama2-style/legacy")
NON_LEGACY = tokenizer_path("llama2-style/non-legacy")
BORDER = "a</s><s>b"


def has_prefix_at_border(tokenizer: Tokenizer) -> bool:
    return tokenizer.piece(tokenizer.encode(BORDER)[-1]) == "\u2581b"


@pytest.fixture
def model_alone(tmp_path: Path) -> Path:
    """A folder with nothing but tokenizer.model."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(LEGACY / "tokenizer.model", folder)
    return folder


# -- what reads what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "loader", "read_by"),
    [
        ("", "auto", "transformers"),
        ("", "transformers", "transformers"),
        ("", "tokenizers", "tokenizers"),
        ("", "sentencepiece", "sentencepiece"),
        ("tokenizer.json", "auto", "tokenizers"),
        ("tokenizer.json", "tokenizers", "tokenizers"),
        ("tokenizer.json", "transformers", "transformers"),
        ("tokenizer.model", "auto", "sentencepiece"),
        ("tokenizer.model", "sentencepiece", "sentencepiece"),
        ("tokenizer.model", "transformers", "transformers"),
    ],
)
def test_each_loader_reads_what_it_is_given(file: str, loader: Any, read_by: str) -> None:
    tokenizer = load_tokenizer(LEGACY / file, loader=loader)
    assert tokenizer.loader == read_by
    assert read_by in tokenizer.versions
    assert tokenizer.encode(BORDER)[:3] == [260, 2, 1]


@pytest.mark.parametrize("name", tokenizer_names())
def test_a_lone_json_is_read_as_it_is_by_either_library(name: str) -> None:
    """No class may be guessed for it: LlamaTokenizer would read a byte-level file without its spaces."""
    raw, auto = (
        load_tokenizer(tokenizer_path(name) / "tokenizer.json", loader=x) for x in ("tokenizers", "transformers")
    )
    text = "Hello world, \u6771\u4eac</s><s> [INST]"
    assert auto.encode(text) == raw.encode(text)
    assert auto.decode(auto.encode(text)) == raw.decode(raw.encode(text))


def test_a_bare_model_is_read_the_legacy_way_unless_told_otherwise(model_alone: Path) -> None:
    for source in (model_alone, model_alone / "tokenizer.model"):
        assert load_tokenizer(source).loader == "sentencepiece"
        assert has_prefix_at_border(load_tokenizer(source))
        assert has_prefix_at_border(load_tokenizer(source, legacy=True))
        assert not has_prefix_at_border(load_tokenizer(source, legacy=False))


def test_the_legacy_switch_reaches_transformers(model_alone: Path) -> None:
    assert has_prefix_at_border(load_tokenizer(model_alone, loader="transformers", legacy=True))
    assert not has_prefix_at_border(load_tokenizer(model_alone, loader="transformers", legacy=False))
    assert has_prefix_at_border(load_tokenizer(LEGACY))
    assert not has_prefix_at_border(load_tokenizer(LEGACY, legacy=False))
    assert has_prefix_at_border(load_tokenizer(NON_LEGACY, legacy=True))


@pytest.mark.parametrize(
    ("source", "loader"),
    [(LEGACY, "tokenizers"), (LEGACY / "tokenizer.json", "auto"), (LEGACY / "tokenizer.json", "transformers")],
)
def test_a_legacy_switch_that_nothing_reads_is_an_error_not_ignored(source: Path, loader: Any) -> None:
    with pytest.raises(TokenizerLoadError, match="no legacy switch"):
        load_tokenizer(source, loader=loader, legacy=True)


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", ["auto", "transformers", "tokenizers", "sentencepiece"])
def test_a_name_tells_revisions_apart_and_no_folder_of_the_machine(
    loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_tokenizer(LEGACY, loader=loader).name == "llama2-style/legacy"
    here = tmp_path / "one" / "two"
    shutil.copytree(LEGACY, here)
    monkeypatch.chdir(here)
    assert load_tokenizer(".", loader=loader).name == "one/two"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_tokenizer("~/one/two", loader=loader).name == "one/two"


def test_a_loaded_object_is_not_named_by_its_absolute_path(tmp_path: Path) -> None:
    assert as_tokenizer(AutoTokenizer.from_pretrained(LEGACY)).name == "llama2-style/legacy"
    gone = tmp_path / "a" / "b"
    shutil.copytree(LEGACY, gone)
    auto = AutoTokenizer.from_pretrained(gone)
    shutil.rmtree(gone)
    assert as_tokenizer(auto).name == "a/b"


# -- what is not there, or broken ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["nowhere/at/all", "./nowhere", "nowhere.json", "x/tokenizer.model", "/nowhere", "~nobody_/x", "a\0b", "x" * 5000, "a b", ""])  # fmt: skip
def test_a_missing_path_is_named(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFound, match=r"no tokenizer( file)? (at|in) ") as caught:
        load_tokenizer(source)
    assert readable(source[:20]) in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("loader", ["auto", "transformers", "tokenizers", "sentencepiece"])
def test_an_empty_folder_is_named_with_what_it_lacks(loader: Any, empty_folder: Path) -> None:
    with pytest.raises(SourceNotFound, match=f"no tokenizer file in {empty_folder}: expected tokenizer.json"):
        load_tokenizer(empty_folder, loader=loader)


@pytest.mark.parametrize(("loader", "wanted"), [("tokenizers", "tokenizer.json"), ("sentencepiece", "tokenizer.model")])
def test_a_loader_whose_file_is_not_there_names_it(loader: Any, wanted: str, empty_folder: Path) -> None:
    other = {"tokenizer.json": "tokenizer.model", "tokenizer.model": "tokenizer.json"}[wanted]
    shutil.copy(LEGACY / other, empty_folder)
    with pytest.raises(SourceNotFound, match=f"no {wanted} in {empty_folder}"):
        load_tokenizer(empty_folder, loader=loader)


@pytest.mark.parametrize("loader", ["auto", "transformers", "tokenizers"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b"[1]", b'{"model": {"type": "BPE"}}'])
def test_a_broken_json_is_named_with_the_library_and_its_reason(
    loader: Any, content: bytes, empty_folder: Path
) -> None:
    (empty_folder / "tokenizer.json").write_bytes(content)
    for source in (empty_folder, empty_folder / "tokenizer.json"):
        with pytest.raises(TokenizerLoadError, match=f"{source} did not load with (transformers|tokenizers): \\w+"):
            load_tokenizer(source, loader=loader)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_is_named(content: bytes, empty_folder: Path) -> None:
    (empty_folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(TokenizerLoadError, match=f"{empty_folder} did not load with sentencepiece: "):
        load_tokenizer(empty_folder)


@pytest.mark.parametrize(
    "config", ['{"tokenizer_class": "LlamaTokenizer"}', '{"tokenizer_class": "GPT2Tokenizer"}', "{}"]
)
def test_a_config_without_a_vocabulary_is_no_tokenizer(config: str, empty_folder: Path) -> None:
    """transformers makes one of it, which reads every text as nothing."""
    (empty_folder / "tokenizer_config.json").write_text(config)
    with pytest.raises(TokenizerLoadError, match=str(empty_folder)):
        load_tokenizer(empty_folder)


# -- the hub -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "0" * 40])
def test_a_hub_id_without_the_hub_says_what_to_do(revision: str | None) -> None:
    with pytest.raises(OfflineError, match="hub cannot be reached.*folder of a copy.*hf download no/such") as caught:
        load_tokenizer("no/such", revision)
    assert f"--revision {revision or 'main'}" in str(caught.value)


@pytest.mark.parametrize("revision", ["", "../../x", "a/../b", "-x", "a b", "x\n", "/etc", "a" * 300])
def test_a_malformed_revision_is_refused_before_anything_is_asked(revision: str) -> None:
    with pytest.raises(RevisionError):
        load_tokenizer("no/such", revision)


@pytest.mark.parametrize("source", [LEGACY, LEGACY / "tokenizer.json", LEGACY / "tokenizer.model"])
def test_a_plain_path_has_no_revisions(source: Path) -> None:
    with pytest.raises(RevisionError):
        load_tokenizer(source, "nosuchbranch")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put_in_cache(cache: Path, repo: str, files: dict[str, bytes]) -> None:
    folder = cache / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        file = folder / "snapshots" / ("0" * 40) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)


def test_a_cached_hub_id_loads_offline_by_branch_and_by_commit(hub_cache: Path) -> None:
    put_in_cache(hub_cache, "we/cached", {p.name: p.read_bytes() for p in LEGACY.iterdir()})
    assert has_prefix_at_border(load_tokenizer("we/cached", "0" * 40))
    assert not has_prefix_at_border(load_tokenizer("we/cached", "0" * 40, legacy=False))
    with pytest.warns(UnpinnedWarning, match="'main' of we/cached is a name that can move.*'0{40}'"):
        assert load_tokenizer("we/cached").name == "we/cached"


@pytest.mark.parametrize("loader", ["transformers", "tokenizers", "sentencepiece"])
def test_a_hub_id_is_read_by_the_loader_that_was_asked_for(loader: Any, hub_cache: Path) -> None:
    put_in_cache(hub_cache, "we/cached", {p.name: p.read_bytes() for p in LEGACY.iterdir()})
    assert load_tokenizer("we/cached", "0" * 40, loader=loader).loader == loader


@pytest.mark.parametrize("files", [{"config.json": b'{"model_type": "llama"}'}, {"tokenizer.json": b"{", "config.json": b'{"model_type": "llama"}'}])  # fmt: skip
def test_broken_cached_files_are_not_taken_for_a_missing_network(hub_cache: Path, files: dict[str, bytes]) -> None:
    put_in_cache(hub_cache, "we/broken", files)
    with pytest.raises(TokenizerLoadError, match="we/broken") as caught:
        load_tokenizer("we/broken", "0" * 40)
    assert not isinstance(caught.value, OfflineError)


# -- whatever a user holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: LEGACY, FastTokenizer),
        (lambda: str(LEGACY), FastTokenizer),
        (lambda: AutoTokenizer.from_pretrained(LEGACY), FastTokenizer),
        (lambda: RustTokenizer.from_file(str(LEGACY / "tokenizer.json")), FastTokenizer),
        (lambda: SentencePieceProcessor(model_file=str(LEGACY / "tokenizer.model")), SentencePieceTokenizer),
        (lambda: ByT5Tokenizer(), SlowTokenizer),
        (lambda: SlowTokenizer(ByT5Tokenizer()), SlowTokenizer),
    ],
)
def test_each_kind_of_object_gets_its_adapter(made: Any, kind: type[Tokenizer]) -> None:
    held = made()
    adapter = as_tokenizer(held)
    assert isinstance(adapter, kind)
    assert as_tokenizer(adapter) is adapter
    assert (adapter is held) == isinstance(held, Tokenizer)


@pytest.mark.parametrize("wrong", [None, 3, object(), b"gpt2", ["a"], RustTokenizer, lambda text: [1]])
def test_any_other_object_is_refused_by_its_type(wrong: object) -> None:
    with pytest.raises(TokenizerLoadError, match=f"{type(wrong).__name__} is no tokenizer that chatlab knows: give an"):
        as_tokenizer(wrong)


@pytest.mark.parametrize(
    ("source", "revision", "loader", "names"),
    [
        (None, None, "auto", "the source is None"),
        (5, None, "auto", "the source is 5"),
        (b"x", None, "auto", "the source is b'x'"),
        (LEGACY, 5, "auto", "revision is 5"),
        (LEGACY, None, "foo", "loader is 'foo'"),
        (LEGACY, None, None, "loader is None"),
    ],
)
def test_a_wrong_type_is_a_typed_error_that_names_the_argument(source: Any, revision: Any, loader: Any, names: str):
    """No hub is asked for a repository called None."""
    with pytest.raises(TokenizerLoadError, match=f"^{names}"):
        load_tokenizer(source, revision, loader=loader)
