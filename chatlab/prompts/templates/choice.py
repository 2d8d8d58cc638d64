"""Which prompt class fits a model, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from chatlab.errors import PromptError, TemplateError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.formats.registry import FORMATS
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt

# Control tokens that only one family writes: a guess, and named as one.
_TELLING = {
    "<|start_header_id|>": "llama3",
    "<start_of_turn>": "gemma",
    "<｜User｜>": "deepseek-r1-distill",
    "<|im_start|>": "chatml",
    "<|assistant|>": "phi3-2024-07",
    "[/INST]": "mistral-v3",
    "### Response:\n": "dolly-v2-chatstream",
}


@dataclass(frozen=True, kw_only=True)
class PromptChoice:
    """A way to make prompts, and why it was chosen; call it, or pass it where a prompt class is asked for."""

    name: str
    prompt_class: Callable[[], AbstractChatPrompt]
    why: str

    def __call__(self) -> AbstractChatPrompt:
        """A fresh prompt."""
        return self.prompt_class()


def prompt_for(model: Any) -> PromptChoice:
    """Choose the prompt class for a model id, or the chat template that a tokenizer carries.

    A tokenizer's own template is what the model was tuned on, so it wins; then the model's id;
    then control tokens that only one family has, which is a guess and says so.

    Args:
        model: a hub id such as ``mistralai/Mistral-7B-Instruct-v0.3``, a folder, or a tokenizer, also one of
            ``load_tokenizer``.

    Raises:
        PromptError: nothing fits.

    >>> prompt_for("HuggingFaceH4/zephyr-7b-beta").why
    'zephyr is the format of HuggingFaceH4/zephyr-7b-beta'
    """
    if isinstance(model, str | Path) and Path(model).is_dir():
        return _of_folder(Path(model))
    if isinstance(model, str):
        choice = _by_id(model)
        if choice is None:
            raise PromptError(
                f"no prompt format is known for {model!r}{_near_models(model)}: pass its tokenizer to use the chat template in it, "
                f"or choose one with prompt_class(name): {', '.join(sorted(FORMATS))}"
            )
        return choice
    inner, name = getattr(model, "wrapped", None) or model, _name_of(model)
    choice = _by_template(inner, name) or _by_id(name) or _by_control_token(inner)
    if choice is None:
        raise PromptError(
            f"the tokenizer {name or type(model).__name__!r} has no chat template, no known id and no "
            f"telling control token: choose a format with prompt_class(name): {', '.join(sorted(FORMATS))}"
        )
    return choice


def _near_models(model_id: str) -> str:
    """The known models of nearly the same id, which may read another format all the same."""
    known = {model.lower(): model for cls in FORMATS.values() for model in cls.format.models}
    near = [known[found] for found in get_close_matches(model_id.lower(), known, n=2, cutoff=0.8)]
    return f", though for {' and '.join(near)}" if near else ""


def _of_folder(folder: Path) -> PromptChoice:
    try:
        ChatTemplatePrompt(folder)
    except TemplateError as error:
        raise PromptError(
            f"{folder} is a folder without a chat template ({error}): pass its tokenizer, load_tokenizer(folder), "
            "or choose a format with prompt_class(name)"
        ) from error
    why = f"the folder {folder.name} carries its own chat template"
    return PromptChoice(name="chat_template", prompt_class=lambda: ChatTemplatePrompt(folder), why=why)


def _by_template(tokenizer: Any, name: str) -> PromptChoice | None:
    if not getattr(tokenizer, "chat_template", None):
        return None
    why = f"the tokenizer {name or type(tokenizer).__name__} carries its own chat template"
    return PromptChoice(name="chat_template", prompt_class=lambda: ChatTemplatePrompt(tokenizer), why=why)


def _by_id(model_id: str) -> PromptChoice | None:
    wanted = model_id.lower()
    fits = [cls for cls in FORMATS.values() if any(wanted == m.lower() for m in cls.format.models)]
    if not fits:
        return None
    # The vendor's own format comes before the one ChatStream shipped for the same model.
    fits.sort(key=lambda cls: cls.format.name.endswith("-chatstream"))
    others = "".join(f"; {cls.format.name} is another" for cls in fits[1:])
    name = fits[0].format.name
    return PromptChoice(name=name, prompt_class=fits[0], why=f"{name} is the format of {model_id}{others}")


def _by_control_token(tokenizer: Any) -> PromptChoice | None:
    vocab = _added_strs(tokenizer)
    for token, name in _TELLING.items():
        if token in vocab:
            return PromptChoice(name=name, prompt_class=FORMATS[name], why=f"a guess: its vocabulary holds {token!r}")
    return None


def _added_strs(tokenizer: Any) -> set[str]:
    if hasattr(tokenizer, "added_tokens_encoder"):
        return set(tokenizer.added_tokens_encoder)
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        return {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return set(getattr(tokenizer, "special_strs", ()))


def _name_of(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or getattr(tokenizer, "name", "") or "")
