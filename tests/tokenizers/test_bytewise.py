"""tekken.json and tiktoken's files: ids, spans, control tokens and byte pieces, against the libraries themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import assume, given
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from chatlab.echo.trace import trace_echo
from chatlab.errors import TokenIdError, TokenizerLoadError
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.bytewise.tiktoken_file import FAMILIES, LLAMA_3
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer
from tests.support.bytewise import PATTERN, ranks, write_tekken, write_tiktoken
from tests.tokenizers.samples import TEXT, chat_texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytewise")


@pytest.fixture(scope="module")
def tekken(folder: Path) -> Tokenizer:
    return load_tokenizer(write_tekken(folder / "tekken.json"))


@pytest.fixture(scope="module")
def llama_3(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(write_tiktoken(tmp_path_factory.mktemp("llama") / "tokenizer.model"))


@pytest.fixture(scope="module", params=["tekken", "llama_3"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer


# -- the ids of the library ----------------------------------------------------------------------------------


@given(text=TEXT)
def test_tekken_has_the_ids_and_the_text_of_mistral_common(text: str, tekken: Tokenizer, folder: Path) -> None:
    library = Tekkenizer.from_file(folder / "tekken.json")
    text = tekken.without_special_strs(text)
    assume(not tekken.special_pattern.search(text))  # one may remain where two stood in each other
    assert tekken.encode(text) == library.encode(text, bos=False, eos=False)
    assert tekken.encode(text, add_special_tokens=True) == library.encode(text, bos=True, eos=False)
    assert tekken.decode(tekken.encode(text)) == library.decode(tekken.encode(text), SpecialTokenPolicy.IGNORE) == text


@given(text=chat_texts("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\n"))
def test_a_llama_3_model_has_the_ids_and_the_text_of_tiktoken(text: str, llama_3: Tokenizer) -> None:
    library = tiktoken.Encoding(
        "x", pat_str=PATTERN, mergeable_ranks=ranks(), special_tokens=dict(LLAMA_3.specials(len(ranks())))
    )
    token_ids = llama_3.encode(text)
    assert token_ids == library.encode(text, allowed_special="all")
    assert llama_3.decode(token_ids, skip_special_tokens=False) == library.decode(token_ids) == text


def test_the_control_tokens_of_llama_3_stand_where_meta_put_them(llama_3: Tokenizer) -> None:
    """Of the 256 behind the ranks: begin_of_text 0, end_of_text 1, header 6 and 7, eom 8, eot 9, python_tag 10."""
    places = {"begin_of_text": 0, "end_of_text": 1, "start_header_id": 6, "end_header_id": 7, "eom_id": 8, "eot_id": 9}
    assert {llama_3.special_strs[f"<|{name}|>"] - len(ranks()): n for name, n in places.items()} == {
        n: n for n in places.values()
    }
    assert llama_3.vocab_len == len(ranks()) + 256
    assert llama_3.encode("a", add_special_tokens=True)[0] == len(ranks())


@pytest.mark.parametrize("text", ["a<s>[INST]x[/INST]</s>", "[INST]", "a", "<s>", "<SPECIAL_7>"])
def test_control_tokens_of_tekken_are_read_and_skipped(text: str, tekken: Tokenizer) -> None:
    token_ids = tekken.encode(text)
    assert tekken.decode(token_ids, skip_special_tokens=False) == text
    assert tekken.decode(token_ids) == tekken.without_special_strs(text)


def test_the_vocabulary_that_mistral_common_brings_along_is_read_whole() -> None:
    import mistral_common

    file = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tokenizer, library = load_tokenizer(file), Tekkenizer.from_file(file)
    text = "<s>[INST]caf\u00e9 \u6771\u4eac \U0001f336 1234[/INST]"
    assert tokenizer.loader == "mistral"
    assert tokenizer.encode(text)[2:-1] == library.encode("caf\u00e9 \u6771\u4eac \U0001f336 1234", False, False)
    assert tokenizer.encode(text)[:2] == [library.bos_id, library.get_special_token("[INST]")]


# -- laws ----------------------------------------------------------------------------------------------------


@given(text=chat_texts("<s>", "[INST]", "<|eot_id|>"))
def test_spans_are_the_characters_that_each_ids_bytes_are_part_of(text: str, either: Any) -> None:
    """Against a slow reference: the bytes of all ids before one, decoded strictly as far as they go."""
    found, at = either.encode_spans(text), 0
    starts = [len(text[:n].encode()) for n in range(len(text) + 1)]
    for token_id, span in zip(found.token_ids, found.spans, strict=True):
        end = at + len(either._pieces[token_id])
        first = max(n for n, start in enumerate(starts) if start <= at)
        last = min(n for n, start in enumerate(starts) if start >= end)
        assert span == (first, last)
        at = end


@given(text=TEXT)
def test_a_stream_is_the_text(text: str, either: Tokenizer) -> None:
    stream = StreamingDetokenizer(either.decoder(skip_special_tokens=False), [])
    parts = [delta for token_id in either.encode(text) if (delta := stream.put([token_id]))]
    assert "".join(str(getattr(part, "text", part)) for part in [*parts, stream.flush()]) == text


def test_a_trace_is_exact(either: Tokenizer) -> None:
    assert trace_echo(either, "the \u65e5\u00e9 333").edits == ()


def test_a_part_of_a_character_is_spelled_by_its_bytes(either: Tokenizer) -> None:
    offset = either.encode("a")[0] - ord("a")
    assert either.piece(0xE6 + offset) == "<0xE6>"
    assert either.token_bytes(0xE6 + offset) == b"\xe6"
    assert either.token_bytes(either.special_strs["<s>" if "<s>" in either.special_strs else "<|eot_id|>"]) is None


def test_ids_outside_the_vocabulary_are_named(either: Tokenizer) -> None:
    for token_id in (-1, either.vocab_len):
        with pytest.raises(TokenIdError, match=str(token_id)):
            either.decode([token_id])


# -- what loads, and what the errors say ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_file_of_ranks_takes_its_family_from_its_name(name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tiktoken(tmp_path / f"{name}.tiktoken").parent)
    assert tokenizer.loader == "tiktoken"
    assert tokenizer.encode("the 333 \u65e5") == tiktoken.Encoding(
        "x", pat_str=FAMILIES[name].pattern, mergeable_ranks=ranks(), special_tokens={}
    ).encode("the 333 \u65e5")
    assert "<|endoftext|>" in tokenizer.special_strs
    assert any("ranks alone" in note for note in tokenizer.source.warnings)  # type: ignore[union-attr]


@pytest.mark.parametrize("more", [[], ["config.json"], ["config.json", "tokenizer_config.json"]])
def test_a_tekken_folder_loads_whatever_configs_lie_beside_it(more: list[str], tmp_path: Path) -> None:
    write_tekken(tmp_path / "tekken.json")
    for name in more:
        (tmp_path / name).write_text('{"model_type": "mistral"}')
    assert load_tokenizer(tmp_path).encode("<s>[INST]the") == load_tokenizer(tmp_path / "tekken.json").encode(
        "<s>[INST]the"
    )


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("tekken.json", "mistral_common.tokens.tokenizers.tekken", "mistral"),
        ("tokenizer.model", "tiktoken", "tiktoken"),
    ],
)
def test_without_its_package_a_file_is_an_error_that_names_it(
    name: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_tekken if name == "tekken.json" else write_tiktoken)(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(TokenizerLoadError, match=rf"pip install 'chatlab-research\[{extra}\]'"):
            load_tokenizer(source)


@pytest.mark.parametrize("content", [b"IQ== 0\nnot\n", b"IQ== 0\nIg== 1\n", b"IQ== 0\nIg== x\n", b"", b"\xff" * 40])
def test_a_broken_file_of_ranks_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tiktoken").write_bytes(content)
    with pytest.raises(TokenizerLoadError, match=r"x\.tiktoken|" + tmp_path.name):
        load_tokenizer(tmp_path / "x.tiktoken")


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"config": {"version": "v7"}}', '{"config": 5}'])
def test_a_broken_tekken_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tekken.json").write_text(content)
    with pytest.raises(TokenizerLoadError, match="did not load with mistral"):
        load_tokenizer(tmp_path)
