"""From a folder, a file or a hub id to one tokenizer with the small interface."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from chatlab.errors import OfflineError, RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.tokenizers.interface import Tokenizer

Loader = Literal["auto", "transformers", "tokenizers", "sentencepiece"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[\w][\w./-]{0,254}")


def load_tokenizer(
    source: str | Path, revision: str | None = None, *, loader: Loader = "auto", legacy: bool | None = None
) -> Tokenizer:
    """Load a tokenizer from a folder, a ``tokenizer.json``, a ``tokenizer.model`` or a hub id.

    Args:
        source: a path, or ``owner/name`` on the hub.
        revision: commit, tag or branch of a hub id; a 40-character commit is the only one that stays put.
        loader: which library reads it. ``auto`` takes transformers where the folder has a ``tokenizer.json`` or a
            config, raw ``tokenizers`` for a ``.json`` file and SentencePiece for a bare ``.model``.
        legacy: the Llama switch: every segment gets the dummy prefix (``True``) or only the first (``False``).
            Left out, transformers decides; a bare ``.model`` is read the legacy way, as SentencePiece does.

    Raises:
        SourceNotFound: there is nothing at the path.
        OfflineError: it is a hub id, and the hub cannot be reached.
        RevisionError: the revision is malformed, absent, or given for a local path.
        TokenizerLoadError: the files are there and do not make a tokenizer.
    """
    path = Path(source).expanduser()
    if path.exists():
        if revision is not None:
            raise RevisionError(f"{source} is a local path and has no revisions: leave revision out, or name a hub id")
        return _load_local(path, loader, legacy)
    if not _HUB_ID.fullmatch(str(source)) or str(source).endswith((".json", ".model")):
        raise SourceNotFound(
            f"no tokenizer at {source}: give a folder, a tokenizer.json, a tokenizer.model or a hub id"
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise RevisionError(f"{revision!r} is no revision: give a 40-character commit, a tag or a branch")
    return _load_hub(str(source), revision, legacy)


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
        return _of_transformers(tokenizer)
    raise TokenizerLoadError(
        f"{type(tokenizer).__name__} is no tokenizer that chatlab knows: give an AutoTokenizer, a tokenizers.Tokenizer, "
        "a SentencePieceProcessor, a path, or a subclass of chatlab.tokenizers.interface.Tokenizer"
    )


def _load_local(path: Path, loader: Loader, legacy: bool | None) -> Tokenizer:
    model = path if path.suffix == ".model" else path / "tokenizer.model"
    configured = path.is_dir() and any(
        (path / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json", "config.json")
    )
    if loader == "auto":
        loader = "transformers" if configured else "sentencepiece" if model.is_file() else "tokenizers"
    try:
        if loader == "transformers":
            return _from_pretrained(str(path), None, legacy, bare_model=not configured)
        if loader == "sentencepiece":
            from sentencepiece import SentencePieceProcessor

            from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer

            processor = SentencePieceProcessor(model_file=str(_existing(model)))
            return SentencePieceTokenizer(processor, legacy=legacy is not False, name=_name(path))
        from tokenizers import Tokenizer as RustTokenizer

        from chatlab.tokenizers.fast import FastTokenizer

        file = _existing(path / "tokenizer.json" if path.is_dir() else path)
        return FastTokenizer(RustTokenizer.from_file(str(file)), name=_name(path))
    except TokenizerLoadError:
        raise
    except Exception as error:  # the libraries raise bare Exception, OSError, RuntimeError, ValueError, TypeError…
        raise TokenizerLoadError(f"{path} did not load with {loader}: {type(error).__name__}: {error}") from error


def _load_hub(repo_id: str, revision: str | None, legacy: bool | None) -> Tokenizer:
    try:
        return _from_pretrained(repo_id, revision, legacy, bare_model=False)
    except Exception as error:
        text = str(error)
        if "not a valid git identifier" in text or type(error).__name__ == "RevisionNotFoundError":
            raise RevisionError(
                f"{repo_id} has no revision {revision}: list them with `hf repos tag list` or on the hub"
            ) from error
        if "offline" in text.lower() or "connect" in text.lower() or "couldn't" in text.lower():
            raise OfflineError(
                f"{repo_id} is not on this machine and the hub cannot be reached. Give the folder of a local copy, "
                f"or, with a network and HF_HUB_OFFLINE unset, fetch it once: hf download {repo_id}"
                + (f" --revision {revision}" if revision else "")
            ) from error
        raise TokenizerLoadError(f"{repo_id} did not load: {type(error).__name__}: {error}") from error


def _from_pretrained(source: str, revision: str | None, legacy: bool | None, *, bare_model: bool) -> Tokenizer:
    from transformers import AutoTokenizer, LlamaTokenizer

    options: dict[str, Any] = {} if legacy is None else {"legacy": legacy}
    if revision is not None:
        options["revision"] = revision
    # Without a config AutoTokenizer guesses a class that knows no dummy prefix; a bare .model is a Llama one here.
    cls = LlamaTokenizer if bare_model else AutoTokenizer
    return _of_transformers(
        cls.from_pretrained(source, **options), name=_name(Path(source)) if Path(source).exists() else source
    )


def _of_transformers(tokenizer: Any, name: str | None = None) -> Tokenizer:
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        from chatlab.tokenizers.fast import FastTokenizer

        return FastTokenizer.of_transformers(tokenizer, name=name)
    from chatlab.tokenizers.slow import SlowTokenizer

    return SlowTokenizer(tokenizer, name=name)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SourceNotFound(f"no {path.name} in {path.parent}")
    return path


def _name(path: Path) -> str:
    """Return the last two parts of a path: enough to tell revisions apart, and no machine's own folders."""
    resolved = path.resolve()
    folder = resolved if resolved.is_dir() else resolved.parent
    return f"{folder.parent.name}/{folder.name}"
