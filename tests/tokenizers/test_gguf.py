"""GGUF files: read as the program that runs them, by chatlab's own pipeline and by llama.cpp itself."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from chatlab.echo.trace import trace_echo
from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError, EncodeError, TokenIdError, TokenizerLoadError
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.gguf.fields import read_fields, tokenizer_fields
from chatlab.tokenizers.gguf.pipeline import GgufWarning
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer
from chatlab.tokenizers.loaders import Loader
from tests.tokenizers.samples import TEXT, chat_texts, gguf_fields, write_gguf

MODEL = tokenizer_path("llama2-style/legacy") / "tokenizer.model"
TINY = SentencePieceProcessor(model_file=str(MODEL))
BYTE_BPE = json.loads((tokenizer_path("byte-bpe") / "tokenizer.json").read_text(encoding="utf-8"))
READERS = [Loader.AUTO, Loader.LLAMA_CPP]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded SentencePiece model as a GGUF file."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", gguf_fields(TINY))


@pytest.fixture(scope="module", params=READERS)
def reader(request: pytest.FixtureRequest, gguf: Path) -> Tokenizer:
    return load_tokenizer(gguf, loader=request.param)


@pytest.fixture(scope="module")
def llama_cpp(gguf: Path) -> Tokenizer:
    return load_tokenizer(gguf, loader="llama.cpp")


def byte_level_fields(**more: object) -> dict[str, Any]:
    """What a GGUF file says of the embedded byte-level tokenizer."""
    model, added = BYTE_BPE["model"], {t["id"]: t for t in BYTE_BPE["added_tokens"]}
    tokens = {**{i: t for t, i in model["vocab"].items()}, **{i: t["content"] for i, t in added.items()}}
    assert sorted(tokens) == list(range(len(tokens)))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [tokens[i] for i in range(len(tokens))],
        "tokenizer.ggml.token_type": [3 if i in added else 1 for i in range(len(tokens))],
        "tokenizer.ggml.merges": merges,
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }


# -- the ids of the program that runs the file ---------------------------------------------------------------


def goldens(file: Path) -> list[tuple[str, list[int]]]:
    texts = file.with_name(f"{file.name}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    ids = file.with_name(f"{file.name}.out").read_text(encoding="utf-8").split("\n")
    return [(text, [int(i) for i in line.split()]) for text, line in zip(texts, ids, strict=True)]


@pytest.mark.real
@pytest.mark.parametrize("loader", READERS)
@pytest.mark.parametrize("name", ["llama-spm", "falcon"])
def test_llama_cpps_own_goldens_come_out(name: str, loader: Loader, real: Path) -> None:
    file = real / f"gguf/ggml-vocab-{name}.gguf"
    tokenizer, cases = load_tokenizer(file, loader=loader), goldens(file)
    assert len(cases) == 47
    assert [tokenizer.encode(text) for text, _ in cases] == [ids for _, ids in cases]


@given(text=chat_texts("<s>", "</s>", "<unk>", "[INST]", " [/INST] "))
@settings(max_examples=100)
def test_a_sentencepiece_vocabulary_is_read_as_its_model_file_is(text: str, reader: Tokenizer) -> None:
    """Every segment gets the dummy prefix: SentencePiece, llama.cpp and the folder agree, so the GGUF does too."""
    folder = load_tokenizer(MODEL, loader="sentencepiece")
    # SentencePiece has no text with NUL, and folds and drops white space where this model's normalizer says so.
    if "\0" not in text and TINY.normalize(text) == text.replace(" ", "\u2581").join(["\u2581" if text else "", ""]):
        assert reader.encode(text) == folder.encode(text)


def test_the_embedded_chat_prompts_have_the_ids_of_the_model_file(reader: Tokenizer) -> None:
    folder = load_tokenizer(MODEL, loader="sentencepiece")
    for turns in range(1, 6):
        prompt = "".join(f"<s>[INST] question {n} [/INST] answer {n} </s>" for n in range(turns)) + "<s>[INST] hi"
        assert reader.encode(prompt) == folder.encode(prompt)
        assert reader.encode(prompt, add_special_tokens=True) == folder.encode(prompt, add_special_tokens=True)


@given(text=chat_texts("<|im_start|>", "<|im_end|>", "3333", "\n ="))
def test_the_two_readers_agree_on_a_byte_level_vocabulary(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    own, program = _byte_level_pair(str(tmp_path_factory.getbasetemp()))
    assert own.encode(text) == program.encode(text)


def _byte_level_pair(folder: str, pairs: dict[str, tuple[Tokenizer, Tokenizer]] = {}) -> tuple[Tokenizer, Tokenizer]:  # noqa: B006 (kept on purpose: one pair a run)
    if folder not in pairs:
        file = write_gguf(Path(folder) / "bytes.gguf", byte_level_fields())
        pairs[folder] = load_tokenizer(file), load_tokenizer(file, loader="llama.cpp")
    return pairs[folder]


# -- fields that decide --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", READERS)
def test_a_file_that_adds_no_space_prefix_is_read_without(loader: Loader, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "x.gguf", gguf_fields(TINY, add_space_prefix=False))
    tokenizer = load_tokenizer(file, loader=loader)
    assert tokenizer.piece(tokenizer.encode("the")[0])[0] != "\u2581"
    assert tokenizer.decode(tokenizer.encode("the dog")) == "the dog"


@pytest.mark.parametrize("loader", READERS)
@pytest.mark.parametrize(("kind", "whole"), [(1, False), (3, True), (4, True)])
def test_a_token_is_read_whole_by_its_type(kind: int, whole: bool, loader: Loader, tmp_path: Path) -> None:
    """Control and user-defined pieces are cut out of the text; a normal one that no merge makes is not found."""
    fields = gguf_fields(TINY)
    fields["tokenizer.ggml.tokens"] += ["<think>"]
    fields["tokenizer.ggml.scores"] += [-1000.0]
    fields["tokenizer.ggml.token_type"] += [kind]
    tokenizer = load_tokenizer(write_gguf(tmp_path / "x.gguf", fields), loader=loader)
    new = len(fields["tokenizer.ggml.tokens"]) - 1
    assert (new in tokenizer.encode("a<think>b")) == whole
    assert ("<think>" in tokenizer.special_strs) == (kind == 3)
    assert ("<think>" in tokenizer.decode(tokenizer.encode("a<think>b"))) == (kind != 3)


@pytest.mark.parametrize("adds", [True, False, None])
@pytest.mark.parametrize("loader", READERS)
def test_add_bos_is_heeded(loader: Loader, adds: bool | None, tmp_path: Path) -> None:
    more = {} if adds is None else {"add_bos_token": adds}
    tokenizer = load_tokenizer(write_gguf(tmp_path / "x.gguf", gguf_fields(TINY, **more)), loader=loader)
    assert (tokenizer.encode("a", add_special_tokens=True)[0] == 1) == (adds is not False)


def test_an_unknown_way_of_cutting_is_said_and_the_other_reader_named(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "x.gguf", byte_level_fields(pre="next-year"))
    with pytest.warns(GgufWarning, match=r"tokenizer\.ggml\.pre is 'next-year'.*llama\.cpp"):
        load_tokenizer(file)


def test_control_tokens_outside_the_byte_alphabet_are_control_tokens(tmp_path: Path) -> None:
    """DeepSeek's ``<\uff5cUser\uff5c>`` is written in letters that stand for no byte."""
    fields = byte_level_fields()
    control = fields["tokenizer.ggml.token_type"].index(3)
    fields["tokenizer.ggml.tokens"][control] = "<\uff5cUser\uff5c>"
    file = write_gguf(tmp_path / "x.gguf", fields)
    own, program = (load_tokenizer(file, loader=loader) for loader in READERS)
    assert own.encode("a<\uff5cUser\uff5c>b") == program.encode("a<\uff5cUser\uff5c>b")
    assert control in own.encode("a<\uff5cUser\uff5c>b")


