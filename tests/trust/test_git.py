"""A clone is data: whatever its configuration, hooks, links and objects say, nothing of it is run or followed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError, RevisionError
from chatlab.history.bisection import bisect_revisions
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.snapshots.snapshot import snapshot
from chatlab.tokenizers.load import load_tokenizer
from chatlab.tokenizers.source import resolve

ENV = {
    **os.environ,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, env=ENV)
    return run.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of two commits, in the folder where a lock would stand."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for name in ("phi3-style/before", "phi3-style/after"):
        for file in tokenizer_path(name).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", name)
    return folder


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A program that leaves a trace when it is run; the trace must never be there."""
    program = tmp_path / "canary.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/touched\nexit 1\n")
    program.chmod(0o755)
    return program


def lose_a_blob(clone: Path) -> None:
    blob = git(clone, "rev-parse", "HEAD:tokenizer.json")
    (clone / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def promisor(clone: Path, canary: Path) -> None:
    lose_a_blob(clone)
    git(clone, "config", "remote.evil.url", str(clone))
    git(clone, "config", "remote.evil.promisor", "true")
    git(clone, "config", "remote.evil.uploadpack", str(canary))
    git(clone, "config", "extensions.partialClone", "evil")
    git(clone, "config", "core.repositoryFormatVersion", "1")


def program(*names: str) -> Callable[[Path, Path], None]:
    def set_them(clone: Path, canary: Path) -> None:
        for name in names:
            git(clone, "config", name, str(canary) if not name.endswith(("showSignature", "external")) else "true")

    return set_them


def hooks(clone: Path, canary: Path) -> None:
    for name in ("post-checkout", "pre-commit", "post-index-change", "fsmonitor-watchman", "reference-transaction"):
        hook = clone / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(canary.read_text())
        hook.chmod(0o755)


def filters(clone: Path, canary: Path) -> None:
    (clone / ".gitattributes").write_text("* filter=evil diff=evil\n")
    git(clone, "add", "-A", ".gitattributes")
    for name in ("filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "diff.evil.textconv"):
        git(clone, "config", name, str(canary))


def included(clone: Path, canary: Path) -> None:
    (clone / "more").write_text(f"[core]\n\tfsmonitor = {canary}\n\tsshCommand = {canary}\n")
    git(clone, "config", "include.path", "../more")


ATTACKS = [
    promisor,
    program("core.fsmonitor"),
    program("core.pager", "pager.log", "core.editor", "sequence.editor"),
    program("log.showSignature", "gpg.program", "gpg.ssh.program", "gpg.x509.program"),
    program("core.sshCommand", "core.gitProxy", "core.askPass", "credential.helper"),
    program("diff.external", "interactive.diffFilter", "uploadpack.packObjectsHook", "core.alternateRefsCommand"),
    hooks,
    filters,
    included,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: getattr(a, "__name__", "program"))
def test_no_program_that_a_repository_names_is_run(
    attack: Callable[[Path, Path], None], clone: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Load, snapshot, lock, check and bisect: each a result or a typed error, and the canary never sings."""
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "cache"))
    old, new = git(clone, "rev-parse", "HEAD~1"), git(clone, "rev-parse", "HEAD")
    attack(clone, canary)
    for act in (
        lambda: load_tokenizer(clone, new),
        lambda: snapshot(f"{clone}@{old}"),
        lambda: lock("t", str(clone), revision=new, path=tmp_path / "chatlab.lock"),
        lambda: check(path=tmp_path / "chatlab.lock"),
        lambda: bisect_revisions(clone, old, new),
    ):
        try:
            act()
        except ChatlabError:
            assert attack is promisor  # what is missing is an error, never fetched
    assert not (tmp_path / "touched").exists()


def test_a_bare_repository_among_plain_files_is_no_clone(clone: Path, tmp_path: Path) -> None:
    """Any pull request can add one; a `.git` it cannot."""
    git(tmp_path, "clone", "-q", "--bare", str(clone), str(tmp_path / "plain"))
    with pytest.raises(RevisionError, match="no git clone"):
        resolve(tmp_path / "plain", "main")


def secret_clone(tmp_path: Path, clone: Path) -> Path:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    clone.rename(secret)
    clone.mkdir()
    return secret


def test_a_link_or_file_that_leads_to_another_repository_is_refused(clone: Path, tmp_path: Path) -> None:
    secret = secret_clone(tmp_path, clone)
    (clone / ".git").symlink_to(secret / ".git")
    with pytest.raises(RevisionError, match="is a link"):
        resolve(clone, "main")
    (clone / ".git").unlink()
    (clone / ".git").write_text(f"gitdir: {secret / '.git'}\n")
    with pytest.raises(RevisionError, match="does not know it"):
        resolve(clone, "main")


def test_objects_of_another_place_are_refused(clone: Path, tmp_path: Path) -> None:
    secret = secret_clone(tmp_path, clone)
    git(tmp_path, "clone", "-q", "--shared", str(secret), str(clone))
    with pytest.raises(RevisionError, match="git repack -a -d"):
        resolve(clone, "main")


@pytest.mark.parametrize("name", ["objects/pack/pack-1.pack", "refs/heads/evil", "packed-refs", "HEAD"])
def test_what_is_no_regular_file_is_refused(name: str, clone: Path, tmp_path: Path) -> None:
    place = clone / ".git" / name
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    with pytest.raises(RevisionError, match="no regular file"):
        resolve(clone, "main")
    place.unlink()
    place.symlink_to("/etc/hostname")
    with pytest.raises(RevisionError, match="no regular file"):
        resolve(clone, "main")


def test_a_work_tree_that_its_clone_knows_is_read(clone: Path, tmp_path: Path) -> None:
    git(clone, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    assert resolve(tmp_path / "linked", "other").revision == git(clone, "rev-parse", "other")


def test_packed_objects_and_refs_are_read_like_loose_ones(clone: Path) -> None:
    git(clone, "tag", "-a", "v1", "-m", "one", "HEAD~1")
    git(clone, "gc", "-q", "--prune=now")
    assert resolve(clone, "v1").revision == git(clone, "rev-parse", "v1^{commit}")


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"x\x9c" + b"\xff" * 30])
def test_a_damaged_object_is_a_typed_error(damage: bytes, clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    file = clone / ".git" / "objects" / head[:2] / head[2:]
    file.chmod(0o644)
    file.write_bytes(damage)
    with pytest.raises(RevisionError):
        resolve(clone, "main")


def test_the_line_of_first_parents_is_gits_own(clone: Path) -> None:
    from chatlab.tokenizers.git import log

    old = git(clone, "rev-parse", "HEAD~1")
    git(clone, "checkout", "-q", "-b", "side", old)
    git(clone, "commit", "-q", "--allow-empty", "-m", "aside")
    git(clone, "checkout", "-q", "main")
    git(clone, "merge", "-q", "--no-ff", "-m", "merge", "side")
    told = git(clone, "log", "--first-parent", "--reverse", "--format=%H %s %aI", f"{old}..main").split("\n")
    assert [f"{c.commit} {c.title} {c.date}" for c in log(clone, old, git(clone, "rev-parse", "main"))] == told
    with pytest.raises(RevisionError, match="no ancestor"):
        log(clone, git(clone, "rev-parse", "main"), old)


@pytest.mark.parametrize("packed", [False, True])
def test_an_object_that_unpacks_to_a_thousand_times_its_size_is_refused(clone: Path, packed: bool) -> None:
    with (clone / "tokenizer.json").open("wb") as file:
        file.truncate(130 * 2**20)
    git(
        clone, "-c", f"core.bigFileThreshold={1 if packed else '1g'}", "add", "."
    )  # a big file goes into a pack at once
    git(clone, "commit", "-q", "-m", "a bomb")
    assert any((clone / ".git" / "objects" / "pack").iterdir()) == packed
    (clone / "tokenizer.json").unlink()
    with pytest.raises(ChatlabError, match="is the most that is read"):
        resolve(clone, git(clone, "rev-parse", "HEAD"))


def test_a_tree_of_objects_that_lie_is_a_typed_error(clone: Path) -> None:
    """Names that lead up or out, and one that is a file and a folder."""
    blob = git(clone, "rev-parse", "HEAD:tokenizer.json")
    for name in ("..", ".", "/etc/x.json"):
        inner = make_tree(clone, [(b"100644", name.encode(), blob)])
        for entries in ([(b"40000", b"additional_chat_templates", inner)], [(b"100644", name.encode(), blob)]):
            root = make_tree(clone, [*entries, (b"100644", b"tokenizer.json", blob)])
            commit = git(clone, "commit-tree", "-m", "x", root)
            try:
                assert resolve(clone, commit).folder.is_dir()
            except ChatlabError:
                continue
            assert not [p for p in resolve(clone, commit).folder.rglob("*") if p.is_symlink()]
    assert not Path("/etc/x.json").exists()


def make_tree(clone: Path, entries: list[tuple[bytes, bytes, str]]) -> str:
    data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
    arguments = ["git", "-C", clone, "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    return subprocess.run(arguments, input=data, check=True, capture_output=True, env=ENV).stdout.decode().strip()
