"""From a folder, a file or a hub id to one tokenizer with the small interface."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatlab.child.call import ChildLimits
from chatlab.child.session import Session
from chatlab.errors import RevisionError, TokenizerLoadError, harmless
from chatlab.terminal import harmless_logs
from chatlab.tokenizers.choose import chosen
from chatlab.tokenizers.interface import Tokenizer, is_panic
from chatlab.tokenizers.loaders import Loader
from chatlab.tokenizers.readers import Reading, of_transformers, path_name, read
from chatlab.tokenizers.source import Source, UnpinnedWarning, foreign_code, is_commit, is_tokenizer_file, resolve
from chatlab.tokenizers.untrusted.tokenizer import UntrustedTokenizer


def load_tokenizer(
    source: str | Path,
    revision: str | None = None,
    *,
    loader: Loader | str = Loader.AUTO,
    legacy: bool | None = None,
    trust_remote_code: bool = False,
    code_revision: str | None = None,
    untrusted: bool = False,
) -> Tokenizer:
    """Load a tokenizer from a folder, a file, a hub id, a git clone or a GGUF file, pinned to one commit.

    Of a hub id every file that counts, ``config.json`` among them, is fetched at one commit and checked, and only
    then loaded from this machine: a branch that moves in between changes nothing. What it was loaded from stands in
    the ``source`` attribute of the result.

    Args:
        source: a path, or ``owner/name`` on the hub; a clone or hub id may carry ``@revision``.
        revision: commit, tag or branch; a 40-character commit is the only one that stays put, and anything else
            gives an :class:`UnpinnedWarning` that names the commit.
        loader: which library reads it, a word of :class:`chatlab.tokenizers.loaders.Loader`. ``auto`` takes what the
            files call for: transformers where there is a ``tokenizer.json`` or a class knows the vocabulary, raw
            ``tokenizers`` for a ``.json`` file, SentencePiece for a ``.model`` that no ``tokenizer_config.json``
            explains, mistral-common for ``tekken.json``, tiktoken for its files. ``llama.cpp`` reads a GGUF file as
            the program that runs it.
        legacy: the Llama switch: every segment gets the dummy prefix (``True``) or only the first (``False``).
            Left out, transformers decides; a bare ``.model`` is read the legacy way, as SentencePiece does. Where
            nothing reads it, it is refused.
        trust_remote_code: run code that the repository brings along.
        code_revision: commit of that code, needed where it lies in another repository.
        untrusted: read the files in a child process, which also encodes and decodes, without network, programs or the
            keys of this environment. Loading, and each later call, may take 20 s of processor time and 2 s for each
            megabyte of the files, and the child 1 GB of memory and 64 MB for each
            (:class:`chatlab.child.call.ChildLimits`; ``CHATLAB_CHILD_SECONDS`` and ``CHATLAB_CHILD_MEMORY_MB`` in the
            environment change both). A call that takes more ends the child with a TokenizerLimitError, and the next
            call loads anew. Chat templates over it are rendered in a child too.

    Raises:
        SourceNotFound: there is nothing at the path.
        OfflineError: it is a hub id, and the hub cannot be reached.
        RevisionError: the revision is malformed, shortened, absent, or given for a path without commits.
        TokenizerLoadError: the files are there and do not make a tokenizer, or an argument is of a wrong type.
        TokenizerLimitError: files that are untrusted took more time or memory than they may.
    """
    wanted = Loader.of(loader)
    found = resolve(source, revision)
    for warning in found.warnings if found.kind in ("hub", "git") else ():
        warnings.warn(warning, UnpinnedWarning, stacklevel=2)
    path = found.place if found.place is not None and found.kind in ("folder", "file", "gguf") else found.folder
    name = path_name(path) if path is found.place and found.kind != "gguf" else found.name
    options = _code_options(found, trust_remote_code, code_revision)
    asked = {"path": str(path), "name": name, "loader": wanted, "legacy": legacy, "options": options}
    asked["repo_id"] = found.repo_id
    tokenizer = _in_child(found, asked) if untrusted else opened(asked)
    tokenizer.source = found
    return tokenizer


def opened(asked: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of files on this machine; a child's first work, so all that is asked are JSON values."""
    path, wanted = Path(asked["path"]), Loader(asked["loader"])
    loader = chosen(path) if wanted is Loader.AUTO else wanted
    return _load(Reading(**{**asked, "path": path, "loader": loader, "chosen": wanted is Loader.AUTO}))


def _in_child(found: Source, asked: dict[str, Any]) -> UntrustedTokenizer:
    if asked["options"]["trust_remote_code"]:
        raise TokenizerLoadError(
            "trust_remote_code=True runs a stranger's code, and untrusted=True runs none: leave one out"
        )
    files = [file for file in found.folder.rglob("*") if file.is_file()]
    weights = sum(file.stat().st_size for file in files if file.suffix == ".gguf")
    limits = ChildLimits.for_bytes(
        sum(file.stat().st_size for file in files if is_tokenizer_file(file.relative_to(found.folder).as_posix()))
    )
    absolute = str(Path(asked["path"]).absolute())  # this process may go elsewhere, the child does not go along
    return UntrustedTokenizer(
        Session(opened, {**asked, "path": absolute}, found.name, replace(limits, mapped_bytes=weights))
    )


def as_tokenizer(tokenizer: Any) -> Tokenizer:
    """Return the adapter of whatever a user holds: ours, AutoTokenizer, raw ``tokenizers``, SentencePiece, or a path.

    Raises:
        TokenizerLoadError: it is none of these.
    """
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if isinstance(tokenizer, str | Path):
        return load_tokenizer(tokenizer)
    kind = {f"{cls.__module__.split('.')[0]}.{cls.__name__}" for cls in type(tokenizer).__mro__}
    if "tokenizers.Tokenizer" in kind:
        from chatlab.tokenizers.fast import FastTokenizer

        return FastTokenizer(tokenizer)
    if "sentencepiece.SentencePieceProcessor" in kind:
        from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer

        return SentencePieceTokenizer(tokenizer)
    if "transformers.PreTrainedTokenizerBase" in kind:
        return of_transformers(tokenizer)
    raise TokenizerLoadError(
        f"{type(tokenizer).__name__} is no tokenizer that chatlab knows: give an AutoTokenizer, a tokenizers.Tokenizer, "
        "a SentencePieceProcessor, a path, or a subclass of chatlab.tokenizers.interface.Tokenizer"
    )


def _code_options(found: Source, trust_remote_code: bool, code_revision: str | None) -> dict[str, Any]:
    if not trust_remote_code:
        return {"trust_remote_code": False}  # said aloud: left out, transformers asks on the terminal
    foreign = foreign_code(found.folder)
    if foreign and not (code_revision and is_commit(code_revision)):
        raise RevisionError(
            f"the code of {found.name} lies in {', '.join(foreign)}, which revision does not pin: "
            "give code_revision, a commit of 40 hex digits"
        )
    return {"trust_remote_code": True, **({"code_revision": code_revision} if code_revision else {})}


def _load(reading: Reading) -> Tokenizer:
    shown = reading.name if reading.repo_id or reading.path.suffix == ".gguf" else reading.path
    try:
        with harmless_logs():
            return read(reading)
    except TokenizerLoadError:
        raise
    except BaseException as error:
        # The libraries raise bare Exception, OSError, RuntimeError, ValueError, TypeError…, and Rust its panics.
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise TokenizerLoadError(
            f"{shown} did not load with {reading.loader}: {type(error).__name__}: {error}"
        ) from harmless(error)
