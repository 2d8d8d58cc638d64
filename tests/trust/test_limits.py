"""Strangers' files take no more time, memory, network or programs than they may, and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as RustTokenizer

from chatlab.child import call
from chatlab.child import nursery as nurseries
from chatlab.child.call import ChildLimits, in_child
from chatlab.embedded import tokenizer_path
from chatlab.engines.load import load_model
from chatlab.errors import (
    ChatlabError,
    LockError,
    ModelLoadError,
    RevisionError,
    TemplateError,
    TemplateLimitError,
    TokenizerLimitError,
    TokenizerLoadError,
)
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.prompts.templates import bounds
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.sandbox import render
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.snapshot import Snapshot, snapshot
from chatlab.tokenizers.load import load_tokenizer
from chatlab.tokenizers.pipeline.patterns import may_be_costly
from tests.conftest import ROOT
from tests.support.children import connect, die, double, fail, grow, half, leave, look, nest, run, sleep, spin
from tests.support.hostile_templates import BOMBS, VARIABLES
from tests.support.injections import copy_of

SMALL = ChildLimits(time_s=1, memory_bytes=256 * 2**20)


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (spin, "x took more than 1 s of processor time"),
        (grow, "x took more than 256 MB of memory"),
        (nest, "x is nested deeper"),
        (die, "x ended the process that read it .SIGSEGV"),
        (leave, "x took more than 256 MB of memory"),
    ],
)
def test_a_child_that_oversteps_is_a_typed_error_that_names_the_limit(work, told):
    with pytest.raises(TokenizerLimitError, match=told):
        in_child(work, None, "x", SMALL)
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_a_child_that_sleeps_is_ended_on_the_clock(monkeypatch):
    monkeypatch.setattr(call, "PATIENCE", 0.3)
    in_child(double, 1, "x", ChildLimits(time_s=100))
    with pytest.raises(TokenizerLimitError, match="on the clock"):
        in_child(sleep, None, "x", SMALL)
    monkeypatch.undo()
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_what_a_child_prints_is_no_answer():
    assert in_child(half, None, "x", SMALL) is None


def test_what_a_child_raises_is_told():
    with pytest.raises(RevisionError, match="typed"):
        in_child(fail, "typed", "x", SMALL)
    with pytest.raises(TokenizerLoadError, match="x cannot be read: KeyError: 'other'"):
        in_child(fail, "other", "x", SMALL)


def test_a_child_knows_no_keys(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "secret" not in str(in_child(look, None, "x", SMALL))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process from the network")
def test_a_child_reaches_no_network_and_starts_no_program():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert in_child(connect, server.getsockname()[1], "x", SMALL) == "PermissionError"
    assert in_child(run, None, "x", SMALL) == "PermissionError"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_ends_the_child_within_a_second():
    in_child(double, 1, "x", SMALL)
    nursery = nurseries._IDLE[-1]._process.pid
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_child(spin, None, "x", ChildLimits(time_s=60))
    assert time.monotonic() - begun < 1.3
    assert not Path(f"/proc/{nursery}").exists()
    assert in_child(double, 1, "x", SMALL) == [1, 1]


def test_ctrl_c_that_another_thread_was_told_is_heard_too():
    """The kernel chooses the thread; the one that waits for the child is then not woken."""
    in_child(double, 1, "x", SMALL)

    def told() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(2)

    threading.Thread(target=told).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_child(spin, None, "x", ChildLimits(time_s=10))
    assert time.monotonic() - begun < 1.8


def test_a_child_does_not_outlive_its_asker():
    """Also one that was killed, and so could clean up nothing."""
    script = "from chatlab.child.call import *; from tests.support.children import spin; print(1, flush=True); "
    script += "in_child(spin, None, 'x', ChildLimits(time_s=60))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as asker:
        assert asker.stdout
        assert asker.stdout.readline()
        deadline = time.monotonic() + 30
        while not (found := [c for n in children_of(asker.pid) for c in [n, *children_of(n)]])[1:]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        asker.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_threads_ask_at_once():
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(in_child(double, n, "x", SMALL))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [[n, n] for n in range(8)]


def test_the_environment_changes_the_limits(monkeypatch):
    assert ChildLimits.for_bytes(10 * 2**20).time_s > ChildLimits.for_bytes(0).time_s
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "3")
    monkeypatch.setenv("CHATLAB_CHILD_MEMORY_MB", "700")
    assert ChildLimits.for_bytes(10 * 2**20) == ChildLimits(time_s=3, memory_bytes=700 * 2**20)


# -- files that cost without end -----------------------------------------------------------------------------


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def doubling(times: int) -> dict[str, Any]:
    step = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}
    return {"type": "Sequence", "normalizers": [step] * times}


def edited(folder: Path, **parts: Any) -> Path:
    file = copy_of("byte-bpe", folder) / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))
    return folder


def raw_model(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(data)
    return folder


HOSTILE = {
    "a pattern that backtracks": lambda f: edited(f, pre_tokenizer=split(r"(a+)+$")),
    "a pattern that backtracks in silence": lambda f: edited(f, pre_tokenizer=split(r"(?:\w|[a-z]){20}\W\W\W\W")),
    "a normalizer that doubles": lambda f: edited(f, normalizer=doubling(30)),
    "a varint without end": lambda f: raw_model(f, b"\x80" * 2_000_000),
    "a field of a huge size": lambda f: raw_model(f, b"\x0a\xff\xff\xff\xff\x7f"),
    "json that nests without end": lambda f: nested(f),
}


def nested(folder: Path) -> Path:
    (copy_of("byte-bpe", folder) / "tokenizer.json").write_text("[" * 100_000)
    return folder


@pytest.fixture
def hurried(monkeypatch):
    """What is honest takes two tenths of a second here."""
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_as_a_result_or_a_typed_error(name, tmp_path, hurried):
    folder = HOSTILE[name](tmp_path / "t")
    begun = time.monotonic()
    try:
        taken = snapshot(folder, cache=False)
    except TokenizerLoadError:
        pass
    else:
        assert taken.record["views"]
    assert time.monotonic() - begun < 5


def test_commands_for_strangers_name_the_limit(tmp_path, hurried):
    bomb = HOSTILE["a normalizer that doubles"](tmp_path / "t")
    honest, lockfile = copy_of("byte-bpe", tmp_path / "u"), tmp_path / "chatlab.lock"
    for act in (
        lambda: compare_revisions(honest, bomb, cache=False),
        lambda: lock("t", bomb, path=lockfile),
    ):
        with pytest.raises(TokenizerLimitError, match="took more than"):
            act()
    lock("u", honest, path=lockfile)
    (honest / "tokenizer.json").write_bytes((bomb / "tokenizer.json").read_bytes())
    (result,) = check(path=lockfile)
    assert (result.word, result.exit_code) == ("no verdict", 3)
    assert "took more than" in str(result.error)


def test_a_record_is_the_same_in_a_child_and_here():
    """Law L5: where it was made does not stand in it."""
    from chatlab.snapshots import recorder
    from chatlab.snapshots.corpus import probe_corpus

    here = recorder.record({"folder": str(tokenizer_path("byte-bpe")), "corpus": probe_corpus()})
    there = snapshot(tokenizer_path("byte-bpe"), cache=False).record
    assert recorder.canonical({**here, "prompts": []}) == recorder.canonical(there)


# -- in the process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a pattern that backtracks in silence", "a normalizer that doubles"])
@pytest.mark.parametrize("way", ["encode", "encode_spans", "encode_batch"])
def test_ctrl_c_ends_a_hostile_encode_within_a_second(name, way, tmp_path):
    """In a process of its own: the thread that was left alone goes on until the library gives up."""
    folder = HOSTILE[name](tmp_path / "t")
    script = """
