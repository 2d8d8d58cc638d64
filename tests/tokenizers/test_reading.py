"""A folder is read as its files say: which class, which file, which switch; and whatever lies in it, nothing but a typed error."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError, EncodeError, TokenizerLoadError
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from chatlab.tokenizers.loaders import Loader
from chatlab.tokenizers.source import is_tokenizer_file
from tests.tokenizers.samples import train

LEGACY = tokenizer_path("llama2-style/legacy")
MODEL = LEGACY / "tokenizer.model"
BORDER = "a</s><s>b"


def config(folder: Path, **values: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **values}))


# -- one word for one thing ----------------------------------------------------------------------------------


def test_raw_and_tokenizers_are_one_loader() -> None:
    assert Loader("raw") is Loader.of("tokenizers") is Loader.TOKENIZERS == "tokenizers"
    assert load_tokenizer(LEGACY, loader="raw").loader == "tokenizers"


@pytest.mark.parametrize("loader", ["", "rust", None, 5, ["auto"], {}])
def test_another_word_is_refused_with_the_list(loader: Any) -> None:
    with pytest.raises(TokenizerLoadError, match=r"give one of auto, transformers.*llama\.cpp"):
        load_tokenizer(LEGACY, loader=loader)


# -- a folder without its config -----------------------------------------------------------------------------


@pytest.mark.real
def test_a_trained_llama_without_a_tokenizer_config_is_read_as_sentencepiece_does(real: Path) -> None:
    tokenizer = load_tokenizer(real / "stories260k")
    assert tokenizer.encode("Once upon a time") == [403, 407, 261, 378]
    reference = SentencePieceProcessor(model_file=str(real / "stories260k/tokenizer.model"))
    assert tokenizer.encode(" Lily's  dog ") == reference.encode(" Lily's  dog ")


@pytest.mark.parametrize("model_type", ["llama", "mistral", "of_next_year", "gpt2", "bert"])
def test_a_model_file_beside_a_config_alone_keeps_its_dummy_prefix(model_type: str, tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path)
    config(tmp_path, model_type=model_type)
    reference = SentencePieceProcessor(model_file=str(MODEL))
    for legacy in (None, True, False):
        tokenizer = load_tokenizer(tmp_path, legacy=legacy)
        assert tokenizer.encode("the dog") == reference.encode("the dog")
        assert (tokenizer.piece(tokenizer.encode(BORDER)[-1]) == "\u2581b") == (legacy is not False)


def test_a_switch_that_the_class_does_not_take_is_refused(tmp_path: Path) -> None:
    shutil.copy(tokenizer_path("byte-bpe") / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(TokenizerLoadError, match="has no legacy switch"):
        load_tokenizer(tmp_path, legacy=True)


# -- every file that counts loads ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model.v3", "mistral.model.v7m1", "x.model"]
)
def test_a_model_of_another_name_is_read(name: str, tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / name)
    assert is_tokenizer_file(name)
    for source in (tmp_path, tmp_path / name):
        assert load_tokenizer(source).encode(BORDER) == load_tokenizer(MODEL).encode(BORDER)


def test_a_unigram_model_alone_is_read_by_sentencepiece(tmp_path: Path) -> None:
    processor = train(byte_fallback=True)
    (tmp_path / "spiece.model").write_bytes(processor.serialized_model_proto())
    assert load_tokenizer(tmp_path).encode("the quick fox") == processor.encode("the quick fox")


def test_several_models_are_named_and_tokenizer_model_wins(tmp_path: Path) -> None:
    for name in ("a.model", "b.model.v3"):
        shutil.copy(MODEL, tmp_path / name)
    with pytest.raises(TokenizerLoadError, match=r"a\.model, b\.model\.v3.*give the file itself"):
        load_tokenizer(tmp_path)
    shutil.copy(MODEL, tmp_path)
    assert load_tokenizer(tmp_path).encode("the dog") == load_tokenizer(MODEL).encode("the dog")


# -- JSON as people save it ----------------------------------------------------------------------------------

ENCODINGS = ["utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("loader", ["auto", "tokenizers"])
def test_json_in_another_encoding_is_read_or_named(encoding: str, name: str, loader: str, tmp_path: Path) -> None:
    shutil.copytree(LEGACY, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / name).read_text(encoding="utf-8") if (tmp_path / name).exists() else '{"model_type": "llama"}'
    (tmp_path / name).write_text(text, encoding=encoding)
    refused = ""
    try:
        assert load_tokenizer(tmp_path, loader=loader).encode("the dog")
    except TokenizerLoadError as error:
        refused = str(error)
    assert not refused or str(tmp_path) in refused


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "tekken.json"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_without_end_is_a_typed_error(name: str, opening: str, tmp_path: Path) -> None:
    if name != "tekken.json":
        shutil.copytree(LEGACY, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_text(opening * 100_000)
    with pytest.raises(TokenizerLoadError):
        load_tokenizer(tmp_path)


# -- patterns of strangers -----------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Tokenizer:
    """A pipeline whose pattern backtracks without end on a run of one letter."""
    rust = RustTokenizer.from_file(str(tokenizer_path("byte-bpe") / "tokenizer.json"))
    rust.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    rust.save(str(tmp_path / "tokenizer.json"))
    return load_tokenizer(tmp_path / "tokenizer.json")


def test_a_panic_of_rust_in_encoding_is_a_typed_error(hostile: Tokenizer) -> None:
    text = "a" * 60 + "b"
    for call in (hostile.encode, hostile.encode_spans, lambda t: hostile.encode_batch([t])):
        with pytest.raises(EncodeError, match="fails on this text"):
            call(text)
    assert hostile.encode("ab")


@pytest.mark.parametrize("text", [5, None, b"a", ["a"]])
def test_what_is_no_text_is_a_typed_error(text: Any) -> None:
    with pytest.raises(EncodeError, match="give a string"):
        load_tokenizer(LEGACY).encode(text)


# -- the back end that transformers takes from mistral-common ------------------------------------------------


def test_the_back_end_of_mistral_common_is_a_tokenizer_like_others() -> None:
    """Its ``added_tokens_decoder`` is a method, and it keeps no added tokens."""
    import mistral_common
    from transformers import MistralCommonBackend

    from chatlab.echo.trace import trace_echo

    file = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    backend = MistralCommonBackend(tokenizer_path=str(file))
    tokenizer, text = as_tokenizer(backend), "caf\u00e9 \u6771\u4eac \U0001f336"
    assert tokenizer.encode(text) == load_tokenizer(file).encode(text)
    assert trace_echo(backend, text).edits == ()
    assert tokenizer.change("added_token_flags", {"rstrip": True}) is None


# -- code that a folder brings along -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json"])
def test_code_of_a_folder_is_not_run_and_nothing_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    auto_map = {"AutoTokenizer": ["evil.Evil", None], "AutoConfig": "evil.EvilConfig"}
    (tmp_path / name).write_text(
        json.dumps({"auto_map": auto_map, "tokenizer_class": "Evil", "model_type": "of_next_year"})
    )
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(TokenizerLoadError, match=rf"{name} names code of its own, evil\.Evil.*trust_remote_code=True"):
        load_tokenizer(tmp_path)
    assert not canary.exists()
    assert sys.stdin.read() == "y\n" * 9


# -- the door ------------------------------------------------------------------------------------------------

NAMES = ["tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja", "x.model", "merges.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_out_of_the_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_text("sk-secret")
    shutil.copytree(LEGACY, folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(TokenizerLoadError, match="is a link out of its folder") as caught:
        load_tokenizer(folder)
    assert name in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_regular_file_is_not_opened(name: str, tmp_path: Path) -> None:
    shutil.copytree(LEGACY, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(TokenizerLoadError, match="no regular file"):
        load_tokenizer(tmp_path)
    if name.endswith(("json", "model")):
        with pytest.raises(TokenizerLoadError, match="no regular file"):
            load_tokenizer(tmp_path / name)


def test_links_within_a_folder_and_into_the_hubs_own_blobs_are_followed(tmp_path: Path) -> None:
    within = tmp_path / "within"
    shutil.copytree(LEGACY, within)
    (within / "tokenizer.model").rename(within / "kept.bin")
    (within / "tokenizer.model").symlink_to("kept.bin")
    assert load_tokenizer(within, loader="sentencepiece").encode("the dog")
    snapshot = tmp_path / "models--we--x" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir()
    for file in LEGACY.iterdir():
        shutil.copy(file, blobs / f"{file.name}-hash")
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}-hash")
    assert load_tokenizer(snapshot).encode("the dog") == load_tokenizer(LEGACY).encode("the dog")
    other = tmp_path / "models--we--y" / "blobs"
    other.mkdir(parents=True)
    shutil.move(str(blobs / "tokenizer.json-hash"), other / "theirs")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(other / "theirs")
    with pytest.raises(TokenizerLoadError, match="is a link out of its folder"):
        load_tokenizer(snapshot)


# -- anything at all -----------------------------------------------------------------------------------------

FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tekken.json", "x.tiktoken"]
FILES += [
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "model.gguf",
    "chat_template.jinja",
]
JUNK = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"{}", b"[]", b"null", b"5", b'"x"', b'{"model": 5}', b'{"added_tokens": [5]}', b"GGUF\x03\0\0\0"]
    ),
    st.sampled_from(
        [b'{"tokenizer_class": 5}', b'{"auto_map": 5}', b'{"auto_map": {"AutoTokenizer": 5}}', b"IQ== 0\n"]
    ),
)


@given(
    files=st.dictionaries(st.sampled_from(FILES), JUNK, max_size=5), whole=st.sampled_from([(), FILES[:3], FILES[:4]])
)
@settings(max_examples=30)
def test_random_bytes_in_a_folder_make_a_tokenizer_or_a_typed_error(
    files: dict[str, bytes], whole: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("junk")
    for name in whole:
        if (LEGACY / name).is_file():
            shutil.copy(LEGACY / name, folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for loader in ("auto", "sentencepiece"):
        try:
            tokenizer = load_tokenizer(folder, loader=loader)
            tokenizer.decode(tokenizer.encode("the dog"))
        except ChatlabError:
            pass
