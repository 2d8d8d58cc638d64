"""What a stranger's folder, dialogue, lock or server tries, through every way in: no canary may be touched."""

from __future__ import annotations

import asyncio
import csv
import http.server
import io
import json
import logging
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import pytest
from rich.console import Console
from starlette.applications import Starlette
from typer.testing import CliRunner

import chatlab
from chatlab.cli import app
from chatlab.engines.remote import RemoteEngine
from chatlab.errors import ChatlabError, GenerationError
from chatlab.locks.check import load_locked
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import read_lock
from chatlab.prompts.dialogue import Dialogue
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.render import csv_value, json_text
from chatlab.results import Result
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.terminal import chat_in_terminal
from chatlab.terminal import Terminal
from chatlab.testing import ScriptedEngine
from chatlab.turns.audit.against import audit_patch
from tests.support.hostile import COMMAND, FOLDERS, FORMULA, HOSTILE, HTML, SECRET, Canary, make_folder
from tests.support.page import seen

pytestmark = [pytest.mark.timeout(30), pytest.mark.filterwarnings("ignore")]
TALK = '{"turns": [{"user": "Hi", "assistant": "Hello."}, {"user": "<s>x", "assistant": "y"}]}\n'


TURNS = [{"role": role, "content": "Hi"} for role in ("user", "assistant", "user")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for all: equal folders then have one kept snapshot."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("attacks")
        patch.setenv("CHATLAB_CACHE", str(root / "cache"))
        make_folder(root / "clean" / "tok")
        lock("tok", root / "clean" / "tok", path=root / "clean" / "chatlab.lock")
        (root / "talk.jsonl").write_text(TALK)
        yield root


@pytest.fixture(scope="module")
def canaries(place: Path) -> Iterator[Canary]:
    canary = Canary(place / "home")
    yield canary
    canary.close()


@pytest.fixture
def canary(canaries: Canary, monkeypatch: pytest.MonkeyPatch) -> Canary:
    """Whoever asks on the terminal is told yes."""
    canaries.asked = False

    def asked(*prompt: object) -> str:
        canaries.asked = True
        return "y"

    monkeypatch.setattr("builtins.input", asked)
    return canaries


class Attempt:
    """One way in, on one attacked folder; what it showed, to people and to a terminal."""

    def __init__(self, root: Path, at: Path, attack: Callable[[], None]) -> None:
        self.root, self.at, self.attack = root, at, attack
        self.folder = at / "tok"
        self.shown, self.terminal = "", ""

    def show(self, value: Any) -> None:
        self.terminal += str(value) if isinstance(value, Result) else ""
        self.shown += repr(value)
        if isinstance(value, Result):
            self.page(value.body())
            self.terminal += value.to_markdown() if hasattr(value, "to_markdown") else ""
        if hasattr(value, "to_dict") and not isinstance(value, pd.DataFrame):
            self.terminal += json_text(value.to_dict())

    def page(self, html: str) -> None:
        """Elements of ours alone: no script, no handler, nothing that is fetched."""
        parser = seen(html)
        assert not {"script", "iframe", "svg", "object", "embed", "link", "base", "form", "a"} & set(parser.elements)
        for _, name, value in parser.attributes:
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith("data:image/png;base64,")
        self.shown += html

    def run(self, act: Callable[[Attempt], Any]) -> None:
        """A result or our own error; nothing else, and no bare one."""
        try:
            value = act(self)
        except ChatlabError as error:
            self.terminal += "".join(traceback.format_exception(error))
            return
        if value is not None:
            self.show(value)

    def command(self, *arguments: str | Path) -> None:
        made = CliRunner().invoke(app, list(map(str, arguments)), input="y\ny\n")
        self.terminal += made.output
        assert made.exception is None or isinstance(made.exception, SystemExit), made.exception
        assert made.exit_code in (0, 1, 2, 3)


def attacked(
    act: Callable[[Attempt], Any], *, after: Callable[[Attempt], Any] | None = None
) -> Callable[[Attempt], None]:
    """What is done on a folder that came so; with ``after``, on one that changed under a lock."""

    def run(attempt: Attempt) -> None:
        if after is not None:
            after(attempt)
        attempt.attack()
        attempt.run(act)

    return run


def locked(attempt: Attempt) -> None:
    text = (attempt.root / "clean" / "chatlab.lock").read_text()
    (attempt.at / "chatlab.lock").write_text(text)


def cli(*arguments: str, after: Callable[[Attempt], Any] | None = None) -> Callable[[Attempt], None]:
    def act(attempt: Attempt) -> None:
        words = {
            "FOLDER": str(attempt.folder),
            "CLEAN": str(attempt.root / "clean" / "tok"),
            "LOCK": str(attempt.at / "chatlab.lock"),
            "TALK": str(attempt.root / "talk.jsonl"),
            "OUT": str(attempt.at / "out"),
        }
        attempt.command(*(words.get(word, word) for word in arguments))
        for made in (attempt.at / "out").rglob("*") if (attempt.at / "out").is_dir() else ():
            attempt.shown += made.read_bytes().decode("utf-8", "replace") if made.is_file() else ""

    return attacked(act, after=after)


def streamed(attempt: Attempt) -> Any:
    tokenizer = chatlab.load_tokenizer(attempt.folder)
    prompt = ChatTemplatePrompt(tokenizer, untrusted=True)
    prompt.add_requester_msg("Hi")
    with ScriptedEngine("ok", tokenizer) as engine:
        reply = chatlab.stream(prompt, engine)
        reply.read() if hasattr(reply, "read") else list(reply)
        return reply.result()


def conversed(attempt: Attempt, text: str = "Hi") -> None:
    """Two questions with kept ids, in a stranger's template."""
    tokenizer = chatlab.load_tokenizer(attempt.folder)
    prompt = ChatTemplatePrompt(tokenizer, untrusted=True)
    with ScriptedEngine(text or "ok", tokenizer) as engine:
        conversation = Conversation(prompt, engine)
        for _ in range(2):
            conversation.ask(text)
            chatlab.stream(conversation, engine).result()
        attempt.shown += str(conversation.lost)


def rendered(untrusted: bool) -> Callable[[Attempt], Any]:
    def act(attempt: Attempt) -> None:
        prompt = ChatTemplatePrompt(attempt.folder, untrusted=untrusted)
        prompt.add_requester_msg("Hi")
        attempt.shown += prompt.create_prompt()

    return act


def untrusted(attempt: Attempt) -> None:
    tokenizer = chatlab.load_tokenizer(attempt.folder, untrusted=True)
    attempt.shown += tokenizer.decode(tokenizer.encode("Hi <s>")) + str(tokenizer.special_strs)
    prompt = ChatTemplatePrompt(tokenizer)
    prompt.add_requester_msg("Hi")
    attempt.shown += prompt.create_prompt()
    tokenizer.close()


def compared(attempt: Attempt) -> Any:
    found = chatlab.compare_revisions(attempt.root / "clean" / "tok", attempt.folder)
    attempt.show(chatlab.RevisionView(found))
    return found


def chosen(attempt: Attempt) -> None:
    prompt = chatlab.prompt_for(attempt.folder)()
    prompt.add_requester_msg("Hi")
    attempt.shown += prompt.create_prompt()


def decoded(attempt: Attempt) -> None:
    tokenizer = chatlab.load_tokenizer(attempt.folder)
    ids = tokenizer.encode("Hi")
    decoder = chatlab.StreamingDetokenizer(tokenizer.decoder(), [])
    attempt.shown += "".join(decoder.put([i]) for i in ids) + decoder.flush()


def sweep_spec(attempt: Attempt) -> Path:
    """Two studies of the folder: one that reads it in this process, one in a child."""
    talk = json.dumps(str(attempt.root / "talk.jsonl"))
    spec = attempt.at / "spec.toml"
    spec.write_text(
        f'[dialogues]\ntalk = {talk}\n[tokenizers]\ntok = "tok"\n[[drift]]\nprompts = ["chatml"]\n[[audit]]\n'
    )
    return spec


def swept(attempt: Attempt) -> Any:
    result = chatlab.sweep(sweep_spec(attempt), out=attempt.at / "out")
    for kind in ("drift", "audit"):
        attempt.shown += repr(result.to_frame(kind))
    return result


ENTRIES: dict[str, Callable[[Attempt], None]] = {
    "load_tokenizer": attacked(lambda a: chatlab.load_tokenizer(a.folder)),
    **{f"load_tokenizer by {loader}": attacked(lambda a, loader=loader: chatlab.load_tokenizer(a.folder, loader=loader))
       for loader in ("transformers", "slow", "tokenizers", "sentencepiece")},
    "load_tokenizer, untrusted": attacked(untrusted),
    "load_model": attacked(lambda a: chatlab.load_model(a.folder)),
    "ChatTemplatePrompt": attacked(rendered(False)),
    "ChatTemplatePrompt, untrusted": attacked(rendered(True)),
    "prompt_for": attacked(chosen),
    "trace_echo": attacked(lambda a: chatlab.trace_echo(a.folder, "<s>Hi <|im_end|> x")),
    "trace_turns, TurnsView": attacked(lambda a: chatlab.TurnsView(chatlab.trace_turns(a.folder, TURNS))),
    "measure_turns": attacked(lambda a: chatlab.measure_turns(a.root / "talk.jsonl", "chatml", a.folder)),
    "measure_drift": attacked(lambda a: chatlab.measure_drift(a.root / "talk.jsonl", "chatml", a.folder)),
    "EchoView": attacked(lambda a: chatlab.EchoView.of_reply(a.folder, "<s>Hi", "there")),
    "DriftExplorer": attacked(lambda a: chatlab.DriftExplorer(chatlab.measure_drift(a.root / "talk.jsonl", "chatml", a.folder))),
    "stream": attacked(streamed),
    "bisect_revisions": attacked(lambda a: chatlab.bisect_revisions(a.folder, "HEAD~1", "HEAD")),
    "StreamingDetokenizer": attacked(decoded),
    "snapshot": attacked(lambda a: chatlab.snapshot(a.folder)),
    "compare_revisions, RevisionView": attacked(compared),
    "audit_template": attacked(lambda a: chatlab.audit_template(a.folder)),
    "audit_patch": attacked(lambda a: audit_patch(a.root / "clean" / "tok", a.folder)),
    "lock": attacked(lambda a: chatlab.lock("t", a.folder, path=a.at / "chatlab.lock")),
    "check": attacked(lambda a: chatlab.check(path=a.at / "chatlab.lock"), after=locked),
    "load_locked": attacked(lambda a: load_locked("tok", path=a.at / "chatlab.lock"), after=locked),
    "diagnose": attacked(lambda a: chatlab.diagnose(a.folder, "chatml", a.root / "talk.jsonl")),
    "chatlab doctor": cli("doctor", "FOLDER", "--prompt", "chatml", "--dialogues", "TALK"),
    "chatlab trace": cli("trace", "FOLDER", "<s>Hi"),
    "chatlab turns": cli("turns", "FOLDER", "--conversations", "TALK", "--out", "OUT"),
    "chatlab drift": cli("drift", "FOLDER", "--prompt", "chatml", "--dialogues", "TALK"),
    "chatlab drift --against template": cli("drift", "FOLDER", "--prompt", "chatml", "--dialogues", "TALK", "--against", "template"),
    **{f"chatlab compare as {form}": cli("compare", "CLEAN", "FOLDER", "--format", form) for form in ("rich", "markdown", "json", "html")},
    **{f"chatlab audit as {form}": cli("audit", "FOLDER", "--format", form) for form in ("rich", "markdown", "json", "html")},
    "chatlab audit --against": cli("audit", "CLEAN", "--against", "FOLDER"),
    "chatlab compare --explain": cli("compare", "CLEAN", "FOLDER", "--explain", "text/0"),
    "chatlab lock": cli("lock", "t", "FOLDER", "--file", "LOCK"),
    "chatlab lock --vendor": cli("lock", "t", "FOLDER", "--file", "LOCK", "--vendor"),
    "chatlab lock --update": cli("lock", "tok", "--update", "--file", "LOCK", after=locked),
    **{f"chatlab check as {form}": cli("check", "--file", "LOCK", "--format", form, after=locked) for form in ("rich", "markdown")},
    "chatlab chat": cli("chat", "FOLDER"),
    "Conversation": attacked(conversed),
    "sweep": attacked(swept),
    "chatlab sweep": attacked(lambda a: a.command("sweep", sweep_spec(a), "--out", a.at / "out")),
}  # fmt: skip


WHOLE = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
COMBINATIONS = [
    (attack, entry)
    for i, attack in enumerate(FOLDERS)
    for j, entry in enumerate(ENTRIES)
    if WHOLE or (i + j) % 6 == 0
]  # fmt: skip
"""Each attack through a sixth of the ways in, each way in by a sixth of the attacks; all of them at night."""


def test_there_are_enough_of_them() -> None:
    assert len(COMBINATIONS) + len(TEXTS) * len(TEXT_ENTRIES) + len(LOCKS) * len(LOCK_ENTRIES) >= 450
    assert {attack for attack, _ in COMBINATIONS} == set(FOLDERS)
    assert {entry for _, entry in COMBINATIONS} == set(ENTRIES)


@pytest.mark.parametrize(("attack", "entry"), COMBINATIONS)
def test_a_hostile_folder_can_do_nothing(attack: str, entry: str, place: Path, canary: Canary, tmp_path: Path) -> None:
    make_folder(tmp_path / "tok")
    attempt = Attempt(place, tmp_path, lambda: FOLDERS[attack](tmp_path / "tok", canary))
    ENTRIES[entry](attempt)
    canary.check(attempt.shown, attempt.terminal)
    for made in tmp_path.rglob("*"):
        assert not (made.is_file() and not made.is_symlink() and SECRET.encode() in made.read_bytes()), (
            f"a secret in {made}"
        )


# -- texts: of a user, a model, a command line ---------------------------------------------------------------

TEXTS = {
    "commands": COMMAND,
    "HTML": HTML,
    "a formula": FORMULA,
    "all of them": HOSTILE,
    "a path": "../../home/touched",
    "a shell": "$(touch touched); `touch touched`",
}


def dialogue(text: str) -> Dialogue:
    turns = [{"user": text, "assistant": text}, {"user": "Hi", "assistant": text}]
    return Dialogue.from_dict({"id": text, "labels": {text: text, "kind": text}, "turns": turns})


def measured(attempt: Attempt, text: str) -> Any:
    frame = chatlab.measure_drift([dialogue(text)], "chatml", attempt.root / "clean" / "tok")
    return chatlab.DriftExplorer({text: frame})


NUMBER = re.compile(r"-?\d+(\.\d+)?")


def reported(attempt: Attempt, text: str) -> None:
    """Every file of a report, each by the rules of who opens it."""
    talk = attempt.at / "talk.jsonl"
    talk.write_text(json.dumps(dialogue(text).to_dict()))
    clean, out = attempt.root / "clean" / "tok", attempt.at / "out"
    attempt.command("drift", clean, "--prompt", "chatml", "--dialogues", talk, "--out", out)
    attempt.page((out / "report.html").read_text().replace('<html lang="en">', ""))
    attempt.terminal += (out / "traces.json").read_text()
    with open(out / "drift.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    for name, *cells in zip(head, *rows, strict=True):
        for cell in (name, *cells):
            assert NUMBER.fullmatch(cell) or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert any(csv_value(cell) == text for cell in rows[0])


def chatted(attempt: Attempt, text: str) -> Any:
    with ScriptedEngine(text) as engine:
        panel = chatlab.ChatPanel(engine, chatlab.ChatPromptMetaLlamaLlama2Chat(), system_prompt=text)
        reply = panel.ask_sync(text, view=False)
        attempt.show(panel.transcript)
        return reply


def viewed(attempt: Attempt, text: str) -> None:
    view = chatlab.StreamView()
    view.put(text)
    view.finish("eos")
    attempt.page(view._static_form()["text/html"].split("</style>")[-1])
    attempt.terminal += view._static_form()["text/plain"]


def in_a_terminal(attempt: Attempt, text: str) -> None:
    screen, lines = io.StringIO(), iter([text, "/quit"])
    with ScriptedEngine(text, error=GenerationError(text), fail_at=len(text)) as engine:
        chat_in_terminal(
            engine, chatlab.ChatPromptMetaLlamaLlama2Chat(), console=Console(file=screen), ask=lambda _: next(lines)
        )
    attempt.terminal += screen.getvalue()


def served(attempt: Attempt, text: str) -> None:
    """As a question, as a field's name, as a header: what is logged and refused is read by people, the answer by programs."""
    log = io.StringIO()
    logger = logging.Logger("served", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(log))
    mock = {"type": "echo", "time_per_token_sec": 0}
    chat_stream = chatlab.ChatStream(use_mock_response=True, mock_params=mock, logger=logger)
    application = Starlette()
    chat_stream.append_apis(application)

    async def ask(path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://served.test") as client:
            return await client.post(path, json=body, headers=headers)

    said = asyncio.run(ask("/chat_stream", {"user_input": text}))
    assert said.text.endswith(f"{text}<::EOS::>")
    for path, body, headers in (
        ("/chat_stream", {"user_input": {text: text}}, {}),
        ("/set_generation_params", {text: text}, {}),
        ("/set_feedback", {"message_id": text, "feedback": text}, {}),
        ("/chat_stream", {"user_input": text}, {"origin": f"http://{text.encode('ascii', 'replace')[:20].hex()}"}),
    ):
        refused = asyncio.run(ask(path, body, **headers))
        assert 400 <= refused.status_code < 500
        attempt.terminal += refused.json()["detail"]
    assert text not in log.getvalue()
    attempt.terminal += log.getvalue()


def of_words(*words: str) -> Callable[[Attempt, str], None]:
    def act(attempt: Attempt, text: str) -> None:
        clean = attempt.root / "clean" / "tok"
        attempt.command(
            *({"TEXT": text, "CLEAN": str(clean), "LOCK": str(attempt.at / "x.lock")}.get(word, word) for word in words)
        )

    return act


def read(attempt: Attempt, text: str) -> list[chatlab.Dialogue]:
    path = attempt.at / "told.jsonl"
    path.write_text(json.dumps({"turns": [{"user": text, "assistant": text}], text: text}) + "\n" + text)
    return list(chatlab.read_dialogues(path, skip_bad=True))


TEXT_ENTRIES: dict[str, Callable[[Attempt, str], Any]] = {
    "measure_drift": measured,
    "measure_turns": lambda a, text: chatlab.measure_turns([dialogue(text)], "chatml", a.root / "clean" / "tok"),
    "trace_turns": lambda a, text: chatlab.trace_turns(
        a.root / "clean" / "tok", dialogue(text), prompt_class="chatml", stored="stripped"
    ),
    "TurnsView": lambda a, text: chatlab.TurnsView(
        chatlab.trace_turns(a.root / "clean" / "tok", dialogue(text), prompt_class="chatml", stored=lambda reply: "")
    ),
    "trace_echo": lambda a, text: chatlab.trace_echo(a.root / "clean" / "tok", f"<s>{text}<|im_end|>"),
    "EchoView": lambda a, text: chatlab.EchoView.of_reply(a.root / "clean" / "tok", text, text),
    "TokFlow": lambda a, text: chatlab.TokFlow([(text, text + "x")]).trace([text, text[:3], text]),
    "SentenceStop": lambda a, text: chatlab.SentenceStop(text).put(text) and None,
    "StreamView": viewed,
    "ChatPanel": chatted,
    "chat_in_terminal": in_a_terminal,
    "ChatStream": served,
    "snapshot of prompts": lambda a, text: chatlab.snapshot(a.root / "clean" / "tok", prompts=[text]),
    "load_tokenizer": lambda a, text: chatlab.load_tokenizer(text),
    "load_model": lambda a, text: chatlab.load_model(text),
    "prompt_for": lambda a, text: chatlab.prompt_for(text),
    "prompt_class": lambda a, text: chatlab.prompt_class(text),
    "read_dialogues": read,
    "Dialogue": lambda a, text: chatlab.Dialogue.from_dict({"id": text, "turns": [{"user": text, "assistant": text}]}),
    "stream_many": lambda a, text: chatlab.stream_many([text, text], ScriptedEngine(text or "x")).results(),
    "lock": lambda a, text: chatlab.lock(text, a.root / "clean" / "tok", path=a.at / "chatlab.lock"),
    "check": lambda a, text: chatlab.check(text, path=a.root / "clean" / "chatlab.lock"),
    "RemoteEngine": lambda a, text: RemoteEngine(f"http://127.0.0.1:9/{text}", "model", api_key=SECRET),
    "RemoteEngine's user": lambda a, text: RemoteEngine(
        f"http://{SECRET}:{SECRET}@127.0.0.1:9/{text}?key={SECRET}", "m"
    ),
    "diagnose": lambda a, text: chatlab.diagnose(
        a.root / "clean" / "tok", "chatml", [{"turns": [{"user": text, "assistant": text}] * 2}]
    ),
    "chatlab doctor": of_words("doctor", "CLEAN", "--prompt", "TEXT", "--skip-echo-len", "TEXT"),
    "chatlab drift": reported,
    "chatlab trace": of_words("trace", "CLEAN", "TEXT"),
    "chatlab trace of a source": of_words("trace", "TEXT", "Hi"),
    "chatlab drift by": of_words("drift", "CLEAN", "--prompt", "TEXT", "--strategy", "TEXT"),
    "chatlab compare": of_words("compare", "CLEAN", "TEXT"),
    "chatlab audit": of_words("audit", "CLEAN", "--against", "TEXT"),
    "audit_template of a template": lambda a, text: chatlab.audit_template("{{ messages[-1].content }}" + text),
    "chatlab compare of formats": of_words("compare", "CLEAN", "CLEAN", "--format", "TEXT"),
    "chatlab lock": of_words("lock", "TEXT", "CLEAN", "--file", "LOCK"),
    "chatlab lock by": of_words("lock", "t", "CLEAN", "--loader", "TEXT", "--role", "TEXT", "--file", "LOCK"),
    "chatlab check": of_words("check", "TEXT", "--file", "TEXT"),
    "chatlab chat": of_words("chat", "TEXT", "--prompt", "TEXT"),
    "chatlab serve": of_words("serve", "TEXT", "--store", "TEXT", "--fault", "TEXT"),
    "Conversation": lambda a, text: Conversation(text, ScriptedEngine(text)).ask(text),
}


@pytest.mark.parametrize("entry", TEXT_ENTRIES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_text_can_do_nothing(
    text: str, entry: str, place: Path, canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attempt = Attempt(place, tmp_path, lambda: None)
    attempt.run(lambda attempt: TEXT_ENTRIES[entry](attempt, TEXTS[text]))
    canary.check(attempt.shown, attempt.terminal)
    assert not list(tmp_path.rglob("touched"))


# -- locks ---------------------------------------------------------------------------------------------------


def entry_with(**fields: Any) -> Callable[[dict[str, Any], Canary], None]:
    def attack(data: dict[str, Any], canary: Canary) -> None:
        data["entries"]["tok"].update({k: v(canary) if callable(v) else v for k, v in fields.items()})

    return attack


def renamed(alias: str) -> Callable[[dict[str, Any], Canary], None]:
    def attack(data: dict[str, Any], canary: Canary) -> None:
        data["entries"][alias] = data["entries"].pop("tok")

    return attack


LOCKS: dict[str, Callable[[dict[str, Any], Canary], None]] = {
    "a place outside": entry_with(place="../home"),
    "an absolute place": entry_with(place=lambda canary: str(canary.secret)),
    "a place of commands": entry_with(place=HOSTILE),
    "a program as place": entry_with(kind="git", place=lambda canary: f"ext::{canary.program}", revision="0" * 40),
    "another folder's git": entry_with(kind="git", place="../home", revision="0" * 40),
    "the hub at a place": entry_with(kind="hub", place="../../home", revision="0" * 40),
    "an unknown kind": entry_with(kind=HOSTILE),
    "a loader of commands": entry_with(loader=HOSTILE),
    "a class as loader": entry_with(loader="os.system"),
    "options that trust": entry_with(options={"trust_remote_code": True}),
    "options of commands": entry_with(options={HOSTILE: HOSTILE}),
    "files outside": entry_with(files={"../../home/id_secret": {"sha256": "0" * 64, "size": 1}}),
    "files of commands": entry_with(files={HOSTILE: {"sha256": "0" * 64, "size": 1}}),
    "a revision of commands": entry_with(revision=HOSTILE, requested=HOSTILE),
    "an option of git": entry_with(
        kind="git", place="tok", revision="--upload-pack=x", requested="--output=../home/touched"
    ),
    "roles of commands": entry_with(roles={HOSTILE: HOSTILE}),
    "prompts of commands": entry_with(prompts=[HOSTILE]),
    "an alias of commands": renamed(HOSTILE),
    "an alias that climbs": renamed("../../home/touched"),
}


def updated(attempt: Attempt) -> Any:
    return chatlab.lock("tok", attempt.folder, path=attempt.at / "chatlab.lock", update=True, vendor=True)


def read(attempt: Attempt) -> None:
    for found in read_lock(attempt.at / "chatlab.lock").values():
        attempt.show(found)


LOCK_ENTRIES: dict[str, Callable[[Attempt], Any]] = {
    "read_lock": read,
    "check": lambda a: chatlab.check(path=a.at / "chatlab.lock"),
    "load_locked": lambda a: load_locked("tok", path=a.at / "chatlab.lock"),
    "lock": updated,
    **{f"chatlab check as {form}": cli("check", "--file", "LOCK", "--format", form) for form in ("rich", "markdown", "json", "html")},
    "chatlab lock --update": cli("lock", "tok", "--update", "--file", "LOCK"),
    "chatlab lock --update --vendor": cli("lock", "tok", "--update", "--vendor", "--file", "LOCK"),
}  # fmt: skip


@pytest.mark.parametrize("entry", LOCK_ENTRIES)
@pytest.mark.parametrize("attack", LOCKS)
def test_a_hostile_lock_can_do_nothing(attack: str, entry: str, place: Path, canary: Canary, tmp_path: Path) -> None:
    make_folder(tmp_path / "tok")
    attempt = Attempt(place, tmp_path, lambda: None)
    locked(attempt)
    data = json.loads((tmp_path / "chatlab.lock").read_text())
    LOCKS[attack](data, canary)
    (tmp_path / "chatlab.lock").write_text(json.dumps(data))
    attempt.run(LOCK_ENTRIES[entry])
    canary.check(attempt.shown, attempt.terminal)


# -- servers -------------------------------------------------------------------------------------------------


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers everything with what the test says, the request's own key in it."""

    answer: tuple[int, str, str] = (200, "", "")
    elsewhere = ""

    def do_GET(self) -> None:
        status, kind, body = self.answer
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        data = body.replace("KEY", str(self.headers.get("authorization"))).encode("utf-8", "surrogatepass")
        self.send_response(status)
        self.send_header("content-type", kind)
        if status in (302, 307):
            self.send_header("location", self.elsewhere)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


def chunk(**fields: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, **fields}]})}\n\n"


SSE = "text/event-stream"
SERVERS: dict[str, tuple[int, str, str]] = {
    "a refusal of commands": (401, "text/plain", f"{HOSTILE} KEY"),
    "a refusal in JSON": (
        400,
        "application/json",
        json.dumps({"error": {"message": HOSTILE + " KEY", "type": COMMAND}}),
    ),
    "a redirect": (307, "text/plain", ""),
    "another redirect": (302, "text/html", HTML),
    "a page": (200, "text/html", HTML + COMMAND),
    "a text of commands": (200, SSE, chunk(text=HOSTILE) + chunk(text="", finish_reason="stop") + "data: [DONE]\n\n"),
    "an end of commands": (200, SSE, chunk(text="x", finish_reason=HOSTILE)),
    "an error in mid-stream": (200, SSE, chunk(text="x") + f"data: {json.dumps({'error': HOSTILE + ' KEY'})}\n\n"),
    "no event": (200, SSE, f"{COMMAND}\n\n"),
}


@pytest.mark.parametrize("entry", ["stream", "astream", "chat_in_terminal", "ChatPanel"])
@pytest.mark.parametrize("attack", SERVERS)
def test_a_hostile_server_can_do_nothing(attack: str, entry: str, place: Path, canary: Canary, tmp_path: Path) -> None:
    attempt = Attempt(place, tmp_path, lambda: None)
    handler = type("Handler", (_Server,), {"answer": SERVERS[attack], "elsewhere": canary.address})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            engine = RemoteEngine(f"http://127.0.0.1:{server.server_port}/v1", "m", api_key=SECRET)
            with engine:
                attempt.run(lambda attempt: SERVER_ENTRIES[entry](attempt, engine))
        except ChatlabError as error:
            attempt.terminal += "".join(traceback.format_exception(error))
        finally:
            server.shutdown()
            thread.join()
    canary.check(attempt.shown, attempt.terminal)


def asked() -> Any:
    prompt = chatlab.ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    return prompt


def by_stream(attempt: Attempt, engine: RemoteEngine) -> Any:
    reply = chatlab.stream(asked(), engine, temperature=0)
    attempt.shown += "".join(delta.text for delta in reply)
    return reply.result()


def by_astream(attempt: Attempt, engine: RemoteEngine) -> None:
    async def read() -> None:
        async for delta in chatlab.astream(asked(), engine, temperature=0):
            attempt.shown += delta.text

    asyncio.run(read())


def by_terminal(attempt: Attempt, engine: RemoteEngine) -> None:
    screen, lines = io.StringIO(), iter(["Hi", "/quit"])
    params = chatlab.SamplingParams(temperature=0)
    chat_in_terminal(
        engine,
        chatlab.ChatPromptMetaLlamaLlama2Chat(),
        params,
        console=Terminal(file=screen),
        ask=lambda _: next(lines),
    )
    attempt.terminal += screen.getvalue()


def by_panel(attempt: Attempt, engine: RemoteEngine) -> Any:
    panel = chatlab.ChatPanel(engine, chatlab.ChatPromptMetaLlamaLlama2Chat(), temperature=0)
    try:
        panel.ask_sync("Hi", view=False)
    finally:
        attempt.show(panel.transcript)


SERVER_ENTRIES = {"stream": by_stream, "astream": by_astream, "chat_in_terminal": by_terminal, "ChatPanel": by_panel}


# -- no code unless asked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "file"), [("code of a tokenizer", "tokenizer_config.json"), ("code of a config", "config.json")]
)
def test_a_folder_that_needs_code_is_told_by_its_file_and_the_argument(
    attack: str, file: str, place: Path, canary: Canary, tmp_path: Path
) -> None:
    make_folder(tmp_path / "tok")
    FOLDERS[attack](tmp_path / "tok", canary)
    told = (
        chatlab.snapshot(tmp_path / "tok").view("auto").get("error", "")
    )  # beside the raw reading, which needs no code
    assert not told or re.search(f"{file} names code of its own.*trust_remote_code=True", told)
    (tmp_path / "tok" / "tokenizer.json").unlink()
    for act in (chatlab.load_tokenizer, chatlab.snapshot):
        with pytest.raises(ChatlabError, match=rf"{file} names code of its own, .*evil\.Evil.*trust_remote_code=True"):
            act(tmp_path / "tok")
    if file == "config.json":
        with pytest.raises(ChatlabError, match=r"config\.json of .* names code of its own, .*trust_remote_code=True"):
            chatlab.load_model(tmp_path / "tok")
    canary.check("", "")


