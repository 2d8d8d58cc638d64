"""Templates of strangers: a snapshot ends whatever they do, says what they did, and honest ones render as ever."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.cli.revisions import compare
from chatlab.embedded import tokenizer_path
from chatlab.errors import LockError
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.differences.templates import same_meaning, template_variables
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from chatlab.snapshots import recorder
from chatlab.snapshots.snapshot import snapshot
from tests.support.commands import exit_code
from tests.support.commands import screen as screen
from tests.support.hostile_templates import BOMBS, ESCAPES
from tests.support.injections import copy_of, setting
from tests.support.templates import ALL

REFUSED = ("a big range",)
"""Bombs that Jinja's own sandbox refuses: an error like any other."""

LOOPS = BOMBS["loops in loops"]


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Honest templates need a tenth of a second, and many bombs wait for their end."""
    monkeypatch.setattr(recorder, "TEMPLATE_SECONDS", 0.5)


def bomb(template: str, folder: Path) -> Path:
    setting("tokenizer_config.json", "chat_template", to=lambda old: template)(copy_of("byte-bpe", folder))
    return folder


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_and_is_a_breaking_finding(name, tmp_path):
    c = compare_revisions(tokenizer_path("byte-bpe"), bomb(BOMBS[name], tmp_path / "bomb"), cache=False)
    assert c.severity is Severity.BREAKING
    assert c.kinds[0] is ChangeKind.CHAT_TEMPLATE
    assert all("text" not in chat for chat in c.snapshots[1].view("auto")["chats"].values())
    if name not in REFUSED:
        assert c.findings[0].title.startswith("the chat template exceeded")
        assert any("the chat template exceeded" in note for note in c.notes)
        assert any("Do not render the new chat template" in line for line in c.advice)


@pytest.mark.parametrize("template", ESCAPES)
def test_an_escape_gives_an_error_or_nothing(template, tmp_path):
    taken = recorder.record({"folder": str(bomb(template, tmp_path / "t")), "corpus": CORPUS, "loaders": ["raw"]})
    texts = [chat.get("text", "") for chat in taken["views"]["raw"]["chats"].values()]
    assert not any("<class" in text or "root:" in text or "uid=" in text for text in texts)


def test_the_snapshot_names_the_limit(tmp_path):
    taken = snapshot(bomb(LOOPS, tmp_path / "bomb"))
    told = "auto: the chat template exceeded 0.5 s of processor time: not rendered"
    assert taken.warnings[0] == told
    assert told in str(taken)
    assert told in taken.body()
    assert snapshot(tokenizer_path("byte-bpe")).warnings == ()


def test_a_template_that_explodes_for_tools_alone_is_breaking_too(screen, tmp_path):
    """The rest renders as before; with tools a server would hang."""
    folder = copy_of("byte-bpe", tmp_path / "t")
    setting("tokenizer_config.json", "chat_template", to=lambda t: t + "{% if tools %}" + LOOPS + "{% endif %}")(folder)
    assert exit_code(compare, str(tokenizer_path("byte-bpe")), str(folder)) == 1
    assert "exceeded 0.5 s of processor time after the change" in screen.getvalue()
    assert "text" in snapshot(folder).view()["chats"]["chat/turns-1"]


def test_a_bomb_is_not_locked_and_a_lock_sees_it_come(tmp_path):
    with pytest.raises(LockError, match="the chat template exceeded"):
        lock("bomb", bomb(LOOPS, tmp_path / "bomb"), path=tmp_path / "chatlab.lock")
    folder = copy_of("byte-bpe", tmp_path / "t")
    lock("t", folder, path=tmp_path / "chatlab.lock")
    setting("tokenizer_config.json", "chat_template", to=LOOPS)(folder)
    (result,) = check(path=tmp_path / "chatlab.lock")
    assert result.exit_code == 1
    assert "the chat template exceeded" in result.lines[0]


@pytest.mark.parametrize("name", BOMBS)
def test_parsing_a_bomb_ends_too(name):
    """Jinja folds constants while it looks for names."""
    assert template_variables(BOMBS[name]) <= {"n"}
    assert not same_meaning(BOMBS[name], "a")


CORPUS = {
    "version": "test",
    "texts": [],
    "turns": [],
    "contexts": [],
    "sequences": [],
    "tools": {},
    "dialogues": [
        {"label": "turns-1", "roles": "plain", "messages": [{"role": "user", "content": "Hi"}]},
    ],
}


# -- the law of limited --------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.lists(json_values, max_size=8))
def test_honest_work_is_done_as_in_this_process(items):
    assert recorder.limited(Path("x"), lambda item: [item], items) == [[item] for item in items]


@pytest.mark.parametrize("name", ALL)
def test_honest_templates_render_the_same_inside_and_out(name):
    variables = {"messages": [{"role": "user", "content": "Hi"}], "bos_token": "<s>", "eos_token": "</s>"}

    def render(template):
        return recorder._compile(template).render(**variables)

    assert recorder.limited(Path("x"), render, [ALL[name]]) == [render(ALL[name])]


def test_a_failure_is_of_its_item_alone_and_hides_the_folder():
    def work(item):
        raise ValueError(f"/some/where/{item}")

    found = recorder.limited(Path("/some/where"), work, ["a", "b"])
    assert found == [{"error": "ValueError: <source>/a"}, {"error": "ValueError: <source>/b"}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_that_dies_leaves_what_it_did_and_a_reason(number):
    def work(item):
        if item == 2:
            os.kill(os.getpid(), number)
        return item

    reason = {"exceeded": "what its process may do"}
    assert recorder.limited(Path("x"), work, [1, 2, 3]) == [1, reason, reason]


def test_a_child_that_sleeps_is_ended_by_the_clock(monkeypatch):
    monkeypatch.setattr(recorder, "WAIT_SECONDS", 0.2)
    found = recorder.limited(Path("x"), lambda item: signal.pause(), [1, 2])
    assert found == [{"exceeded": "0.2 s on the clock"}] * 2


def test_a_snapshot_is_the_same_in_a_thread():
    """A notebook's widgets and a server take them there."""
    found = []
    folder = tokenizer_path("byte-bpe")
    thread = threading.Thread(target=lambda: found.append(snapshot(folder, cache=False)))
    thread.start()
    thread.join()
    assert found[0].to_json() == snapshot(folder, cache=False).to_json()


def test_no_child_and_no_pipe_is_left_over(monkeypatch):
    children, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    before = set(os.listdir("/proc/self/fd"))
    assert recorder.limited(Path("x"), str, [1, 2]) == ["1", "2"]
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(children.pop(), os.WNOHANG)


def test_without_fork_nothing_is_rendered_and_that_is_said(monkeypatch):
    monkeypatch.delattr(os, "fork")
    (answer,) = recorder.limited(Path("x"), str, [1])
    assert "no fork here" in answer["error"]
