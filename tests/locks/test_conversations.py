"""What a new chat template loses of conversations is named by a comparison, and guarded by a lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatlab.errors import LockError
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import read_lock
from chatlab.revisions.compare import compare_revisions
from chatlab.severity import Severity
from tests.support.clean_templates import CLEAN, FAULTS, PLAIN, Fault
from tests.support.hostile import make_folder

TOLD = [fault for fault in FAULTS if fault.name in (
    "a reply is trimmed", "calls are not written", "earlier thoughts are left out", "the last reply ends otherwise",
)]  # fmt: skip


def folder(place: Path, template: str) -> Path:
    made = place if place.is_dir() else make_folder(place)
    config = json.loads((made / "tokenizer_config.json").read_text())
    (made / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return made


def told(found) -> list[str]:
    return [finding.title for finding in found.findings if finding.title.startswith("conversations:")]


@pytest.mark.parametrize("fault", TOLD, ids=lambda fault: fault.name)
def test_a_comparison_names_what_conversations_lose_and_what_they_get_back(fault: Fault, tmp_path: Path) -> None:
    clean, faulty = folder(tmp_path / "clean", CLEAN[fault.base]), folder(tmp_path / "faulty", fault.template)
    ((kind, _),) = fault.named
    worse, better = compare_revisions(clean, faulty), compare_revisions(faulty, clean)
    assert told(worse) == [f"conversations: new: {kind}"]
    assert told(better) == [f"conversations: no longer: {kind}"]
    found = next(one for one in worse.findings if one.title.startswith("conversations:"))
    assert found.severity > Severity.INFO
    assert "smallest conversation" in found.evidence[0]
    assert kind in worse.to_markdown()


def test_a_comparison_names_another_default_of_thinking(tmp_path: Path) -> None:
    off = next(fault for fault in FAULTS if fault.name == "thinking is off")
    clean, other = folder(tmp_path / "clean", CLEAN[off.base]), folder(tmp_path / "off", off.template)
    (title,) = told(compare_revisions(clean, other))
    assert "thinking off" in title


def test_a_comparison_of_templates_that_lose_the_same_says_nothing_of_it(tmp_path: Path) -> None:
    clean = folder(tmp_path / "clean", PLAIN)
    other = folder(tmp_path / "other", PLAIN.replace("<|im_start|>tools", "<|im_start|>offered"))
    assert not told(compare_revisions(clean, other))


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    lock("tok", folder(tmp_path / "tok", PLAIN), path=tmp_path / "chatlab.lock")
    return tmp_path


def test_a_check_names_what_conversations_lose(locked: Path) -> None:
    (first,) = check(path=locked / "chatlab.lock")
    assert first.lines == ()
    fault = next(fault for fault in FAULTS if fault.name == "calls are not written")
    folder(locked / "tok", fault.template)
    (found,) = check(path=locked / "chatlab.lock")
    assert any("loses something of conversations: call dropped" in line for line in found.lines)
    assert found.severity is Severity.BREAKING
    lock("tok", path=locked / "chatlab.lock", update=True)
    folder(locked / "tok", PLAIN)
    (back,) = check(path=locked / "chatlab.lock")
    assert any("no longer loses something of conversations: call dropped" in line for line in back.lines)


def test_a_lock_that_knows_nothing_of_conversations_is_read_and_checked_as_before(locked: Path) -> None:
    path = locked / "chatlab.lock"
    data = json.loads(path.read_text())
    assert data["entries"]["tok"]["golden"].pop("conversations") == {}
    path.write_text(json.dumps(data))
    assert "conversations" not in read_lock(path)["tok"].golden
    (found,) = check(path=path)
    assert found.lines == ()


def test_what_a_stranger_writes_there_is_checked(locked: Path) -> None:
    path = locked / "chatlab.lock"
    data = json.loads(path.read_text())
    data["entries"]["tok"]["golden"]["conversations"] = {"\x1b[2J": "no severity"}
    path.write_text(json.dumps(data))
    (found,) = check(path=path)
    assert "\x1b" not in str(found)
    data["entries"]["tok"]["golden"]["conversations"] = ["x"]
    path.write_text(json.dumps(data))
    with pytest.raises(LockError, match="damaged"):
        check(path=path)
