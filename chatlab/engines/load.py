"""From a folder, or a hub id and its pinned revision, to a model."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from chatlab.engines.device import on_device
from chatlab.errors import (
    ChatlabError,
    EngineError,
    ModelLoadError,
    OfflineError,
    RevisionError,
    SourceNotFound,
    TokenizerLoadError,
    harmless,
)
from chatlab.folder import check_folder, read_json, require_plain
from chatlab.terminal import harmless_logs
from chatlab.tokenizers.source import UnpinnedWarning, code_references

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"\w[\w./-]{0,254}")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where a model came from; every model of :func:`load_model` carries it as ``chatlab_source``."""

    name: str
    """Hub id, or the last two parts of a folder."""
    asked_revision: str | None
    """The commit, tag or branch that was asked for."""
    revision: str | None
    """The 40-character commit that was loaded; ``None`` for a folder."""


def load_model(
    source: str | Path,
    revision: str | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool | None = None,
) -> Any:
    """Load a causal language model, ready for :class:`chatlab.engines.local.LocalEngine`.

    Args:
        source: a folder, or ``owner/name`` on the hub.
        revision: commit, tag or branch of a hub id. Only a 40-character commit stays put; anything else warns, and
            ``model.chatlab_source`` names the commit it resolved to, to be pinned.
        device: where to put it; left out, on the CPU.
        dtype: ``"auto"`` takes the checkpoint's own; else such as ``"float32"``.
        allow_pickle: also read ``.bin`` weights. Safetensors cannot run code, pickles can.
        trust_remote_code: run the repository's own Python; never set for you, and only with a pinned commit.
        cache_dir: the hub's cache; left out, the usual one.
        progress: show progress bars; left out, on a terminal only.

    Raises:
        SourceNotFound: there is nothing at the path.
        RevisionError: the revision is malformed, absent, given for a folder, or no commit where code is trusted.
        OfflineError: it is a hub id, and the hub cannot be reached.
        ModelLoadError: the files are there and do not make a model.
        EngineError: there is no such device here, or no room on it.
    """
    if device is not None:
        on_device(torch.empty(0), device)  # before the weights are read, which may take minutes
    local = _check_source(source, revision)
    if trust_remote_code and not local and not (revision and _COMMIT.fullmatch(revision)):
        raise RevisionError(f"{source} would run code of {revision or 'its main branch'}: pin a 40-character commit")
    options: dict[str, Any] = {
        "dtype": dtype,
        "cache_dir": cache_dir,
        "use_safetensors": None if allow_pickle else True,
        "trust_remote_code": trust_remote_code,  # said aloud: left out, transformers asks on the terminal
    }
    folder: Path | None = None
    try:
        with harmless_logs(), _progress(sys.stderr.isatty() if progress is None else progress):
            commit = None if local else _commit(str(source), revision, cache_dir)
            if commit is not None:
                options["revision"] = commit  # a branch may move between one file and the next
            folder = Path(source) if local else _config(str(source), commit, cache_dir).parent
            if local:
                _check_files(folder)
            model = AutoModelForCausalLM.from_pretrained(str(source), **options)
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, RuntimeError, SafetensorError…
        if isinstance(error, ChatlabError):
            raise
        code = {} if trust_remote_code or folder is None else code_references(folder)
        raise _typed(error, str(source), revision, local, code) from harmless(error)
    name = "/".join(Path(source).resolve().parts[-2:]) if local else str(source)
    model.chatlab_source = ModelSource(name=name, asked_revision=revision, revision=commit)
    if not local and revision != commit:
        warnings.warn(
            f"{source} was loaded from {revision or 'the main branch'}, which is commit {commit} today: "
            f"pin it with revision={commit!r}",
            UnpinnedWarning,
            stacklevel=2,
        )
    return model.eval() if device is None else on_device(model, device).eval()