import os, signal, sys, threading, time
from chatlab.tokenizers.load import load_tokenizer
tokenizer = load_tokenizer(sys.argv[1], loader="tokenizers")
text = "a" * 300 if "silence" in sys.argv[3] else "a"
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
try:
    getattr(tokenizer, sys.argv[2])([text] if sys.argv[2] == "encode_batch" else text)
except KeyboardInterrupt:
    print(time.monotonic() - begun)
sys.stdout.flush()
os._exit(0)
"""
    run = subprocess.run(
        [sys.executable, "-c", LIMITED + script, str(folder), way, name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert run.stdout, run.stderr
    assert float(run.stdout) < 1.2


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
"""The doubling would take the machine's memory before anybody pressed a key."""


def test_patterns_of_real_tokenizers_are_known_as_cheap(real):
    files = sorted([*tokenizer_path("byte-bpe").parent.rglob("tokenizer.json"), *real.rglob("tokenizer.json")])
    assert files
    assert not [file for file in files if may_be_costly(RustTokenizer.from_file(str(file)))]


def test_a_guarded_encode_gives_the_very_same(tmp_path):
    plain = load_tokenizer(tokenizer_path("byte-bpe"), loader="tokenizers")
    guarded = load_tokenizer(tokenizer_path("byte-bpe"), loader="tokenizers")
    guarded._may_be_costly = True
    for text in ("", "Hello, world", "caf\u00e9 \U0001f600\n\n  x", "<s>"):
        assert guarded.encode_spans(text) == plain.encode_spans(text)
        assert guarded.encode(text, add_special_tokens=True) == plain.encode(text, add_special_tokens=True)
        assert guarded.encode_batch([text]) == plain.encode_batch([text])


