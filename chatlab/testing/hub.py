"""A hub of your own on the loopback interface, for tests of code that loads from the hub.

It serves commits, branches, tags, trees and files as ``huggingface_hub`` and ``transformers`` ask for them, and it
fails on request: files that are absent, refused, cut short, damaged or slow.

>>> with LocalHub() as hub:
...     first = hub.commit("org/name", {"config.json": "{}"}, "first")
...     hub.tag("org/name", "v1", first)
...     hub.endpoint.startswith("http://127.0.0.1:"), len(first)
(True, 40)
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/(?P<verb>revision|tree|commits|refs)(?:/(?P<rest>.*))?")
_INFO = re.compile(r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_EPOCH = "2024-05-{day:02d}T12:00:00.000Z"


@dataclass
class HubCommit:
    """One commit of a repository on the local hub."""

    commit: str
    title: str
    date: str
    parent: str | None
    files: dict[str, bytes]


@dataclass
class Repository:
    """One repository: its commits, and what its names point at."""

    commits: dict[str, HubCommit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> HubCommit | None:
        """Return the commit of a branch, tag or full hash."""
        name = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(name)

    def history(self, commit: HubCommit) -> Iterator[HubCommit]:
        """Yield a commit and its ancestors, as far as they are still there."""
        at: HubCommit | None = commit
        while at is not None:
            yield at
            at = self.commits.get(at.parent) if at.parent else None


@dataclass
class Fault:
    """A failure to show: for requests whose ``METHOD path`` matches, so many times."""

    pattern: str
    kind: str
    """``404``, ``429``, ``500``, ``cut`` (half the body), ``damaged`` (other bytes) or ``slow``."""
    times: int = 1_000_000
    seconds: float = 1.0
    """How long ``slow`` waits."""


class LocalHub:
    """A hub with your repositories, from ``with`` to its end.

    Attributes:
        requests: every ``METHOD path`` that was asked, in order.
        faults: failures to show; append and clear as the test goes.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        """The address for ``endpoint=`` or ``HF_ENDPOINT``."""
        if self._server is None:
            raise RuntimeError("the hub is not running: use it as `with LocalHub() as hub:`")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LocalHub:
        hub = self

        class Handler(_Handler):
            local = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def commit(self, repo_id: str, files: Mapping[str, str | bytes | None], title: str, branch: str = "main") -> str:
        """Add a commit: the files of the branch with these in place of theirs; ``None`` deletes one."""
        repository = self.repositories.setdefault(repo_id, Repository())
        parent = repository.branches.get(branch)
        merged = dict(repository.commits[parent].files) if parent in repository.commits else {}
        for name, content in files.items():
            if content is None:
                merged.pop(name, None)
            else:
                merged[name] = content.encode() if isinstance(content, str) else content
        tree = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in merged.items())
        commit = hashlib.sha1(json.dumps([parent, title, tree, len(repository.commits)]).encode()).hexdigest()
        date = _EPOCH.format(day=1 + len(repository.commits) % 28)
        repository.commits[commit] = HubCommit(commit=commit, title=title, date=date, parent=parent, files=merged)
        repository.branches[branch] = commit
        return commit

    def tag(self, repo_id: str, name: str, commit: str) -> None:
        """Point a tag at a commit."""
        self.repositories[repo_id].tags[name] = commit

    def forget(self, repo_id: str, commit: str) -> None:
        """Take a commit away, as a force push or a squash does."""
        del self.repositories[repo_id].commits[commit]


