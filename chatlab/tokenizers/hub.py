"""A tokenizer repository on the hub: commits, trees and verified downloads, with errors that say the way out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chatlab.errors import OfflineError, RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.tokenizers.cache import cache_folder
from chatlab.tokenizers.git import Commit

_SHORT = re.compile(r"[0-9a-f]{4,39}")


def digest(text: str) -> str:
    """Return a short hash of a text, for a folder's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Hub:
    """One repository of the hub."""

    def __init__(self, repo_id: str, *, offline: bool = False, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi, constants

        self.repo_id = repo_id
        # Read here, not when huggingface_hub was imported: a notebook sets it whenever it likes.
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
        self.offline = offline or constants.HF_HUB_OFFLINE
        self.api = HfApi(endpoint=self.endpoint)

    def commit(self, revision: str) -> str:
        """Return the commit of a branch or tag.

        Raises:
            RevisionError: there is none of that name; a shortened commit counts as none.
        """
        with self._errors(revision):
            if _SHORT.fullmatch(revision) and not self._is_named(revision):
                raise RevisionError(
                    f"{revision!r} is a shortened commit, which may come to mean another one: give all 40 characters"
                )
            resolved = self.api.resolve_revision(self.repo_id, revision=revision, local_files_only=self.offline)
        return str(resolved.resolved)

    def _is_named(self, revision: str) -> bool:
        if self.offline:
            return False
        refs = self.api.list_repo_refs(self.repo_id)
        return revision in {ref.name for ref in (*refs.branches, *refs.tags)}

    def tree(self, commit: str, wanted: Callable[[str], bool]) -> dict[str, str] | None:
        """Return the wanted files of a commit: name → git blob id, or the sha256 of a file in LFS; nothing is downloaded.

        A commit never changes, so a kept listing is as good as a fresh one; ``None`` when offline without one.
        """
        from huggingface_hub import errors, get_cached_repo_tree

        entries: Any
        try:
            entries = get_cached_repo_tree(self.repo_id, revision=commit)
        except errors.CachedRepoTreeNotFoundError:
            if self.offline:
                return None
            with self._errors(commit):
                entries = list(self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit))
        files = {e.path: e for e in entries if hasattr(e, "blob_id") and wanted(e.path)}
        return {name: e.lfs.sha256 if e.lfs else e.blob_id for name, e in sorted(files.items())}

    def exists(self, commit: str) -> None:
        """Ask the hub whether a commit is still there, whatever this machine keeps.

        Raises:
            RevisionError: it is gone.
            SourceNotFound: the whole repository is.
            OfflineError: the hub does not answer.
        """
        with self._errors(commit):
            self.api.repo_info(self.repo_id, revision=commit)

    def log(self, after: str, until: str) -> list[Commit]:
        """Return the commits after one and up to another, the oldest first.

        Raises:
            RevisionError: the first is no ancestor of the second.
        """
        with self._errors(until):
            commits = self.api.list_repo_commits(self.repo_id, revision=until)
        found: list[Commit] = []
        for entry in commits:
            if entry.commit_id == after:
                return found[::-1]
            found.append(Commit(commit=entry.commit_id, title=entry.title, date=entry.created_at.isoformat()))
        raise RevisionError(f"{after} is no ancestor of {until} in {self.repo_id}")

    def describe(self, commit: str) -> Commit | None:
        """Return a commit with its title and date, or ``None`` where the hub does not say; kept, as it never changes."""
        kept = cache_folder("commits", digest(self.repo_id), f"{commit}.json")
        try:
            return Commit(**json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            pass
        if self.offline:
            return None
        try:
            with self._errors(commit):
                entry = self.api.list_repo_commits(self.repo_id, revision=commit)[0]
        except (TokenizerLoadError, IndexError):
            return None
        found = Commit(commit=commit, title=entry.title, date=entry.created_at.isoformat())
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(vars(found)), encoding="utf-8")
            part.replace(kept)
        return found

    def download(self, commit: str, wanted: Callable[[str], bool]) -> tuple[Path, bool]:
        """Return the folder of the hub's own cache with the wanted files of a commit, and whether it is surely whole.

        The hashes of the files are checked. It is not surely whole only when offline without a listing of the commit.

        Raises:
            SourceNotFound: there is no such repository, or no tokenizer file in it.
            RevisionError: the commit is not there; a force push may have taken it away.
            OfflineError: the files are not on this machine and the hub cannot be reached.
            TokenizerLoadError: the hub refuses, or what came is not what was promised.
        """
        from huggingface_hub import snapshot_download

        names = self.tree(commit, wanted)
        if names is not None and not names:
            raise SourceNotFound(f"no tokenizer file in {self.repo_id} at {commit}")
        with self._errors(commit):
            patterns = list(names) if names else None
            kept = snapshot_download(
                self.repo_id,
                revision=commit,
                allow_patterns=patterns,
                endpoint=self.endpoint,
                local_files_only=self.offline,
            )
        for name, expected in (names or {}).items():
            self._verify(Path(kept) / name, name, expected)
        return Path(kept), names is not None

    def _verify(self, path: Path, name: str, expected: str) -> None:
        data = path.read_bytes()
        found = (
            hashlib.sha256(data).hexdigest()
            if len(expected) == 64
            else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        )
        if found != expected:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise TokenizerLoadError(
                f"{name} of {self.repo_id} came damaged (hash {found[:12]}, promised {expected[:12]}); it was removed: try again"
            )

    def _offline(self, revision: str) -> OfflineError:
        return OfflineError(
            f"{self.repo_id} at {revision} is not wholly on this machine (and no folder here has that name), and the hub cannot be "
            "reached: give the folder of a copy, or, with a network and HF_HUB_OFFLINE unset, fetch it once: "
            f"hf download {self.repo_id} --revision {revision}"
        )

    @contextmanager
    def _errors(self, revision: str) -> Iterator[None]:
        from huggingface_hub import errors

        try:
            yield
        except errors.RevisionNotFoundError as error:
            raise RevisionError(
                f"{self.repo_id} has no revision {revision!r}: it never had, or a force push took it away; "
                "the repository's list of commits shows what is there"
            ) from error
        except errors.GatedRepoError as error:
            raise TokenizerLoadError(
                f"{self.repo_id} is gated: ask for access on its page, then `hf auth login`"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise SourceNotFound(
                f"the hub has no repository {self.repo_id}, or it is private: check the name, then `hf auth login`"
            ) from error
        except (
            errors.LocalEntryNotFoundError,
            errors.OfflineModeIsEnabled,
            errors.RevisionResolutionError,
            ConnectionError,
        ) as error:
            raise self._offline(revision) from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else "no answer"
            hint = (
                "too many requests: wait a while, or `hf auth login` for a higher limit"
                if status == 429
                else "try again later"
            )
            raise TokenizerLoadError(f"the hub answered {status} for {self.repo_id}: {hint}") from error
        except OSError as error:
            raise TokenizerLoadError(f"{self.repo_id} at {revision} could not be fetched whole: {error}") from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in (
                "httpx",
                "httpx2",
            ):  # the client's own errors are no OSError
                raise
            if type(error).__name__ in ("ConnectError", "ConnectTimeout", "ProxyError", "PoolTimeout"):
                raise self._offline(revision) from error
            raise TokenizerLoadError(
                f"{self.repo_id} at {revision} could not be fetched whole ({error}): try again"
            ) from error
