"""From what a user writes to the files of one tokenizer at one commit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from chatlab.errors import ChatlabWarning, RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.folder import check_folder, read_json, require_few_values, require_plain
from chatlab.tokenizers import git, hub
from chatlab.tokenizers.cache import cache_folder

FILE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "additional_chat_templates/*",
    "processor_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.model.v*",
    "tekken.json",
    "*.tiktoken",
    "*.py",
)
"""Files that are fetched with a tokenizer; ``config.json`` is one of them because it decides the class."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_REVISION = re.compile(r"\w[\w./+-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VERSIONED_MODEL = re.compile(r".+\.model(\.v\w+)?")


class UnpinnedWarning(ChatlabWarning):
    """Something that was loaded can change although nobody changed the program."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of one tokenizer, on this machine, at a known commit where there are commits."""

    kind: str
    """``folder``, ``file``, ``gguf``, ``git`` or ``hub``."""
    name: str
    """What a report calls it: a hub id, or the last two parts of a path."""
    folder: Path
    """Where the files lie."""
    place: Path | None = None
    """The path as it was given, for folders, files and clones."""
    repo_id: str | None = None
    requested: str | None = None
    """The revision as it was asked for."""
    revision: str | None = None
    """The commit it resolved to, 40 hex digits; ``None`` for plain folders and files."""
    endpoint: str | None = field(default=None, compare=False)
    """The hub it came from, where that is not the one of ``HF_ENDPOINT``."""
    described: git.Commit | None = field(default=None, compare=False, repr=False)
    """The commit's title and date, where they are known without asking."""
    warnings: tuple[str, ...] = field(default=())
    """What keeps this from being a whole pin: a branch that moves, an absent ``config.json``, foreign code."""

    @property
    def pinned(self) -> bool:
        """Whether the commit itself was asked for."""
        return self.revision is not None and self.requested == self.revision

    def commit(self) -> git.Commit | None:
        """Return the commit with its title and date, where the repository tells; a hub may be asked for them."""
        if self.revision is None or self.described is not None:
            return self.described
        if self.repo_id is not None:
            return hub.Hub(self.repo_id, endpoint=self.endpoint).describe(self.revision)
        return git.describe(self.place, self.revision) if self.place is not None else None


def resolve(
    spec: str | Path, revision: str | None = None, *, offline: bool = False, endpoint: str | None = None
) -> Source:
    """Return the files that a spec names.

    Args:
        spec: a folder, a ``tokenizer.json``, ``.model`` or ``.gguf`` file, a hub id, or a folder inside a git clone;
            a hub id or clone may carry ``@revision``.
        revision: commit (40 hex digits), tag or branch; not together with ``@``.
        offline: look only at what the hub's cache holds.
        endpoint: another hub than that of ``HF_ENDPOINT``.

    Raises:
        TokenizerLoadError: the spec is no path and no id.
        SourceNotFound: there is nothing.
        RevisionError: the revision is absent, shortened, malformed, or given to a folder without commits.
        OfflineError: it lies on the hub, and the hub cannot be reached.
    """
    if not isinstance(spec, str | os.PathLike):
        raise TokenizerLoadError(f"the source is {spec!r:.80}: give a folder, a file or a hub id")
    if revision is not None and not isinstance(revision, str):
        raise RevisionError(f"revision is {revision!r:.80}: give a 40-character commit, a tag or a branch as a string")
    text = os.fspath(spec)
    path = _place(text)
    if revision is None and "@" in text and path is None:
        text, revision = text.rsplit("@", 1)
        path = _place(text)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/")):
        raise RevisionError(f"{revision!r} is no revision: give a 40-character commit, a tag or a branch")
    if path is not None:
        return _git(path, revision) if revision is not None else _local(path)
    if not _HUB_ID.fullmatch(text) or _counted_alone(Path(text)):
        raise SourceNotFound(
            f"no tokenizer at {text}: give a folder, a tokenizer.json, a tokenizer.model, a .gguf file or a hub id"
        )
    return _hub(text, revision, offline=offline, endpoint=endpoint)


def _place(text: str) -> Path | None:
    """Return the path if there is something at it."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError):  # a name too long for a file, or the home of nobody
        return None


def is_tokenizer_file(name: str) -> bool:
    """Whether a file of this name, relative to its repository, takes part in tokenizing.

    >>> is_tokenizer_file("config.json"), is_tokenizer_file("model.safetensors"), is_tokenizer_file("a/config.json")
    (True, False, False)
    """
    return any(name.count("/") == pattern.count("/") and fnmatchcase(name, pattern) for pattern in FILE_PATTERNS)


def is_commit(revision: object) -> bool:
    """Whether a revision is a whole commit hash, the only kind that stays put."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


def short_path(path: Path) -> str:
    """Return the last two parts of a path: enough to tell revisions apart, and no machine's own folders."""
    resolved = path.resolve()
    return f"{resolved.parent.name}/{resolved.name}".lstrip("/")


def _local(path: Path) -> Source:
    if path.is_dir():
        if not any(is_tokenizer_file(p.relative_to(path).as_posix()) or p.suffix == ".gguf" for p in path.iterdir()):
            raise SourceNotFound(f"no tokenizer file in {path}: expected tokenizer.json, tokenizer.model or the like")
        check_folder(path, is_tokenizer_file)
        return Source(
            kind="folder", name=short_path(path), folder=path, place=path, warnings=tuple(file_warnings(path))
        )
    alone = _counted_alone(path)
    if alone is None:
        raise SourceNotFound(
            f"{path.name} is no tokenizer: give a .json, .model, .tiktoken or .gguf file, or its folder"
        )
    is_gguf = path.suffix == ".gguf"
    require_plain(path, **({"limit": None} if is_gguf else {}))
    require_few_values(path)
    # A single file counts alone, so it moves to a folder of its own; a link, because a .gguf is big.
    folder = cache_folder("files", hub.digest(str(path.resolve())))
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / alone
    if not link.is_symlink():
        link.symlink_to(path.resolve())
    return Source(kind="gguf" if is_gguf else "file", name=short_path(path), folder=folder, place=path)


def _counted_alone(path: Path) -> str | None:
    """Return the name under which a file makes a tokenizer by itself, or ``None`` for one that does not."""
    if path.suffix == ".json":
        return "tekken.json" if "tekken" in path.name else "tokenizer.json"
    if path.suffix == ".gguf":
        return "model.gguf"
    if path.suffix == ".tiktoken":
        return path.name  # its name says how text is cut
    return "tokenizer.model" if _VERSIONED_MODEL.fullmatch(path.name) else None


def _git(path: Path, revision: str) -> Source:
    if not path.is_dir():
        raise RevisionError(f"{path} is one file, and a revision is of a folder: give {path.parent}@{revision}")
    commit, prefix = git.resolve(path, revision)
    folder = git.extract(path, commit, prefix, is_tokenizer_file)
    check_folder(folder, is_tokenizer_file)
    notes = [] if revision == commit else [moving(short_path(path), revision, commit)]
    return Source(
        kind="git",
        name=short_path(path),
        folder=folder,
        place=path,
        requested=revision,
        revision=commit,
        warnings=(*notes, *file_warnings(folder)),
    )


def _hub(repo_id: str, revision: str | None, *, offline: bool, endpoint: str | None) -> Source:
    access = hub.Hub(repo_id, offline=offline, endpoint=endpoint)
    requested = revision or "main"
    commit = requested if _COMMIT.fullmatch(requested) else access.commit(requested)
    folder, whole = access.download(commit, is_tokenizer_file)
    check_folder(folder, is_tokenizer_file)
    notes = [] if requested == commit else [moving(repo_id, requested, commit)]
    if not whole:
        notes.append(
            "offline, and no listing of this commit is kept: whether all its tokenizer files are here is not known"
        )
    return Source(
        kind="hub",
        name=repo_id,
        folder=folder,
        repo_id=repo_id,
        requested=requested,
        revision=commit,
        endpoint=endpoint,
        warnings=(*notes, *file_warnings(folder)),
    )


def moving(name: str, requested: str, commit: str) -> str:
    """Return the warning that a branch or tag may move."""
    return f"{requested!r} of {name} is a name that can move; today it is revision={commit!r}: write that"


def file_warnings(folder: Path) -> list[str]:
    """Return what the files themselves leave open."""
    notes = []
    if not (folder / "config.json").is_file():
        notes.append("there is no config.json: transformers chooses the tokenizer class by its model_type")
    for file in sorted(folder.glob("*.tiktoken")):
        if not (folder / "tokenizer.json").is_file():
            notes.append(
                f"{file.name} holds ranks alone: how text is cut, and the control tokens, are taken from its name"
            )
    for repository in foreign_code(folder):
        notes.append(
            f"its code lies in another repository, {repository}: this revision does not pin it; give code_revision"
        )
    return notes


def foreign_code(folder: Path) -> list[str]:
    """Return the other repositories that ``auto_map`` takes code from; ``revision`` does not reach them."""
    named = [reference for references in code_references(folder).values() for reference in references]
    return sorted({reference.split("--")[0] for reference in named if "--" in reference})


def code_references(folder: Path) -> dict[str, list[str]]:
    """Return the classes that the files of a folder name as code to be run, by the file that names them."""
    found = {}
    for name in ("tokenizer_config.json", "config.json"):
        try:
            auto_map = read_json(folder / name).get("auto_map")
        except (TokenizerLoadError, AttributeError):  # whoever loads the file tells what is wrong with it
            continue
        values = [*auto_map.values()] if isinstance(auto_map, Mapping) else [auto_map]
        flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
        references = [one for one in flat if isinstance(one, str)]
        if references:
            found[name] = references
    return found
