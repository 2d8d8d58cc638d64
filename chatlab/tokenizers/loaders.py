"""Which library reads a tokenizer: the one set of words that loading, snapshots, locks and the command line share."""

from __future__ import annotations

from enum import StrEnum

from chatlab.errors import TokenizerLoadError


class Loader(StrEnum):
    """A library that reads tokenizer files; equal to its word, so ``loader="transformers"`` is the same."""

    AUTO = "auto"
    """Whichever the files call for."""
    TRANSFORMERS = "transformers"
    """AutoTokenizer, and the class it chooses."""
    SLOW = "slow"
    """transformers' Python classes, where a version has one beside the fast class."""
    TOKENIZERS = "tokenizers"
    """``tokenizer.json`` alone, as Rust and JavaScript programs read it; ``raw`` is another word for it."""
    SENTENCEPIECE = "sentencepiece"
    LLAMA_CPP = "llama.cpp"
    """The program that runs GGUF files; needs the extra ``llamacpp``."""
    MISTRAL = "mistral"
    """mistral-common, which reads ``tekken.json``; needs the extra ``mistral``."""
    TIKTOKEN = "tiktoken"
    """``*.tiktoken`` and Llama-3's ``tokenizer.model``; needs the extra ``tiktoken``."""

    @classmethod
    def _missing_(cls, value: object) -> Loader | None:
        return cls.TOKENIZERS if value == "raw" else None

    @classmethod
    def of(cls, value: object) -> Loader:
        """Return the loader of a word.

        Raises:
            TokenizerLoadError: there is none of that name.
        """
        try:
            return cls(str(value))
        except ValueError as error:
            raise TokenizerLoadError(f"loader is {value!r:.80}: give one of {', '.join(cls)}") from error


EXTRAS = {
    Loader.LLAMA_CPP: ("xllamacpp", "llamacpp"),
    Loader.MISTRAL: ("mistral_common", "mistral"),
    Loader.TIKTOKEN: ("tiktoken", "tiktoken"),
}
"""The module and the extra of each loader whose library chatlab does not bring along."""


def lacks(loader: Loader, error: ImportError) -> TokenizerLoadError:
    """Return the error that names the absent library and how to get it."""
    module, extra = EXTRAS[loader]
    return TokenizerLoadError(
        f"{loader} needs {module}, which is not installed ({error}): pip install 'chatlab-research[{extra}]'"
    )
