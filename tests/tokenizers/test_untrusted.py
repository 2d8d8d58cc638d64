"""A tokenizer that lives in a child gives what it gives here, or a typed error that names the limit."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import chatlab
from chatlab.child import nursery
from chatlab.cli import app
from chatlab.embedded import tokenizer_path
from chatlab.errors import (
    EncodeError,
    TemplateLimitError,
    TokenIdError,
    TokenizerLimitError,
    TokenizerLoadError,
)
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.prompts.dialogue import Dialogue
from chatlab.prompts.difference import compare_with_template
from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.testing import ScriptedEngine
from chatlab.tokenizers.load import load_tokenizer
from tests.support.injections import copy_of

NAMES = ("llama2-style/legacy", "byte-bpe", "wordpiece", "phi3-style/before")
LOADERS = (
    *((name, "auto") for name in NAMES),
    ("byte-bpe", "tokenizers"),
    ("llama2-style/legacy", "sentencepiece"),
)


@pytest.fixture(scope="module", params=LOADERS, ids=" ".join)
def pair(request):
    """A tokenizer here and in a child; one at a time, so that all have one nursery."""
    name, loader = request.param
    path = tokenizer_path(name)
    here, there = load_tokenizer(path, loader=loader), load_tokenizer(path, loader=loader, untrusted=True)
    yield here, there
    there.close()


TEXTS = st.lists(
    st.sampled_from([*"ab \n", "\u00e9", "\u8a9e", "\U0001f336", "<s>", "</s>", "<|im_end|>", "[INST]"]), max_size=12
).map("".join)


@given(text=TEXTS, add=st.booleans(), skip=st.booleans())
@settings(max_examples=15)
def test_every_call_gives_what_it_gives_here(pair, text, add, skip):
    here, there = pair
    assert there.encode_spans(text, add_special_tokens=add) == here.encode_spans(text, add_special_tokens=add)
    token_ids = here.encode(text, add_special_tokens=add)
    assert there.encode(text, add_special_tokens=add) == token_ids
    assert there.encode_batch([text, "a"]) == here.encode_batch([text, "a"])
    assert there.decode(token_ids, skip_special_tokens=skip) == here.decode(token_ids, skip_special_tokens=skip)
    assert there.decode_batch([token_ids]) == here.decode_batch([token_ids])
    assert there.without_special_strs(text) == here.without_special_strs(text)
    assert [there.piece(i) for i in token_ids] == [here.piece(i) for i in token_ids]
    streams = [StreamingDetokenizer(t.decoder(skip_special_tokens=skip), token_ids[:1]) for t in (here, there)]
    ours, theirs = ([*(s.put([i]) for i in token_ids[1:]), s.flush()] for s in streams)
    assert theirs == ours


def test_what_it_tells_of_itself_is_what_it_tells_here(pair):
    here, there = pair
    for name in ("name", "loader", "versions", "special_strs", "special_ids", "vocab_len", "unk_id"):
        assert getattr(there, name) == getattr(here, name)
    assert (there.wrapped is None) == (here.wrapped is None)
    assert there.source.folder == here.source.folder


def test_a_trace_with_its_changed_copies_is_the_same(pair):
    here, there = (chatlab.trace_echo(t, "Hi <s>[INST]  w\u00f6rld</s> <|im_end|>x \U0001f336") for t in pair)
    assert there.to_dict() == here.to_dict()


TALK = Dialogue.from_dict(
    {"turns": [{"user": "Hi <s>", "assistant": "Hello </s>."}, {"user": "<|im_end|>", "assistant": "y"}]}
)


def test_no_message_becomes_a_control_token(pair):
    found = []
    for tokenizer in pair:
        prompt = chatlab.ChatPromptMetaLlamaLlama2Chat()
        prompt.add_requester_msg("Hi <s>[INST] </s>")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found.append((encode_prompt(tokenizer, prompt), [str(w.message) for w in told]))
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def owned(tmp_path_factory):
    """A folder with a chat template."""
    folder = copy_of("byte-bpe", tmp_path_factory.mktemp("owned") / "t")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return folder


def test_its_template_is_rendered_in_a_child_and_compared_as_here(owned):
    here, there = load_tokenizer(owned), load_tokenizer(owned, untrusted=True)
    assert ChatTemplatePrompt(there).untrusted
    assert not ChatTemplatePrompt(here).untrusted
    ours, theirs = (compare_with_template(prompt_class("chatml"), t.wrapped, [TALK]) for t in (here, there))
    assert theirs.to_dict() == ours.to_dict()
    with ScriptedEngine("ok", there) as engine, ScriptedEngine("ok", here) as other:
        messages = [{"role": "user", "content": "Hi"}]
        results = [chatlab.stream(messages, e).result() for e in (engine, other)]
    assert results[0].text == results[1].text


def test_a_template_of_it_is_held_to_its_limits(owned, tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{{ 'a' * 10**9 }}")
    prompt = ChatTemplatePrompt(load_tokenizer(folder, untrusted=True))
    prompt.add_requester_msg("Hi")
    with pytest.raises(TemplateLimitError):
        prompt.create_prompt()


def test_errors_are_typed_as_here(pair):
    for tokenizer in pair:
        with pytest.raises(TokenIdError, match="no token id 99999999"):
            tokenizer.decode([99999999])
        with pytest.raises(TokenIdError, match="no token id"):
            tokenizer.piece(99999999)
        with pytest.raises(EncodeError, match="lone surrogate"):
            tokenizer.encode("\ud83d\ude00")
        with pytest.raises(EncodeError, match="give a string"):
            tokenizer.encode(3)


def test_what_contradicts_or_is_not_there_is_refused():
    with pytest.raises(TokenizerLoadError, match="leave one out"):
        load_tokenizer(tokenizer_path("byte-bpe"), untrusted=True, trust_remote_code=True)
    with pytest.raises(TokenizerLoadError, match="no legacy switch|legacy"):
        load_tokenizer(tokenizer_path("byte-bpe"), untrusted=True, legacy=True)


def bomb(folder: Path) -> Path:
    """A pattern that takes for ever on letters."""
    path = copy_of("byte-bpe", folder) / "tokenizer.json"
    state = json.loads(path.read_text())
    split = {
        "type": "Split",
        "pattern": {"Regex": r"(?:\w|[a-z]){20}\W\W\W\W"},
        "behavior": "Isolated",
        "invert": False,
    }
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    path.write_text(json.dumps(state))
    return folder


def test_a_call_that_takes_too_long_is_ended_and_the_next_one_loads_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")
    tokenizer = load_tokenizer(bomb(tmp_path / "t"), untrusted=True)
    token_ids = tokenizer.encode("Hi")
    begun = time.monotonic()
    with pytest.raises(TokenizerLimitError, match=r"more than 1 s of processor time \(CHATLAB_CHILD_SECONDS"):
        tokenizer.encode("a" * 3000)
    assert time.monotonic() - begun < 7
    assert tokenizer.encode("Hi") == token_ids


def test_text_that_grows_without_end_is_ended_by_memory(tmp_path, monkeypatch):
    path = copy_of("byte-bpe", tmp_path / "t") / "tokenizer.json"
    state = json.loads(path.read_text())
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    state["normalizer"] = {"type": "Sequence", "normalizers": [double] * 40}
    path.write_text(json.dumps(state))
    monkeypatch.setenv("CHATLAB_CHILD_MEMORY_MB", "300")
    tokenizer = load_tokenizer(tmp_path / "t", untrusted=True)
    with pytest.raises(TokenizerLimitError, match="memory"):
        tokenizer.encode("a")
    assert tokenizer.encode("b")


def test_a_child_that_was_killed_is_missed_by_nobody(owned):
    tokenizer = load_tokenizer(owned, untrusted=True)
    token_ids = tokenizer.encode("Hi")
    (held,) = tokenizer._session._running
    pid = held._process.pid
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(child, signal.SIGKILL)
    while held.is_silent():
        time.sleep(0.01)
    assert tokenizer.encode("Hi") == token_ids
    changed = tokenizer.change("unchanged")
    tokenizer._session._running[0].kill()
    assert changed.encode("Hi") == token_ids, "the change is made anew"


def test_a_child_goes_with_its_tokenizer_and_the_nursery_is_used_again(owned):
    first = load_tokenizer(owned, untrusted=True)
    encode_prompt(first, prompt_class("chatml")())
    pid = first._session._running[0]._process.pid
    del first
    gc.collect()
    assert not Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert pid in [idle._process.pid for idle in nursery._IDLE]


def test_a_fork_makes_a_child_of_its_own(owned):
    tokenizer = load_tokenizer(owned, untrusted=True)
    token_ids = tokenizer.encode("Hi")
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        os.write(write, json.dumps(tokenizer.encode("Hi")).encode() + b"\n")
        tokenizer.close()
        os._exit(0)
    assert json.loads(os.read(read, 1000)) == token_ids
    os.waitpid(pid, 0)
    assert tokenizer.encode("Hi") == token_ids


def test_drift_against_a_template_reads_the_folder_in_a_child(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")
    folder = bomb(tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"turns": [{"user": "a" * 3000, "assistant": "b"}]}))
    arguments = ["drift", str(folder), "--prompt", "chatml", "--dialogues", str(talk), "--against", "template"]
    begun = time.monotonic()
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 2
    assert "CHATLAB_CHILD_SECONDS" in made.output
    assert time.monotonic() - begun < 10
