"""Where the embedded dialogues, tokenizers and model lie: in the installed package, or in a checkout's ``data/``.

>>> dialogues_path().name
'dialogues.jsonl'
>>> "llama2-style/legacy" in tokenizer_names()
True
"""

from __future__ import annotations

from pathlib import Path

from chatlab.errors import EmbeddedDataError

_PACKAGE = Path(__file__).parent

# A wheel carries the data inside the package; an editable install or a checkout has it beside the package.
_ROOTS = (_PACKAGE / "embedded_data", _PACKAGE.parent / "data")


def embedded_path(*parts: str) -> Path:
    """The embedded file or folder at ``parts``, such as ``embedded_path("dialogues", "dialogues.jsonl")``.

    Raises:
        EmbeddedDataError: It is neither in the installed package nor in the checkout.
    """
    for root in _ROOTS:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    wanted, places = "/".join(parts) or "the embedded data", " or ".join(map(str, _ROOTS))
    raise EmbeddedDataError(
        f"{wanted} is not in {places}: run `make data` in a checkout, or install chatlab-research again"
    )


def dialogues_path() -> Path:
    """The JSON Lines file of labelled dialogues."""
    return embedded_path("dialogues", "dialogues.jsonl")


def conversations_path() -> Path:
    """The JSON Lines file of labelled dialogues that think and call tools."""
    return embedded_path("dialogues", "conversations.jsonl")


def model_path() -> Path:
    """The folder of the tiny Llama-2 chat model and its tokenizer."""
    return embedded_path("models", "tiny-llama2-chat")


def tokenizer_names() -> list[str]:
    """The names that `tokenizer_path` knows, sorted, such as ``llama2-style/legacy``."""
    root = embedded_path("tokenizers")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("tokenizer.json"))


def tokenizer_path(name: str) -> Path:
    """The folder of the tokenizer called ``name``.

    Raises:
        EmbeddedDataError: No embedded tokenizer has this name.
    """
    if name not in tokenizer_names():
        raise EmbeddedDataError(f"no embedded tokenizer is called {name!r}; there are {', '.join(tokenizer_names())}")
    return embedded_path("tokenizers", *name.split("/"))