@pytest.mark.parametrize("loader", READERS)
@pytest.mark.parametrize("legacy", [True, False])
def test_a_legacy_switch_is_refused(legacy: bool, loader: Loader, gguf: Path) -> None:
    with pytest.raises(TokenizerLoadError, match="no legacy switch"):
        load_tokenizer(gguf, loader=loader, legacy=legacy)


def test_the_chat_templates_of_the_file_are_there(tmp_path: Path) -> None:
    fields = {**gguf_fields(TINY), "tokenizer.chat_template": "{{ messages[0].content }}"}
    assert (
        load_tokenizer(write_gguf(tmp_path / "one.gguf", fields)).wrapped.chat_template == "{{ messages[0].content }}"
    )
    fields["tokenizer.chat_template.rag"] = "rag"
    several = load_tokenizer(write_gguf(tmp_path / "two.gguf", fields)).wrapped.chat_template
    assert several == {"default": "{{ messages[0].content }}", "rag": "rag"}


def test_a_folder_with_one_gguf_file_is_that_file(gguf: Path, tmp_path: Path) -> None:
    assert load_tokenizer(gguf.parent).encode("the dog") == load_tokenizer(gguf).encode("the dog")
    for name in ("a", "b"):
        write_gguf(tmp_path / f"{name}.gguf", gguf_fields(TINY))
    for loader in READERS:
        with pytest.raises(TokenizerLoadError, match=r"a\.gguf, b\.gguf.*give the file itself"):
            load_tokenizer(tmp_path, loader=loader)


