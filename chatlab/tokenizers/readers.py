"""One function for each library that reads tokenizer files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from chatlab.errors import TokenizerLoadError, harmless
from chatlab.tokenizers.choose import CONFIGS, model_files, one, the_file
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.loaders import Loader
from chatlab.tokenizers.source import code_references


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is to be read, and how."""

    path: Path
    """A folder or one file."""
    name: str
    loader: Loader
    chosen: bool
    """Whether the files chose the loader, and not the user."""
    legacy: bool | None
    options: dict[str, Any]
    """Arguments of ``from_pretrained``."""
    repo_id: str | None


def read(reading: Reading) -> Tokenizer:
    """Return the tokenizer.

    Raises:
        TokenizerLoadError: a switch is given that nothing reads, or the files do not make a tokenizer.
    """
    tokenizer = _READERS[reading.loader](reading)
    tokenizer.refuse_absurd_ids()
    return tokenizer


def _transformers(reading: Reading) -> Tokenizer:
    path = reading.path
    gguf = sorted(path.glob("*.gguf")) if path.is_dir() and not _has_other_files(path) else []
    if path.suffix == ".gguf" or gguf:
        return _gguf(reading, path if path.is_file() else one(path, gguf, "*.gguf"))
    if path.suffix == ".json":
        return _json(reading)
    return _folder(reading)


def _has_other_files(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*CONFIGS, "config.json")) or bool(model_files(folder))


def _gguf(reading: Reading, file: Path) -> Tokenizer:
    from chatlab.tokenizers.fast import FastTokenizer
    from chatlab.tokenizers.gguf.load import load_gguf

    _refuse_legacy(reading, "a GGUF file says itself how its text gets a dummy prefix")
    return FastTokenizer.of_transformers(load_gguf(file), name=reading.name)


def _json(reading: Reading) -> Tokenizer:
    """Read a lone file by the class that changes nothing of it; no config says which other class it was made for."""
    from transformers import PreTrainedTokenizerFast

    _refuse_legacy(reading, "a tokenizer.json alone has")
    return of_transformers(PreTrainedTokenizerFast(tokenizer_file=str(reading.path)), name=reading.name)


def _folder(reading: Reading) -> Tokenizer:
    from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

    path = reading.path
    models = [path] if path.is_file() else model_files(path)
    bare = path.is_file() or not any((path / name).is_file() for name in (*CONFIGS, "config.json"))
    # Without a config AutoTokenizer guesses a class that knows no dummy prefix; a bare .model is a Llama one here.
    cls = LlamaTokenizer if bare and models else AutoTokenizer
    if reading.repo_id is not None and chosen_by_name(reading.repo_id):
        cls = PreTrainedTokenizerFast
    unexplained = reading.chosen and bool(models) and not any((path / name).is_file() for name in CONFIGS)
    try:
        loaded = _from_pretrained(cls, reading)
    except Exception:
        if unexplained:  # transformers knows no class for the config; the model file needs none
            return _sentencepiece(reading)
        raise
    if models and not (path / "tokenizer.json").is_file() and not _reads(type(loaded), models[0]):
        # A class for other files writes no dummy prefix and keeps no kinds of pieces: the model file knows more.
        if unexplained:
            return _sentencepiece(reading)
        loaded = _from_pretrained(LlamaTokenizer, reading)
    if reading.legacy is not None and not _takes_legacy(type(loaded)):
        raise TokenizerLoadError(f"{path}: its class, {type(loaded).__name__}, has no legacy switch; leave legacy out")
    tokenizer = of_transformers(loaded, name=reading.name)
    if tokenizer.vocab_len <= len(tokenizer.special_strs):
        # transformers makes a tokenizer of a config alone; it would read every text as nothing.
        raise TokenizerLoadError(
            f"{path} has no vocabulary: a tokenizer.json, tokenizer.model or vocabulary file is missing"
        )
    return tokenizer


_GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""transformers' class for whatever has no class of its own, before and since version 5."""


def _reads(cls: Any, model: Path) -> bool:
    """Whether a class was made for a SentencePiece model of this name."""
    return cls.__name__ not in _GENERAL and model.name in getattr(cls, "vocab_files_names", {}).values()


