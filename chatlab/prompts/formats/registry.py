"""Every prompt format by its name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from chatlab.errors import UnknownFormat
from chatlab.prompts.formats import (
    chatml,
    deepseek,
    gemma,
    instruct,
    llama2,
    llama3,
    mistral,
    named_roles,
    phi3,
    vicuna,
    zephyr,
)
from chatlab.prompts.formats.format import FormatPrompt

_FAMILIES = (llama2, llama3, mistral, phi3, chatml, gemma, vicuna, zephyr, deepseek, instruct, named_roles)


class _Formats(dict[str, type[FormatPrompt]]):
    def __missing__(self, name: object) -> type[FormatPrompt]:
        raise UnknownFormat(_unknown(name))


FORMATS: Mapping[str, type[FormatPrompt]] = _Formats(
    (value.format.name, value)
    for family in _FAMILIES
    for value in vars(family).values()
    if isinstance(value, type) and issubclass(value, FormatPrompt) and "format" in value.__dict__
)
"""Every prompt class by the name of its format."""

ALIASES: Mapping[str, str] = {
    "llama2": "llama2-chatstream",
    "mistral": "mistral-v3",
    "phi3": "phi3-2024-07",
    "qwen": "qwen2.5",
    "vicuna": "vicuna-v1.1",
    "deepseek": "deepseek-r1-distill",
}
"""Short names for the command line."""


def _unknown(name: object) -> str:
    """That there is no such format, with the names that are near."""
    names = sorted({*FORMATS, *ALIASES})
    near = get_close_matches(name, names, n=3) if isinstance(name, str) else []
    hint = f"did you mean {' or '.join(map(repr, near))}? There are" if near else "there are"
    return f"no prompt format is called {name!r:.80}: {hint} {', '.join(names)}"


def prompt_class(name: str) -> type[FormatPrompt]:
    """The class of a format name, a short name or a class name.

    Raises:
        UnknownFormat: there is none of that name.

    >>> prompt_class("llama2").__name__
    'ChatPromptMetaLlamaLlama2Chat'
    """
    by_class = {cls.__name__: cls for cls in FORMATS.values()}
    found = (FORMATS.get(ALIASES.get(name, name)) or by_class.get(name)) if isinstance(name, str) else None
    if found is None:
        raise UnknownFormat(_unknown(name))
    return found