def grown(step: str) -> str:
    return "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}" + step + "{% endfor %}"


GROWING = {
    **{name: bomb for name, bomb in BOMBS.items() if name not in ("a big range", "many filters")},
    # Jinja refuses the first itself, and the compiler of Python takes seconds to refuse the second.
    "a block that holds itself twice": grown("{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    "a tilde": grown("{% set ns.x = ns.x ~ ns.x %}"),
    "a plus": grown("{% set ns.x = ns.x + ns.x %}"),
    "a list that is written": grown("{% set ns.x = [ns.x, ns.x]|string %}"),
    "a list that is joined": grown("{% set ns.x = [ns.x, ns.x]|join %}"),
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a number": "{{ 10 ** (10 ** 9) }}",
    "a method": "{{ 'a'.ljust(10**10) }}",
    "a width": "{{ '%9999999999d' % 1 }}",
    "a width of format": "{{ '{:>9999999999}'.format(1) }}",
    "an indent": "{{ [1]|tojson(indent=10**10) }}",
    "a replacement": "{{ ('a'*1000000).replace('a', 'b'*1000000) }}",
    "a separator": "{{ range(99999)|join('a'*1000000) }}",
    "parentheses": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
}


@pytest.mark.parametrize("name", GROWING)
def test_a_template_in_the_process_is_ended_by_its_length_depth_or_steps(name, monkeypatch):
    monkeypatch.setattr(bounds, "STEPS", 100_000)  # a million take seconds
    begun = time.monotonic()
    with pytest.raises(TemplateLimitError):
        render(GROWING[name], {**VARIABLES, "n": 3})
    assert time.monotonic() - begun < 30


def test_ctrl_c_ends_a_render_within_a_second(monkeypatch):
    monkeypatch.setattr(bounds, "STEPS", 10**12)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        render(BOMBS["loops in loops"], {})
    assert time.monotonic() - begun < 1.2


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_template_is_read_through_the_door(file, tmp_path):
    """A link out of the folder, or a FIFO that never ends, in place of a file."""
    (tmp_path / "secret").write_text("{}")
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(tmp_path / "secret")
    with pytest.raises(TemplateError, match="link out of its folder"):
        ChatTemplatePrompt(folder)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(TemplateError, match="no regular file"):
        ChatTemplatePrompt(folder)


@pytest.mark.parametrize("hang", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_a_lock_or_snapshot_that_is_no_file_is_refused(hang, tmp_path):
    """In a clone of a stranger, the lock file is the stranger's too."""
    for name, read in (("chatlab.lock", lambda p: check(path=p)), ("x.json", Snapshot.load)):
        hang(tmp_path / name)
        with pytest.raises(ChatlabError, match="no regular file"):
            read(tmp_path / name)


def test_a_lock_of_100_mb_is_refused(tmp_path):
    with (tmp_path / "chatlab.lock").open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(LockError, match="is the most that is read"):
        check(path=tmp_path / "chatlab.lock")


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/secret.safetensors", "a/../../secret.safetensors"])
def test_an_index_of_weights_leads_nowhere_else(shard, tmp_path):
    (tmp_path / "secret.safetensors").write_bytes(b"")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "t" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(ModelLoadError, match="outside of its folder"):
        load_model(tmp_path / "t")


def test_a_path_that_a_program_left_behind_is_no_reason_to_refuse(tmp_path):
    """Saved folders tell where they were saved, and of a file that is not there."""
    folder = copy_of("byte-bpe", tmp_path / "t")
    path = folder / "tokenizer_config.json"
    left = {
        "name_or_path": str(tmp_path),
        "special_tokens_map_file": str(Path(__file__)),
        "tokenizer_file": "/no/such/tokenizer.json",
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **left, "vocab_file": "tokenizer.json"}))
    assert load_tokenizer(folder).encode("a")