def _from_pretrained(cls: Any, reading: Reading) -> Any:
    options = dict(reading.options)
    if reading.legacy is not None:
        options["legacy"] = reading.legacy
    if reading.loader is Loader.SLOW:
        options["use_fast"] = False
    if not cls.__name__.startswith("Auto"):
        options = {k: v for k, v in options.items() if k not in ("trust_remote_code", "code_revision")}
    try:
        return cls.from_pretrained(str(reading.path), local_files_only=True, **options)
    except Exception as error:
        code = code_references(reading.path)
        if not code or options.get("trust_remote_code"):
            raise
        file, references = next(iter(code.items()))
        raise TokenizerLoadError(
            f"{reading.path / file} names code of its own, {', '.join(references)}, which is not run unless asked: "
            f"trust_remote_code=True runs it, and loader= another library does without ({error})"
        ) from harmless(error)


def _takes_legacy(cls: type) -> bool:
    constructors = [vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c) and c is not object]
    return any("legacy" in inspect.signature(constructor).parameters for constructor in constructors)


def _tokenizers(reading: Reading) -> Tokenizer:
    from tokenizers import Tokenizer as RustTokenizer

    from chatlab.tokenizers.fast import FastTokenizer

    _refuse_legacy(reading, "a tokenizer.json alone has")
    file = the_file(reading.path, Loader.TOKENIZERS)
    return FastTokenizer(RustTokenizer.from_file(str(file)), name=reading.name)


def _sentencepiece(reading: Reading) -> Tokenizer:
    from sentencepiece import SentencePieceProcessor

    from chatlab.tokenizers.sentencepiece_model import SentencePieceTokenizer

    file = the_file(reading.path, Loader.SENTENCEPIECE)
    processor = SentencePieceProcessor(model_file=str(file))
    return SentencePieceTokenizer(processor, legacy=reading.legacy is not False, name=reading.name)


def _mistral(reading: Reading) -> Tokenizer:
    from chatlab.tokenizers.bytewise.tekken import load_tekken

    _refuse_legacy(reading, "a tekken.json has no dummy prefix and")
    return load_tekken(the_file(reading.path, Loader.MISTRAL), reading.name)


def _tiktoken(reading: Reading) -> Tokenizer:
    from chatlab.tokenizers.bytewise.tiktoken_file import load_tiktoken

    _refuse_legacy(reading, "a file of ranks has no dummy prefix and")
    return load_tiktoken(the_file(reading.path, Loader.TIKTOKEN), reading.name)


def _llama_cpp(reading: Reading) -> Tokenizer:
    from chatlab.tokenizers.gguf.llama_cpp import load_llama_cpp

    _refuse_legacy(reading, "a GGUF file says itself how its text gets a dummy prefix")
    return load_llama_cpp(the_file(reading.path, Loader.LLAMA_CPP), reading.name)


_READERS: dict[Loader, Callable[[Reading], Tokenizer]] = {
    Loader.TRANSFORMERS: _transformers,
    Loader.SLOW: _transformers,
    Loader.TOKENIZERS: _tokenizers,
    Loader.SENTENCEPIECE: _sentencepiece,
    Loader.MISTRAL: _mistral,
    Loader.TIKTOKEN: _tiktoken,
    Loader.LLAMA_CPP: _llama_cpp,
}


def _refuse_legacy(reading: Reading, why: str) -> None:
    if reading.legacy is not None:
        raise TokenizerLoadError(
            f"{reading.path}: {why}: no legacy switch reaches it; leave legacy out, or load a folder with transformers"
        )


def chosen_by_name(repo_id: str) -> bool:
    """Whether transformers gives this repository its general class because of its name, which a folder does not have."""
    from transformers.models.auto import tokenization_auto

    patterns = getattr(tokenization_auto, "MODEL_IDS_TO_TOKENIZERS_BACKEND", ())
    return any(fnmatch(repo_id.lower(), pattern) for pattern in patterns)


def of_transformers(tokenizer: Any, name: str | None = None) -> Tokenizer:
    """Return the adapter of what transformers made: of its Rust pipeline, where it has one."""
    origin = Path(tokenizer.name_or_path or "")
    if name is None and (origin.is_absolute() or origin.parts and origin.exists()):
        name = path_name(origin)
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        from chatlab.tokenizers.fast import FastTokenizer

        return FastTokenizer.of_transformers(tokenizer, name=name)
    from chatlab.tokenizers.slow import SlowTokenizer

    return SlowTokenizer(tokenizer, name=name)


def path_name(path: Path) -> str:
    """Return the last two parts of a path: enough to tell revisions apart, and no machine's own folders."""
    resolved = path.resolve()
    folder = resolved.parent if resolved.is_file() else resolved
    return f"{folder.parent.name}/{folder.name}"