def _check_source(source: str | Path, revision: str | None) -> bool:
    """Tell whether ``source`` is a folder here; raise if it is neither that nor a hub id with a sound revision."""
    if Path(source).expanduser().exists():
        if revision is not None:
            raise RevisionError(f"{source} is a local path and has no revisions: leave revision out, or name a hub id")
        return True
    if not _HUB_ID.fullmatch(str(source)) or ".." in str(source):
        raise SourceNotFound(f"no model at {source}: give a folder or a hub id")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise RevisionError(f"{revision!r} is no revision: give a 40-character commit, a tag or a branch")
    return False


def _check_files(folder: Path) -> None:
    """Refuse links out of the folder, FIFOs and devices, whatever of them transformers would open."""
    try:
        check_folder(folder)
        for weights in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
            require_plain(weights, within=folder, limit=None)
        for index in folder.glob("*.index.json"):
            shards = read_json(index, within=folder).get("weight_map", {}).values()
            if any("/" in str(shard) or "\\" in str(shard) for shard in shards):
                raise ModelLoadError(f"{index} names weights outside of its folder, and no such file is opened")
    except (TokenizerLoadError, AttributeError) as error:
        raise ModelLoadError(str(error)) from error


def _config(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    return Path(str(cached_file(repo_id, "config.json", revision=revision or "main", cache_dir=cache_dir)))


def _commit(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> str:
    """The commit that a revision names now, in the cache or on the hub."""
    return str(extract_commit_hash(str(_config(repo_id, revision, cache_dir)), None))


def _typed(
    error: Exception, source: str, revision: str | None, local: bool, code: Mapping[str, Sequence[str]]
) -> Exception:
    text = str(error)
    if code and "custom code" in text:
        file, references = next(iter(code.items()))
        return ModelLoadError(
            f"{file} of {source} names code of its own, {', '.join(references)}, which is not run unless asked: "
            "trust_remote_code=True runs it"
        )
    if "safetensors" in text and ("no file named" in text or "does not appear to have a file" in text):
        return ModelLoadError(
            f"{source} has no safetensors weights. Convert them, or, if you trust where they come from, "
            "pass allow_pickle=True"
        )
    if "not a valid git identifier" in text or type(error).__name__ == "RevisionNotFoundError":
        return RevisionError(f"{source} has no revision {revision}: look for it on the hub")
    if not local and re.search("offline|connect|couldn't|cached files", text, re.IGNORECASE):
        pin = f" --revision {revision}" if revision else ""
        return OfflineError(
            f"{source} is not on this machine and the hub cannot be reached. Give the folder of a local copy, or, "
            f"with a network and HF_HUB_OFFLINE unset, fetch it once: hf download {source}{pin}"
        )
    return ModelLoadError(f"{source} did not load: {type(error).__name__}: {error}")


@contextmanager
def _progress(shown: bool) -> Iterator[None]:
    """Set transformers' progress bars for a while: a bar in a saved notebook stays there half-way."""
    before = transformers_logging.is_progress_bar_enabled()
    switch = {True: transformers_logging.enable_progress_bar, False: transformers_logging.disable_progress_bar}
    switch[shown]()
    try:
        yield
    finally:
        switch[before]()


def check_model(model: object, engine: str) -> None:
    """Refuse what is no model of transformers, above all a path or the tokenizer.

    Raises:
        EngineError: it is none; the message names the way.
    """
    if all(hasattr(model, name) for name in ("config", "forward", "get_input_embeddings")) and not isinstance(
        model, type
    ):
        return
    if isinstance(model, str | PathLike):
        way = f"load it first: {engine}(load_model({str(model)!r}), load_tokenizer({str(model)!r}))"
    elif hasattr(model, "encode") or hasattr(model, "decode"):
        way = f"that is a tokenizer, and the model stands first: {engine}(model, tokenizer)"
    else:
        way = f"load one with chatlab.load_model: {engine}(model, tokenizer)"
    raise EngineError(f"a {engine} runs a model of transformers, not {type(model).__name__}; {way}")


def end_ids(model: Any, tokenizer: Any = None) -> frozenset[int]:
    """The ids that end a reply: of the generation config, else of the model's config, else of the tokenizer."""
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        eos = getattr(holder, "eos_token_id", None)
        if eos is not None:
            return frozenset([eos] if isinstance(eos, int) else eos)
    return frozenset()
