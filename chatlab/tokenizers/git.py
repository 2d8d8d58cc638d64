"""A tokenizer repository as a local git clone: files at a commit, read as data, without touching the work tree.

Objects and refs are read by dulwich, and no git is run: git obeys the configuration of the repository that it reads,
and a repository may come from a stranger (promisor remotes, hooks, filters, signature programs, a file system
monitor are all programs that its ``config`` can name). The configuration is not even read here. All of it is done in a child with limits of time and memory.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.child.call import ChildLimits, in_child
from chatlab.errors import RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.folder import SIZE_LIMIT, read_bytes
from chatlab.tokenizers.cache import cache_folder

if TYPE_CHECKING:
    from dulwich.objects import Commit as GitCommit
    from dulwich.objects import Tree

_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})")
_SHORT = re.compile(r"[0-9a-f]{4,39}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OBJECT_LIMIT = 2 * SIZE_LIMIT
"""Bytes of one object; a loose one may be a few kilobytes that unpack to more."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit of a tokenizer repository."""

    commit: str
    title: str
    date: str
    """ISO 8601, as the repository tells it; of a clone, when its author wrote it."""


class Clone:
    """The objects and refs of a clone.

    Raises:
        RevisionError: there is no clone, or it is one that leads out of itself.
    """

    def __init__(self, path: Path) -> None:
        from dulwich.object_store import DiskObjectStore
        from dulwich.refs import DiskRefsContainer

        folder = (path if path.is_dir() else path.parent).resolve()
        self.root = next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)
        if self.root is None:
            raise RevisionError(
                f"{path} is no git clone and has no revisions: leave the revision out, or name a hub id"
            )
        self.prefix = "" if folder == self.root else f"{folder.relative_to(self.root).as_posix()}/"
        control = _control_folder(self.root)
        self.shared = _shared_folder(control)
        _refuse_ways_out(self.shared)
        self.refs = DiskRefsContainer(str(self.shared), worktree_path=str(control))
        self.objects = DiskObjectStore(str(self.shared / "objects"), loose_object_size_limit=_OBJECT_LIMIT)

    def names(self) -> set[str]:
        """Return every name that a revision may have."""
        return {ref.decode(errors="replace").split("/", 2)[-1] for ref in self.refs.allkeys()}

    def commit(self, revision: str) -> GitCommit:
        """Return the commit of a branch, a tag, ``HEAD`` or 40 hex digits.

        Raises:
            KeyError: there is none.
        """
        from dulwich.objects import Commit as GitCommit
        from dulwich.objects import Tag
        from dulwich.objectspec import parse_ref

        name = revision.encode()
        sha = name if _COMMIT.fullmatch(revision) else self.refs[parse_ref(self.refs, name)]
        found = self.objects[sha]  # type: ignore[index]  # dulwich gives an id a type of its own
        while isinstance(found, Tag):
            found = self.objects[found.object[1]]
        if not isinstance(found, GitCommit):
            raise KeyError(revision)
        return found

    def history(self, commit: GitCommit) -> set[bytes]:
        """Return the ids of a commit and all its ancestors."""
        from dulwich.walk import Walker

        return {entry.commit.id for entry in Walker(self.objects, [commit.id])}

    def tree(self, commit: GitCommit) -> dict[str, str]:
        """Return the files of a commit below the folder: name inside it → blob id."""
        found: dict[str, str] = {}
        waiting = [("", self._folder(commit.tree))]
        while waiting:
            inside, tree = waiting.pop()
            for entry in self._tree(tree).iteritems():
                name = inside + entry.path.decode(errors="replace")
                if stat.S_ISDIR(entry.mode):
                    waiting.append((f"{name}/", entry.sha))
                elif stat.S_IFMT(entry.mode) in (stat.S_IFREG, stat.S_IFLNK):
                    found[name] = entry.sha.decode()
        return found

    def _folder(self, tree: Any) -> Any:
        for part in filter(None, self.prefix.split("/")):
            _, tree = self._tree(tree)[part.encode()]
        return tree

    def _tree(self, sha: Any) -> Tree:
        from dulwich.objects import Tree

        found = self.objects[sha]
        if not isinstance(found, Tree):
            raise KeyError(sha)
        return found


def _control_folder(root: Path) -> Path:
    """Return where the repository is: ``.git``, or where a work tree's or submodule's ``.git`` file says.

    A file that points elsewhere counts only where that place points back: else it would show somebody else's clone.
    """
    dot = root / ".git"
    if dot.is_symlink():
        raise RevisionError(f"{dot} is a link, and links out of a folder are not followed: name the clone itself")
    if dot.is_dir():
        return dot
    text = dot.read_text(encoding="utf-8", errors="replace") if dot.is_file() else ""
    control = (root / text.removeprefix("gitdir:").strip()).resolve() if text.startswith("gitdir:") else None
    back = control / "gitdir" if control is not None else dot
    if control is None or not back.is_file() or back.read_text(encoding="utf-8", errors="replace").strip() != str(dot):
        raise RevisionError(f"{dot} points to a repository that does not know it: name that clone itself")
    return control


def _shared_folder(control: Path) -> Path:
    """Return where refs and objects are: of a linked work tree, in the clone that it belongs to."""
    common = control / "commondir"
    if not common.is_file():
        return control
    shared = (control / common.read_text(encoding="utf-8", errors="replace").strip()).resolve()
    if control.parent.parent.resolve() != shared:
        raise RevisionError(f"{common} leads out of the clone: name the clone itself")
    return shared


def _refuse_ways_out(shared: Path) -> None:
    """Refuse a repository whose objects or refs lie elsewhere, or are no regular files."""
    alternates = shared / "objects" / "info" / "alternates"
    if os.path.lexists(alternates):
        raise RevisionError(f"{alternates} takes objects from another place: run `git repack -a -d` there first")
    for folder, folders, files in os.walk(shared):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RevisionError(f"{os.path.join(folder, name)} is no regular file: this clone is not read")


