"""Plausible mistakes of newcomers, each answered by a typed error with the words that help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import chatlab
from chatlab import ChatlabError
from chatlab.embedded import model_path, tokenizer_path
from chatlab.testing import ScriptedEngine
from tests.conftest import ROOT

ROWS: dict[str, tuple[str, ...]] = {
    # files and tokenizers
    "load_tokenizer('nope')": ("no folder here has that name", "hf download nope"),
    "load_tokenizer('emptydir')": ("no tokenizer file in emptydir", "tokenizer.json"),
    "load_tokenizer('a.txt')": ("a.txt is no tokenizer", ".gguf"),
    "load_tokenizer(None)": ("the source is None", "a folder, a file or a hub id"),
    "load_tokenizer(model, loader='foo')": ("loader is 'foo'", "sentencepiece"),
    "load_model(model, device='gpu')": ("'gpu'", "torch finds cpu"),
    "tokenizer_path('llama3')": ("no embedded tokenizer is called 'llama3'", "llama2-style/legacy"),
    "snapshot('emptydir')": ("no tokenizer file in emptydir",),
    # engines and streams
    "LocalEngine(model)": ("load_model(", "load_tokenizer("),
    "LocalEngine(None, tok)": ("LocalEngine(model, tokenizer)",),
    "RemoteEngine('localhost:8000', 'm')": ("http(s)://host[:port]/v1",),
    "RemoteEngine('http://127.0.0.1:9', 'm')": ("http://127.0.0.1:9/v1/completions could not be asked",),
    "stream(None, engine)": ("a prompt is a str, a list of messages",),
    "stream(Llama2, engine)": ("not the class ChatPromptMetaLlamaLlama2Chat itself",),
    "stream(Llama2(), engine)": ("call add_requester_msg first",),
    "stream('Hi', model)": ("an engine is needed", "LocalEngine(model, tokenizer)"),
    "stream('Hi', engine, temperature=-1)": ("temperature >= 0",),
    "stream('Hi', engine, temprature=1)": ("did you mean temperature?",),
    "stream('Hi', engine, max_tokens=5)": ("did you mean max_new_tokens?",),
    "stream('Hi', engine, do_sample=False)": ("did you mean temperature?",),
    "stream('Hi', engine, stop_strings=['x'])": ("did you mean stop?",),
    "stream('Hi', engine, top_p=2)": ("0 < top_p <= 1",),
    "stream('Hi', engine, stop='###')": ("write ['###']",),
    "stream('Hi', engine, stop='')": ("write ['###']",),
    "stream('Hi', engine, max_new_tokens=0)": ("max_new_tokens >= 1",),
    "stream('Hi', engine, seed='a')": ("seed must lie in whole numbers",),
    "stream('Hi', engine, channels='nope')": ("no format of channels is called 'nope'", "qwen3"),
    "stream([{'role': 'user', 'content': 'Hi'}], engine)": ("no chat template", "chatlab.prompt_for"),
    "stream([{'content': 'Hi'}], tiny)": ('an object with "role" and "content"',),
    # echo drift
    "measure_drift([dialogue], 'lama2', tok)": ("did you mean 'llama2'",),
    "measure_drift('nope.jsonl', 'llama2', tok)": ("cannot read dialogues from nope.jsonl",),
    "measure_drift('bad.jsonl', 'llama2', tok)": ("bad.jsonl, line 1: not JSON at character 2",),
    "measure_drift([dialogue], asked, tok)": ("a prompt without messages",),
    "measure_drift([dialogue], 3, tok)": ("a prompt class is needed, not int",),
    "measure_drift([dialogue], 'llama2', tok, strategies=['exakt'])": ("no cut strategy is called 'exakt'", "exact"),
    "measure_drift([dialogue], 'llama2', tok, replies='modell')": ('"dataset" or a model',),
    "measure_drift([('Hi', 'Hello')], 'llama2', tok)": ("Dialogue.from_dict",),
    "measure_drift([{'messages': [{'role': 'bot', 'content': 'x'}]}], 'llama2', tok)": ("no role is called 'bot'",),
    "trace_echo(tok, None)": ("a prompt is a str",),
    "trace_echo(tok, 3)": ("a prompt is a str", "not int"),
    "list(read_dialogues('a.txt'))": ("a.txt, line 1: not JSON",),
    "Dialogue.from_dict({'turn': []})": ('no "turns" and no "messages"', "ShareGPT"),
    # revisions and locks
    "compare_revisions(model, None)": ("after is None",),
    "compare_revisions('emptydir', model)": ("no tokenizer file in emptydir",),
    "lock('bot')": ("lock it with its source first",),
    "lock('bot', model)": ("vendor=True",),
    "lock('', model, vendor=True)": ("letters, digits",),
    "check('bot')": ("chatlab lock ALIAS SOURCE",),
    "check(path='nope.lock')": ("nope.lock locks nothing",),
    "bisect_revisions(model, 'a', 'b')": ("no revision 'a'", "git log --all"),
    # buffering
    "TokFlow('a')": ("pass a list such as",),
    "TokFlow([('a',)])": ("(search string, target) pair",),
    "TokFlow([('', 'x')])": ("it would match everywhere",),
    "TokFlow([('a', 'b')]).put(3)": ("put str(...) of it",),
    "SentenceStop('###')": ("pass ['###']",),
    "SentenceStop(3)": ("stop strings come as a list such as ['###']",),
    "StreamingDetokenizer(None)": ("NoneType is no tokenizer", "AutoTokenizer"),
    "StreamingDetokenizer(tok).put('x')": ("token ids are whole numbers", "tokenizer.encode"),
    "StreamingDetokenizer(tok).put([10**9])": ("its ids end at 2999",),
    # prompts
    "prompt_for('gpt-5')": ("no prompt format is known for 'gpt-5'", "pass its tokenizer"),
    "prompt_class('lama2')": ("did you mean 'llama2'",),
    "prompt_class(None)": ("no prompt format is called None",),
    "ChatTemplatePrompt('emptydir')": ("no default chat template", "use a prompt class"),
    "Llama2().add_responder_msg('x')": ("call add_requester_msg first",),
    # widgets
    "ChatPanel(tok)": ("LocalEngine(load_model(path), load_tokenizer(path))",),
    "ChatPanel(engine, temprature=1)": ("did you mean temperature?",),
    "StreamView(show='x')": ("'text', 'tokens', 'buffer'",),
    "EchoView(tok)": ("EchoView(trace_echo(tokenizer, prompt))",),
    "DriftExplorer([1])": ("what measure_drift gave",),
    "RevisionView(3)": ("what compare_revisions(before, after) gave",),
    "TurnsView(3)": ("TurnsView(trace_turns(tokenizer, dialogue))",),
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "bad.jsonl").write_text("{not json\n")
    (folder / "a.txt").write_text("hi")
    (folder / "emptydir").mkdir()
    model = Path(os.path.relpath(model_path(), ROOT))
    asked = chatlab.ChatPromptMetaLlamaLlama2Chat()
    asked.add_requester_msg("Hi")
    return {
        **{name: getattr(chatlab, name) for name in chatlab.__all__},
        "folder": folder,
        "model": ROOT / model,
        "tok": chatlab.load_tokenizer(model_path()),
        "engine": ScriptedEngine("ok"),
        "tiny": ScriptedEngine("ok", chatlab.load_tokenizer(model_path())),
        "Llama2": chatlab.ChatPromptMetaLlamaLlama2Chat,
        "asked": asked,
        "dialogue": {"turns": [{"user": "Hi", "assistant": "Hello."}]},
        "tokenizer_path": tokenizer_path,
    }


@pytest.mark.parametrize("mistake", ROWS)
def test_a_mistake_is_answered_with_the_way_out(
    mistake: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(names["folder"])
    with pytest.raises(ChatlabError) as told:
        eval(mistake, dict(names))
    assert [words for words in ROWS[mistake] if words not in str(told.value)] == [], str(told.value)


def test_there_are_sixty() -> None:
    assert len(ROWS) >= 60


def test_a_misspelled_name_is_suggested() -> None:
    with pytest.raises(AttributeError) as told:
        chatlab.LocalEngin  # noqa: B018
    assert (told.value.name, told.value.obj) == ("LocalEngin", chatlab)  # what Python's own "Did you mean" reads