def blob_id(data: bytes) -> str:
    """Return the git object id of a file.

    >>> blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def in_lfs(name: str) -> bool:
    """Whether the hub would keep a file in LFS; the others are plain git blobs."""
    return name.endswith((".model", ".safetensors", ".gguf"))


class _Handler(BaseHTTPRequestHandler):
    local: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the hub keeps ``requests``."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        line = f"{self.command} {path}"
        self.local.requests.append(line)
        fault = self._fault(line)
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind.isdigit():
            return self._error(int(fault.kind), "Fault", "asked for by the test")
        kind = fault.kind if fault is not None else ""
        if match := _RESOLVE.fullmatch(path):
            return self._file(match["repo"], match["revision"], match["file"], kind)
        if match := _API.fullmatch(path):
            return self._api(match["repo"], match["verb"], match["rest"] or "main", kind)
        if match := _INFO.fullmatch(path):
            return self._api(match["repo"], "revision", "main", kind)
        return self._error(404, "Unknown", path)

    def _fault(self, line: str) -> Fault | None:
        for fault in self.local.faults:
            if fault.times > 0 and re.search(fault.pattern, line):
                fault.times -= 1
                return fault
        return None

    def _repository(self, repo_id: str, revision: str) -> tuple[Repository, HubCommit] | None:
        repository = self.local.repositories.get(repo_id)
        if repository is None:
            self._error(404, "RepoNotFound", "Repository not found")
            return None
        commit = repository.find(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, commit

    def _file(self, repo_id: str, revision: str, name: str, fault: str) -> None:
        found = self._repository(repo_id, revision)
        if found is None:
            return
        commit = found[1]
        data = commit.files.get(name)
        if data is None:
            return self._error(404, "EntryNotFound", f"{name} does not exist", {"X-Repo-Commit": commit.commit})
        headers = {"X-Repo-Commit": commit.commit, "ETag": f'"{blob_id(data)}"', "Accept-Ranges": "bytes"}
        if in_lfs(name):
            etag = hashlib.sha256(data).hexdigest()
            headers.update({"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))})
        if fault == "damaged" and self.command == "GET":
            data = bytes(reversed(data))
        self._send(200, data, headers, "application/octet-stream", cut=fault == "cut")

    def _api(self, repo_id: str, verb: str, rest: str, fault: str) -> None:
        revision, _, folder = rest.partition("/")
        found = self._repository(repo_id, "main" if verb == "refs" else revision)
        if found is None:
            return
        repository, commit = found
        if verb == "revision":
            files = [{"rfilename": name} for name in sorted(commit.files)]
            body: Any = {
                "_id": "1",
                "id": repo_id,
                "modelId": repo_id,
                "sha": commit.commit,
                "lastModified": commit.date,
                "private": False,
            }
            body.update(siblings=files, tags=[], downloads=0, likes=0, createdAt=_EPOCH.format(day=1))
        elif verb == "refs":
            names = ("branches", repository.branches, "heads"), ("tags", repository.tags, "tags")
            body = {
                key: [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": c} for n, c in sorted(table.items())]
                for key, table, kind in names
            }
            body["converts"] = []
        elif verb == "commits":
            author = [{"user": "someone"}]
            body = [
                {"id": c.commit, "title": c.title, "message": "", "authors": author, "date": c.date}
                for c in repository.history(commit)
            ]
        else:
            body = tree_entries(commit, folder)
            if folder and not body:
                return self._error(404, "EntryNotFound", f"{folder} does not exist")
        self._send(
            200, json.dumps(body).encode(), {"X-Repo-Commit": commit.commit}, "application/json", cut=fault == "cut"
        )

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        retry = {"Retry-After": "0"} if status == 429 else {}
        self._send(
            status,
            body,
            {"X-Error-Code": code, "X-Error-Message": message, **retry, **(headers or {})},
            "application/json",
        )

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], kind: str, *, cut: bool = False) -> None:
        start = 0
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if status == 200 else None
        if span and 0 < int(span[1]) < len(body):
            start, status = int(span[1]), 206
            headers = {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            self.wfile.write(body[start : start + (len(body) - start) // 2])
            self.close_connection = True
            return
        self.wfile.write(body[start:])


def tree_entries(commit: HubCommit, folder: str = "") -> list[dict[str, Any]]:
    """Return the listing of a commit as the hub gives it, recursive, below a folder."""
    entries = []
    for name, data in sorted(commit.files.items()):
        if folder and not name.startswith(f"{folder}/"):
            continue
        entry: dict[str, Any] = {"type": "file", "oid": blob_id(data), "size": len(data), "path": name}
        if in_lfs(name):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        entries.append(entry)
    return entries
