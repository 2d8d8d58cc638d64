"""What changed is probed first: of many added tokens, those that moved, on both sides alike."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import ALSO, compare_revisions, tokens_to_probe
from chatlab.severity import Severity
from tests.support.injections import copy_of, edit

MANY = 40


def many(change=None):
    """Return an injection that gives a tokenizer many added tokens, the last of them changed."""

    def give(value):
        last = max(value["model"]["vocab"].values())
        row = {**value["added_tokens"][-1], "special": False}
        rows = [{**row, "id": last + 1 + n, "content": f"<|tool_{n:02}|>"} for n in range(MANY)]
        if change:
            change(rows[-3:])
        value["added_tokens"] += sorted(rows, key=lambda token: token["id"])

    return edit("tokenizer.json", give)


def turned(rows):
    """Give each of the tokens the id of the next one."""
    for row, number in zip(rows, [*(row["id"] for row in rows[1:]), rows[0]["id"]], strict=True):
        row["id"] = number


@pytest.mark.parametrize(
    "change",
    [turned, lambda rows: [r.update(rstrip=True) for r in rows], lambda rows: [r.update(lstrip=True) for r in rows]],
    ids=["id", "rstrip", "lstrip"],
)
def test_added_tokens_that_changed_are_probed_however_many_there_are(tmp_path, change, monkeypatch):
    folders = [copy_of("byte-bpe", tmp_path / name) for name in ("before", "after")]
    many()(folders[0])
    many(change)(folders[1])
    c = compare_revisions(*folders, loader="raw")
    lock("t", folders[0], path=tmp_path / "chatlab.lock", loader="raw")
    shutil.copyfile(folders[1] / "tokenizer.json", folders[0] / "tokenizer.json")
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "another machine"))
    (result,) = check(path=tmp_path / "chatlab.lock")
    assert result.exit_code == c.exit_code
    touched = {p.label.split("/")[1] for p in c.probes if p.family == "added" and p.ids_differ}
    assert {f"<|tool_{n}|>" for n in range(MANY - 3, MANY)} <= touched
    assert c.severity is Severity.BREAKING


def record(tokens, probed):
    rows = [{"content": token, "id": number} for token, number in tokens.items()]
    return {"documents": {"tokenizer.json": {"added_tokens": rows}}, "tokens": probed}


tokens = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 9), max_size=12)


@given(tokens, tokens)
def test_both_sides_are_asked_about_the_same_tokens_and_about_what_changed(before, after):
    sides = [record(side, sorted(side)[:3]) for side in (before, after)]
    asked = set(tokens_to_probe(*sides))
    changed = {token for token in before.keys() | after.keys() if before.get(token) != after.get(token)}
    seen = set(sides[0]["tokens"]) & set(sides[1]["tokens"])
    assert len(changed) > ALSO or changed <= asked | seen
    assert asked or (set(sides[0]["tokens"]) == set(sides[1]["tokens"]) and changed <= seen)
