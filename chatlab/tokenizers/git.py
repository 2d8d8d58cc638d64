"""A tokenizer repository as a local git clone: files at a commit, without touching the work tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.tokenizers.cache import cache_folder

_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})")
_SHORT = re.compile(r"[0-9a-f]{4,39}")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit of a tokenizer repository."""

    commit: str
    title: str
    date: str
    """ISO 8601, as the repository tells it; of a clone, when its author wrote it."""


def run(folder: Path, *arguments: str) -> bytes:
    """Run git in a folder and return what it writes.

    Raises:
        RevisionError: git refuses.
        SourceNotFound: there is no git on this machine.
    """
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, check=True, capture_output=True, timeout=120, env={**os.environ, "LC_ALL": "C"}
        ).stdout
    except FileNotFoundError as error:
        raise SourceNotFound("git is not installed: a revision of a local folder needs it") from error
    except subprocess.CalledProcessError as error:
        raise RevisionError(
            f"git {arguments[0]} in {folder}: {error.stderr.decode(errors='replace').strip()}"
        ) from error


def resolve(path: Path, revision: str) -> tuple[str, str]:
    """Return the commit of a revision, and the folder's own place inside the clone.

    Raises:
        RevisionError: it is no clone, or the revision is absent or a shortened commit.
    """
    folder = path if path.is_dir() else path.parent
    try:
        prefix = run(folder, "rev-parse", "--show-prefix").decode().strip()
    except RevisionError as error:
        raise RevisionError(
            f"{path} is no git clone and has no revisions: leave {revision!r} out, or name a hub id"
        ) from error
    names = run(folder, "for-each-ref", "--format=%(refname:short)").decode().split()
    if _SHORT.fullmatch(revision) and revision not in names:
        raise RevisionError(
            f"{revision!r} is a shortened commit, which may come to mean another one: give all 40 characters"
        )
    try:
        commit = (
            run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
            .decode()
            .strip()
        )
    except RevisionError as error:
        raise RevisionError(
            f"{path} has no revision {revision!r}: it is absent, or history was rewritten; `git log --all` lists what is there"
        ) from error
    return commit, prefix


def tree(path: Path, commit: str, prefix: str, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Return the wanted files of a commit: name inside the folder → blob id. Equal ids are equal files."""
    output = run(path, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *([prefix] if prefix else []))
    found = {}
    for entry in output.decode().split("\0")[:-1]:
        meta, name = entry.split("\t", 1)
        inside = name.removeprefix(prefix)
        if meta.split()[1] == "blob" and wanted(inside):
            found[inside] = meta.split()[2]
    return found


def log(path: Path, after: str, until: str) -> list[Commit]:
    """Return the commits after one and up to another, the oldest first, along first parents.

    Raises:
        RevisionError: the first is no ancestor of the second.
    """
    if run(path, "rev-list", "--max-count=1", f"{until}..{after}"):
        raise RevisionError(f"{after} is no ancestor of {until} in {path}")
    return _commits(path, "--first-parent", "--reverse", f"{after}..{until}")


def describe(path: Path, commit: str) -> Commit:
    """Return one commit with its title and date."""
    return _commits(path, "--max-count=1", commit)[0]


def _commits(path: Path, *which: str) -> list[Commit]:
    folder = path if path.is_dir() else path.parent
    output = run(folder, "log", "-z", "--format=%H%x00%s%x00%aI", *which, "--").decode(errors="replace")
    fields = iter(output.removesuffix("\0").split("\0") if output else ())
    return [Commit(commit=c, title=t, date=d) for c, t, d in zip(fields, fields, fields, strict=True)]


def extract(path: Path, commit: str, prefix: str, wanted: Callable[[str], bool]) -> Path:
    """Write the wanted files of a commit to a folder of the cache, whole or not at all, and return it."""
    target = cache_folder("git", commit, prefix.strip("/").replace("/", "--") or "root")
    if target.is_dir():
        return target
    files = tree(path, commit, prefix, wanted)
    if not files:
        raise SourceNotFound(f"no tokenizer file in {path} at {commit}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        for name, blob in files.items():
            file = part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(read_blob(path, blob, name))
        os.replace(part, target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same files
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def read_blob(path: Path, blob: str, name: str) -> bytes:
    """Return a blob; a Git LFS pointer is followed into the clone's own store.

    Raises:
        TokenizerLoadError: the big file behind a pointer was never fetched.
    """
    data = run(path, "cat-file", "blob", blob)
    pointer = _LFS.match(data)
    if pointer is None:
        return data
    oid = pointer[1].decode()
    store = (
        path
        / run(path, "rev-parse", "--git-common-dir").decode().strip()
        / "lfs"
        / "objects"
        / oid[:2]
        / oid[2:4]
        / oid
    )
    if not store.is_file():
        raise TokenizerLoadError(
            f"{name} is a Git LFS pointer and its file is not in the clone: run `git lfs fetch --all` there"
        )
    return store.read_bytes()