@contextmanager
def _opened(path: Path) -> Iterator[Clone]:
    """Give a clone; what dulwich raises on a damaged, incomplete or hostile one becomes one typed error."""
    try:
        clone = Clone(path)
        try:
            yield clone
        finally:
            clone.objects.close()
    except (RevisionError, SourceNotFound, TokenizerLoadError):
        raise
    except KeyError as error:
        raise RevisionError(
            f"{path} lacks object {error}: the clone is not whole; fetch it anew without a filter or depth"
        ) from error
    except (Exception, MemoryError) as error:  # dulwich parses foreign bytes and has no root of its errors
        raise RevisionError(f"{path} cannot be read as a git clone: {error or type(error).__name__}") from error


def resolve(path: Path, revision: str) -> tuple[str, str]:
    """Return the commit of a revision, and the folder's own place inside the clone.

    Raises:
        RevisionError: it is no clone, or the revision is absent or a shortened commit.
        TokenizerLimitError: its objects took more time or memory than they may.
    """
    commit, prefix = _by_child(_resolve, path, revision)
    return commit, prefix


def _resolve(asked: list[str]) -> list[str]:
    path, revision = asked
    with _opened(Path(path)) as clone:
        if _SHORT.fullmatch(revision) and revision not in clone.names():
            raise RevisionError(
                f"{revision!r} is a shortened commit, which may come to mean another one: give all 40 characters"
            )
        try:
            return [clone.commit(revision).id.decode(), clone.prefix]
        except (KeyError, ValueError) as error:
            raise RevisionError(
                f"{path} has no revision {revision!r}: it is absent, or history was rewritten; `git log --all` lists what is there"
            ) from error


def tree(path: Path, commit: str, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Return the wanted files of a commit: name inside the folder → blob id. Equal ids are equal files."""
    return {name: blob for name, blob in _by_child(_tree, path, commit).items() if wanted(name)}


def _tree(asked: list[str]) -> dict[str, str]:
    with _opened(Path(asked[0])) as clone:
        return clone.tree(clone.commit(asked[1]))


def log(path: Path, after: str, until: str) -> list[Commit]:
    """Return the commits after one and up to another, the oldest first, along first parents.

    Raises:
        RevisionError: the first is no ancestor of the second.
    """
    return [Commit(**told) for told in _by_child(_log, path, after, until)]


def _log(asked: list[str]) -> list[dict[str, str]]:
    path, after, until = asked
    with _opened(Path(path)) as clone:
        start, end = clone.commit(after), clone.commit(until)
        line = [end]
        while line[-1].id != start.id and line[-1].parents:
            line.append(clone.commit(line[-1].parents[0].decode()))
        if line[-1].id == start.id:
            return [_told(commit) for commit in reversed(line[:-1])]
        if start.id not in clone.history(end):
            raise RevisionError(f"{after} is no ancestor of {until} in {path}")
        old = clone.history(start)
        return [_told(commit) for commit in reversed(line) if commit.id not in old]


def describe(path: Path, commit: str) -> Commit:
    """Return one commit with its title and date."""
    return Commit(**_by_child(_describe, path, commit))


def _describe(asked: list[str]) -> dict[str, str]:
    with _opened(Path(asked[0])) as clone:
        return _told(clone.commit(asked[1]))


def _by_child(function: Callable[[list[Any]], Any], path: Path, *arguments: Any) -> Any:
    """Objects may be packed to a thousandth of their size, and history may be as long as its author likes."""
    return in_child(function, [str(path.absolute()), *arguments], f"the clone {path}", ChildLimits())


def _told(commit: GitCommit) -> dict[str, str]:
    title = commit.message.decode(errors="replace").strip().split("\n\n", 1)[0].replace("\n", " ")
    zone = timezone(timedelta(seconds=commit.author_timezone))
    date = datetime.fromtimestamp(commit.author_time, zone).isoformat()
    return {"commit": commit.id.decode(), "title": title, "date": date}


def extract(path: Path, commit: str, prefix: str, wanted: Callable[[str], bool]) -> Path:
    """Write the wanted files of a commit to a folder of the cache, whole or not at all, and return it."""
    target = cache_folder("git", commit, prefix.strip("/").replace("/", "--") or "root")
    if target.is_dir():
        return target
    files = tree(path, commit, wanted)
    if not files:
        raise SourceNotFound(f"no tokenizer file in {path} at {commit}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        _by_child(_write, path, files, str(part))
        os.replace(part, target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same files
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _write(asked: list[Any]) -> None:
    path, files, part = asked
    with _opened(Path(path)) as clone:
        for name, blob in files.items():
            file = Path(part) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_blob(clone, blob, name))


def _blob(clone: Clone, blob: str, name: str) -> bytes:
    """Return a blob; a Git LFS pointer is followed into the clone's own store.

    Raises:
        TokenizerLoadError: the big file behind a pointer was never fetched, or it is too big.
    """
    data = bytes(clone.objects[blob.encode()].as_raw_string())  # type: ignore[index]
    pointer = _LFS.match(data)
    if pointer is not None:
        oid = pointer[1].decode()
        store = clone.shared / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        if not store.is_file():
            raise TokenizerLoadError(
                f"{name} is a Git LFS pointer and its file is not in the clone: run `git lfs fetch --all` there"
            )
        return read_bytes(store, within=clone.shared)
    if len(data) > SIZE_LIMIT:
        raise TokenizerLoadError(f"{name} has {len(data)} bytes, and {SIZE_LIMIT} is the most that is read")
    return data
