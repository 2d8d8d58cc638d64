"""The Phi-3 story on a hub of our own: since when, locked and moved, gone upstream; with real hub clients."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from chatlab.embedded import tokenizer_path
from chatlab.errors import RevisionCompareError, RevisionError
from chatlab.history.bisection import bisect_revisions
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.comparison import Comparison
from chatlab.severity import Severity
from chatlab.testing import Fault, LocalHub
from tests.revisions.rendered import rendered

REPO = "org/tiny"
BEFORE, AFTER = (tokenizer_path(f"phi3-style/{name}") for name in ("before", "after"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    disable_progress_bars()
    with LocalHub() as local:
        monkeypatch.setenv("HF_ENDPOINT", local.endpoint)
        yield local


@pytest.fixture
def new_cache(tmp_path, monkeypatch):
    """Nothing is known yet of any commit."""
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def story(hub):
    """As in spring 2024: three commits that break nothing, the config, then tokenizer.json, then weights."""
    read = {p.name: p.read_bytes() for p in BEFORE.iterdir()}
    new = {p.name: p.read_bytes() for p in AFTER.iterdir()}
    return [
        hub.commit(REPO, read, "initial"),
        hub.commit(REPO, {"README.md": "hello"}, "Update README"),
        hub.commit(
            REPO,
            {
                "tokenizer_config.json": read["tokenizer_config.json"].replace(
                    b'"model_max_length"', b'"model_max_length" '
                )
            },
            "spell",
        ),
        hub.commit(REPO, {"tokenizer_config.json": new["tokenizer_config.json"]}, "Adjusts rstrip of special tokens"),
        hub.commit(REPO, {"tokenizer.json": new["tokenizer.json"]}, "fix(tokenizer): Also updates tokenizer.json"),
        hub.commit(REPO, {"model.safetensors": b"w" * 1000}, "weights"),
    ]


def test_two_revisions_of_one_repository_are_compared(hub, story):
    c = compare_revisions(f"{REPO}@{story[0]}", f"{REPO}@main")
    assert c.severity is Severity.BREAKING
    assert c.after.revision == story[-1]
    assert any("can move" in note for note in c.notes)
    assert story[0][:8] in c.to_markdown()


def test_bisect_names_the_commit_that_broke_and_not_the_one_that_was_blamed(hub, story):
    found = bisect_revisions(REPO, story[0], "main")
    assert found.first.commit == story[3]
    assert found.first.changed == ("tokenizer_config.json",)
    assert found.exit_code == 1
    assert [s.commit for s in found.steps] == story[1:4]
    assert "Adjusts rstrip" in found.verdict
    assert story[3][:8] in found.to_markdown()


def test_a_bisection_is_a_report_on_the_terminal(hub, story):
    shown = rendered(bisect_revisions(REPO, story[0], "main"))
    assert shown.startswith(f"Since {story[3]}")
    assert "What to do" in shown
    assert "Bisection(" not in shown


def test_bisect_through_the_raw_loader_names_the_blamed_one(hub, story):
    found = bisect_revisions(REPO, story[0], "main", loader="raw", at_least=Severity.BREAKING)
    assert found.first.commit == story[4]


def test_bisect_downloads_no_blob_twice_and_no_weights(hub, story):
    bisect_revisions(REPO, story[0], "main", at_least=Severity.BREAKING, loader="raw")
    fetched = [r.split("/")[-1] for r in hub.requests if r.startswith("GET") and "/resolve/" in r]
    assert sorted(fetched) == sorted(
        [*(p.name for p in BEFORE.iterdir()), "tokenizer_config.json", "tokenizer_config.json", "tokenizer.json"]
    )


def test_bisect_takes_a_commit_that_touches_no_tokenizer_file_for_free(hub, story):
    hub.requests.clear()
    found = bisect_revisions(REPO, story[0], story[1])
    assert found.first is None
    assert found.exit_code == 0
    assert not [r for r in hub.requests if f"/resolve/{story[1]}" in r and r.startswith("GET")]


def test_a_revert_does_not_hide_the_first_bad_commit(hub, story):
    good = hub.commit(
        REPO, {n: (BEFORE / n).read_bytes() for n in ("tokenizer.json", "tokenizer_config.json")}, "Revert"
    )
    assert compare_revisions(f"{REPO}@{story[0]}", f"{REPO}@{good}").severity <= Severity.INFO
    assert bisect_revisions(REPO, story[0], good).first.commit == story[3]


def test_bisect_backwards_is_refused(hub, story):
    with pytest.raises(RevisionError, match="no ancestor"):
        bisect_revisions(REPO, story[-1], story[0])
    with pytest.raises(RevisionCompareError, match="no commit between"):
        bisect_revisions(REPO, story[0], story[0])


def test_bisect_works_on_a_clone(tmp_path):
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_DATE": "2024-05-02T10:00:00+02:00",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True, text=True, env=env
        ).stdout.strip()

    git("init", "-q", "-b", "main")
    commits = []
    for source, title in ((BEFORE, "initial"), (None, "readme"), (AFTER, "fix")):
        for file in source.iterdir() if source else ():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / "README.md").write_text(title)
        git("add", ".")
        git("commit", "-q", "-m", title)
        commits.append(git("rev-parse", "HEAD"))
    told = []
    found = bisect_revisions(tmp_path, commits[0], "main", progress=told.append)
    assert [progress.done for progress in told] == [0, 0, 1, 1, 2, 2]
    assert str(told[3]) == f"bisecting: 1 of 2 commits: {commits[2][:8]} fix: tokenizer.json, tokenizer_config.json"
    assert str(told[-1]) == "bisecting: 2 commits, done"
    assert (found.first.commit, found.first.title) == (commits[2], "fix")
    c = compare_revisions(f"{tmp_path}@{commits[0]}", f"{tmp_path}@{commits[2]}")
    assert (c.before.title, c.before.date) == ("initial", "2024-05-02T10:00:00+02:00")
    for shown in (c.to_markdown(), c._repr_html_(), rendered(c)):
        assert f"before: {commits[0][:8]}, 2024-05-02, initial" in shown
        assert f"after: {commits[2][:8]}, 2024-05-02, fix" in shown
    assert Comparison.from_dict(json.loads(json.dumps(c.to_dict()))).after.title == "fix"
    git("checkout", "-q", "-b", "other", commits[1])
    git("commit", "-q", "--allow-empty", "-m", "elsewhere")
    for until in ("other", commits[0]):
        with pytest.raises(RevisionError, match=f"{commits[2]} is no ancestor"):
            bisect_revisions(tmp_path, "main", until)


def test_a_report_of_a_hub_names_titles_and_dates_of_both_commits(hub, story, new_cache):
    c = compare_revisions(f"{REPO}@{story[0]}", f"{REPO}@{story[3]}")
    assert (c.before.title, c.after.title) == ("initial", "Adjusts rstrip of special tokens")
    assert c.before.date < c.after.date
    hub.requests.clear()
    again = compare_revisions(f"{REPO}@{story[0]}", f"{REPO}@{story[3]}")
    assert (again.before.title, again.after.date) == (c.before.title, c.after.date)
    assert not [request for request in hub.requests if "/commits/" in request]


def test_a_hub_that_lists_no_commits_is_reported_without_dates(hub, story, new_cache):
    hub.faults.append(Fault("GET .*/commits/.*", "404"))
    c = compare_revisions(f"{REPO}@{story[0]}", f"{REPO}@{story[3]}")
    assert (c.before.title, c.after.date) == (None, None)
    assert c.severity is Severity.BREAKING


def test_a_bisection_asks_once_for_the_list_of_commits_and_once_for_the_first(hub, story, new_cache):
    found = bisect_revisions(REPO, story[0], "main")
    assert found.comparison.after.title == found.first.title
    assert len([request for request in hub.requests if "/commits/" in request]) == 2


def test_an_offline_check_of_a_hub_lock_asks_nothing(hub, story, tmp_path):
    lock("tiny", f"{REPO}@{story[0]}", path=tmp_path / "chatlab.lock")
    hub.requests.clear()
    assert check(path=tmp_path / "chatlab.lock")[0].exit_code == 0
    assert hub.requests == []


def test_an_online_check_sees_the_branch_move_and_weighs_it(hub, story, tmp_path):
    hub.repositories[REPO].branches["main"] = story[0]
    lock("tiny", REPO, path=tmp_path / "chatlab.lock")
    assert check(path=tmp_path / "chatlab.lock", online=True)[0].lines == ()
    hub.repositories[REPO].branches["main"] = story[1]
    moved = check(path=tmp_path / "chatlab.lock", online=True)[0]
    assert (moved.severity, moved.exit_code) == (Severity.INFO, 0)
    assert "no tokenizer file changed" in moved.lines[0]
    hub.repositories[REPO].branches["main"] = story[4]
    broken = check(path=tmp_path / "chatlab.lock", online=True)[0]
    assert broken.exit_code == 1
    assert story[4] in broken.lines[0]
    assert broken.upstream.severity is Severity.BREAKING
    assert check(path=tmp_path / "chatlab.lock")[0].exit_code == 0


def test_an_online_check_tells_that_the_commit_was_pushed_away(hub, story, tmp_path):
    lock("tiny", f"{REPO}@{story[0]}", path=tmp_path / "chatlab.lock")
    hub.forget(REPO, story[0])
    result = check(path=tmp_path / "chatlab.lock", online=True)[0]
    assert result.exit_code == 2
    assert "gone from the hub" in result.lines[0]


def test_an_online_check_tells_that_the_branch_is_gone_and_checks_the_rest(hub, story, tmp_path):
    hub.repositories[REPO].branches["work"] = story[0]
    lock("tiny", f"{REPO}@work", path=tmp_path / "chatlab.lock")
    lock("pinned", f"{REPO}@{story[0]}", path=tmp_path / "chatlab.lock")
    del hub.repositories[REPO].branches["work"]
    pinned, tiny = check(path=tmp_path / "chatlab.lock", online=True)
    assert (pinned.exit_code, tiny.exit_code) == (0, 2)
    assert "what work would bring could not be compared" in tiny.lines[0]


def test_an_update_follows_the_branch_and_notes_both_commits(hub, story, tmp_path):
    hub.repositories[REPO].branches["main"] = story[0]
    lock("tiny", REPO, path=tmp_path / "chatlab.lock")
    hub.repositories[REPO].branches["main"] = story[4]
    entry = lock("tiny", path=tmp_path / "chatlab.lock", update=True)
    note = entry.history[0]
    assert (note["from"], note["to"], note["severity"]) == (story[0], story[4], "BREAKING")
    assert entry.revision == story[4]
