"""Which library the files of a folder call for, and which of its files that library reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chatlab.errors import SourceNotFound, TokenizerLoadError
from chatlab.tokenizers.bytewise.tiktoken_file import is_ranks
from chatlab.tokenizers.loaders import Loader

MODEL_PATTERNS = ("*.model", "*.model.v*")
"""SentencePiece models: ``tokenizer.model``, T5's ``spiece.model``, Mistral's ``tokenizer.model.v3``."""
CONFIGS = ("tokenizer.json", "tokenizer_config.json")
VOCABULARIES = ("vocab.json", "vocab.txt")


def chosen(path: Path) -> Loader:
    """Return the loader that a folder or file calls for.

    A ``tokenizer.json`` decides before all else, as it does for AutoTokenizer; then the files that hold a vocabulary
    which no other file can replace.
    """
    if path.is_file():
        return _of_file(path)
    if (path / "tokenizer.json").is_file():
        return Loader.TRANSFORMERS
    if (path / "tekken.json").is_file():
        return Loader.MISTRAL
    models = model_files(path)
    if any(path.glob("*.tiktoken")) or models and is_ranks(models[0]):
        return Loader.TIKTOKEN
    if any((path / name).is_file() for name in (*CONFIGS, "config.json", *VOCABULARIES)):
        return Loader.TRANSFORMERS
    if models:
        return Loader.SENTENCEPIECE
    return Loader.TRANSFORMERS if any(path.glob("*.gguf")) else Loader.TOKENIZERS


def _of_file(path: Path) -> Loader:
    if path.suffix == ".gguf":
        return Loader.TRANSFORMERS
    if path.suffix == ".json":
        return Loader.MISTRAL if "tekken" in path.name else Loader.TOKENIZERS
    return Loader.TIKTOKEN if path.suffix == ".tiktoken" or is_ranks(path) else Loader.SENTENCEPIECE


def model_files(folder: Path) -> list[Path]:
    """Return the SentencePiece models of a folder; ``tokenizer.model`` stands alone where there is one."""
    if (folder / "tokenizer.model").is_file():
        return [folder / "tokenizer.model"]
    return sorted(path for pattern in MODEL_PATTERNS for path in folder.glob(pattern) if path.is_file())


def the_file(path: Path, loader: Loader) -> Path:
    """Return the one file of a folder that a loader reads; a file itself stays what it is.

    Raises:
        SourceNotFound: it has none.
        TokenizerLoadError: it has several, and nothing says which.
    """
    if path.is_file():
        return path
    if loader is Loader.TOKENIZERS:
        return existing(path / "tokenizer.json")
    if loader is Loader.MISTRAL:
        return existing(path / "tekken.json")
    if loader is Loader.LLAMA_CPP:
        return one(path, sorted(path.glob("*.gguf")), "*.gguf")
    ranks = sorted(path.glob("*.tiktoken")) if loader is Loader.TIKTOKEN else []
    return one(path, ranks or model_files(path), "tokenizer.model")


def one(folder: Path, found: Sequence[Path], wanted: str) -> Path:
    """Return the only file found.

    Raises:
        SourceNotFound: there is none.
        TokenizerLoadError: there are several.
    """
    if not found:
        raise SourceNotFound(f"no {wanted} in {folder}")
    if len(found) > 1:
        raise TokenizerLoadError(
            f"{folder} holds {', '.join(p.name for p in found)}, and nothing says which counts: give the file itself"
        )
    return found[0]


def existing(path: Path) -> Path:
    """Return a path that is there.

    Raises:
        SourceNotFound: it is not.
    """
    if not path.is_file():
        raise SourceNotFound(f"no {path.name} in {path.parent}")
    return path
