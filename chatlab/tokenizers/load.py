"""From a folder, a file or a hub id to one tokenizer with the small interface."""

from __future__ import annotations

import warnings
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

from chatlab.errors import RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.source import Source, UnpinnedWarning, foreign_code, is_commit, resolve

Loader = Literal["auto", "transformers", "tokenizers", "sentencepiece"]


def load_tokenizer(
    source: str | Path,
    revision: str | None = None,
    *,
    loader: Loader = "auto",
    legacy: bool | None = None,
    trust_remote_code: bool = False,
    code_revision: str | None = None,
) -> Tokenizer:
    """Load a tokenizer from a folder, a file, a hub id, a git clone or a GGUF file, pinned to one commit.

    Of a hub id every file that counts, ``config.json`` among them, is fetched at one commit and checked, and only
    then loaded from this machine: a branch that moves in between changes nothing. What it was loaded from stands in
    the ``source`` attribute of the result.

    Args:
        source: a path, or ``owner/name`` on the hub; a clone or hub id may carry ``@revision``.
        revision: commit, tag or branch; a 40-character commit is the only one that stays put, and anything else
            gives an :class:`UnpinnedWarning` that names the commit.
        loader: which library reads it. ``auto`` takes transformers where the folder has a ``tokenizer.json`` or a
            config, raw ``tokenizers`` for a ``.json`` file and SentencePiece for a bare ``.model``.
        legacy: the Llama switch: every segment gets the dummy prefix (``True``) or only the first (``False``).
            Left out, transformers decides; a bare ``.model`` is read the legacy way, as SentencePiece does.
        trust_remote_code: run code that the repository brings along.
        code_revision: commit of that code, needed where it lies in another repository.

    Raises:
        SourceNotFound: there is nothing at the path.
        OfflineError: it is a hub id, and the hub cannot be reached.
        RevisionError: the revision is malformed, shortened, absent, or given for a path without commits.
        TokenizerLoadError: the files are there and do not make a tokenizer, or an argument is of a wrong type.
    """
    if loader not in get_args(Loader):
        raise TokenizerLoadError(f"loader is {loader!r:.80}: give one of {', '.join(get_args(Loader))}")
    found = resolve(source, revision)
    for warning in found.warnings if found.kind in ("hub", "git") else ():
        warnings.warn(warning, UnpinnedWarning, stacklevel=2)
    options: dict[str, Any] = {} if legacy is None else {"legacy": legacy}
    if trust_remote_code:
        foreign = foreign_code(found.folder)
        if foreign and not (code_revision and is_commit(code_revision)):
            raise RevisionError(
                f"the code of {found.name} lies in {', '.join(foreign)}, which revision does not pin: "
                "give code_revision, a commit of 40 hex digits"
            )
        options |= {"trust_remote_code": True} | ({"code_revision": code_revision} if code_revision else {})
    if found.kind == "gguf":
        tokenizer = _load_gguf(found, options)
    else:
        path = found.place if found.place is not None and found.kind in ("folder", "file") else found.folder
        tokenizer = _load_local(
            path, loader, options, repo_id=found.repo_id, name=None if path is found.place else found.name
        )
    tokenizer.source = found
    return tokenizer


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


def _load_local(
    path: Path, loader: Loader, options: dict[str, Any], *, name: str | None = None, repo_id: str | None = None
) -> Tokenizer:
    shown, name = name or path, name or _name(path)
    model = path if path.suffix == ".model" else path / "tokenizer.model"
    configured = path.is_dir() and any(
        (path / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json", "config.json")
    )
    if loader == "auto":
        loader = "transformers" if configured else "sentencepiece" if model.is_file() else "tokenizers"
    is_json = loader == "tokenizers" or (loader == "transformers" and path.suffix == ".json")
    if is_json and "legacy" in options:
        raise TokenizerLoadError(
            f"{path}: a tokenizer.json alone has no legacy switch; leave legacy out, or load the whole folder with transformers"
        )
    try:
        if loader == "transformers":
            if is_json:
                return _of_json(path, name)
            if not configured:
                _existing(model)
            return _from_pretrained(path, options, name, bare_model=not configured, repo_id=repo_id)
        if loader == "sentencepiece":
            from sentencepiece import SentencePieceProcessor

            from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer

            processor = SentencePieceProcessor(model_file=str(_existing(model)))
            return SentencePieceTokenizer(processor, legacy=options.get("legacy") is not False, name=name)
        from tokenizers import Tokenizer as RustTokenizer

        from chatlab.tokenizers.fast import FastTokenizer

        file = _existing(path / "tokenizer.json" if path.is_dir() else path)
        return FastTokenizer(RustTokenizer.from_file(str(file)), name=name)
    except TokenizerLoadError:
        raise
    except Exception as error:  # the libraries raise bare Exception, OSError, RuntimeError, ValueError, TypeError…
        raise TokenizerLoadError(f"{shown} did not load with {loader}: {type(error).__name__}: {error}") from error


def _load_gguf(found: Source, options: dict[str, Any]) -> Tokenizer:
    # AutoTokenizer would want the model's config, and another package to read it; the vocabulary needs neither.
    from transformers import PreTrainedTokenizerFast

    try:
        return _of_transformers(
            PreTrainedTokenizerFast.from_pretrained(str(found.folder), gguf_file="model.gguf", **options),
            name=found.name,
        )
    except Exception as error:
        raise TokenizerLoadError(f"{found.name} holds no vocabulary that this transformers reads: {error}") from error


def _from_pretrained(
    folder: Path, options: dict[str, Any], name: str, *, bare_model: bool, repo_id: str | None
) -> Tokenizer:
    from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

    # Without a config AutoTokenizer guesses a class that knows no dummy prefix; a bare .model is a Llama one here.
    cls = LlamaTokenizer if bare_model else AutoTokenizer
    if repo_id is not None and chosen_by_name(repo_id):
        cls = PreTrainedTokenizerFast
    tokenizer = _of_transformers(cls.from_pretrained(str(folder), **options), name=name)
    if tokenizer.vocab_len <= len(tokenizer.special_strs):
        # transformers makes a tokenizer of a config alone; it would read every text as nothing.
        raise TokenizerLoadError(
            f"{folder} has no vocabulary: a tokenizer.json, tokenizer.model or vocabulary file is missing"
        )
    return tokenizer


def _of_json(path: Path, name: str) -> Tokenizer:
    """Read a lone file by the class that changes nothing of it; no config says which other class it was made for."""
    from transformers import PreTrainedTokenizerFast

    return _of_transformers(PreTrainedTokenizerFast(tokenizer_file=str(path)), name=name)


def chosen_by_name(repo_id: str) -> bool:
    """Whether transformers gives this repository its general class because of its name, which a folder does not have."""
    from transformers.models.auto import tokenization_auto

    patterns = getattr(tokenization_auto, "MODEL_IDS_TO_TOKENIZERS_BACKEND", ())
    return any(fnmatch(repo_id.lower(), pattern) for pattern in patterns)


def _of_transformers(tokenizer: Any, name: str | None = None) -> Tokenizer:
    origin = Path(tokenizer.name_or_path or "")
    if name is None and (origin.is_absolute() or origin.parts and origin.exists()):
        name = _name(origin)
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
    folder = resolved.parent if resolved.is_file() else resolved
    return f"{folder.parent.name}/{folder.name}"