# -- the metadata --------------------------------------------------------------------------------------------


def test_every_tokenizer_field_can_be_read(gguf: Path) -> None:
    written = gguf_fields(TINY)
    found = tokenizer_fields(gguf)
    assert list(found) == list(written)
    assert found["tokenizer.ggml.tokens"] == written["tokenizer.ggml.tokens"]
    assert found["tokenizer.ggml.scores"] == pytest.approx(written["tokenizer.ggml.scores"])


@given(cut=st.integers(0, 400), junk=st.binary(max_size=64), at=st.integers(0, 300))
@settings(max_examples=100)
def test_a_damaged_file_is_a_typed_error_or_a_tokenizer(
    cut: int, junk: bytes, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    short = {**gguf_fields(TINY), "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.scores": [0.0, 0.0]}
    data = bytearray(write_gguf(file, {**short, "tokenizer.ggml.token_type": [1, 1]}).read_bytes())
    data[at : at + len(junk)] = junk
    file.write_bytes(bytes(data[:cut]) if cut < 300 else bytes(data))
    told = "damaged.gguf"
    try:
        load_tokenizer(file).encode("ab")
    except ChatlabError as error:
        told = str(error)
    assert "damaged.gguf" in told


def test_a_size_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + (1).to_bytes(8, "little") + b"\xff" * 7 + b"\x00")
    with pytest.raises(ValueError, match="ends within its metadata"):
        read_fields(file)


# -- llama.cpp -----------------------------------------------------------------------------------------------


def test_the_bytes_of_every_id_are_those_that_llama_cpp_sends(llama_cpp: Any) -> None:
    for token_id in range(llama_cpp.vocab_len):
        sent = llama_cpp._server.ask("/detokenize", {"tokens": [token_id]})["content"]
        assert llama_cpp.decode([token_id], skip_special_tokens=False) == sent


@given(text=TEXT)
def test_spans_join_to_the_text(text: str, llama_cpp: Tokenizer) -> None:
    spans = llama_cpp.encode_spans(text).spans
    assert spans is not None
    assert all(a <= b for a, b in spans)
    covered = {n for a, b in spans for n in range(a, b)}
    assert covered == set(range(len(text)))


def test_a_stream_over_llama_cpp_holds_half_characters_back(llama_cpp: Tokenizer) -> None:
    token_ids = llama_cpp.encode("the \U0001f336\u00e9 dog")
    stream = StreamingDetokenizer(llama_cpp.decoder(), [])
    deltas = [stream.put([token_id]) for token_id in token_ids]
    assert "\ufffd" not in "".join(map(str, deltas))


def test_the_dummy_blank_of_llama_cpp_is_traced_to_its_cause(llama_cpp: Tokenizer) -> None:
    trace = trace_echo(llama_cpp, "the dog")
    assert trace.echo == " the dog"
    assert "dummy prefix" in trace.edits[0].cause
    assert llama_cpp.change("prefix_never").change("prefix_never") is None  # type: ignore[union-attr]


def test_what_llama_cpp_cannot_take_is_a_typed_error(llama_cpp: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(EncodeError):
        llama_cpp.encode("\ud800")
    with pytest.raises(TokenIdError):
        llama_cpp.decode([10**6])
    with pytest.raises(TokenizerLoadError, match="without a vocabulary"):
        load_tokenizer(write_gguf(tmp_path / "x.gguf", {"general.architecture": "llama"}), loader="llama.cpp")
    (tmp_path / "no.gguf").write_bytes(b"GGUX" + bytes(100))
    with pytest.raises(TokenizerLoadError, match=r"no\.gguf did not load with llama\.cpp"):
        load_tokenizer(tmp_path / "no.gguf", loader="llama.cpp")


def test_without_the_package_the_error_names_it(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(TokenizerLoadError, match=r"xllamacpp.*pip install 'chatlab-research\[llamacpp\]'"):
        load_tokenizer(gguf, loader="llama.cpp")


def test_a_process_with_llama_cpp_in_it_ends(gguf: Path) -> None:
    program = (
        "from chatlab.tokenizers.load import load_tokenizer; import sys\n"
        "t = load_tokenizer(sys.argv[1], loader='llama.cpp'); print(t.encode('the dog'))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(gguf)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(result.stdout) == TINY.encode("the dog")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_child_of_a_fork_is_told_that_llama_cpp_is_not_there(gguf: Path) -> None:
    """Its threads stayed behind: an error at once, where waiting for an answer would never end."""
    tokenizer = load_tokenizer(gguf, loader="llama.cpp")
    child = os.fork()
    if child == 0:
        try:
            tokenizer.encode("the dog")
        except EncodeError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert tokenizer.encode("the dog") == TINY.encode("the dog")
    del tokenizer
    gc.collect()