# -- the canaries sing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("touch", ["file", "variable", "secret", "terminal", "port", "input", "outside"])
def test_a_canary_that_is_touched_is_seen(touch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = Canary(tmp_path / "home")
    canary.check("all", "well\n")
    {
        "file": lambda: canary.touched.touch(),
        "variable": lambda: monkeypatch.setenv("CANARY", "touched"),
        "port": lambda: socket.create_connection(canary.port.getsockname()).close(),
        "input": lambda: setattr(canary, "asked", True),
        "outside": lambda: (canary.home / "more").touch(),
    }.get(touch, lambda: None)()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        canary.check(SECRET if touch == "secret" else "", "\x9b" if touch == "terminal" else "")
    canary.close()


def test_every_public_name_is_a_way_in_or_takes_nothing_from_strangers() -> None:
    told = " ".join([*ENTRIES, *TEXT_ENTRIES, *SERVER_ENTRIES])
    bare = {"AbstractChatPrompt", "BatchEngine", "ChatlabError", "LocalEngine", "RoleType", "SamplingParams"}
    tried = {"ChatPromptMetaLlamaLlama2Chat"}  # the prompt of every chat above
    assert {name for name in chatlab.__all__ if name not in told} == bare | tried


def test_every_command_is_a_way_in() -> None:
    told = " ".join([*ENTRIES, *TEXT_ENTRIES, *LOCK_ENTRIES])
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name for name in commands if f"chatlab {name}" not in told} == {"lab"}, "lab opens our own notebooks"
