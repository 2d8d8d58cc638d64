"""What a ChatStream is built with, checked and settled: an engine, parameters, a prompt class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chatlab.engines.engine import Engine
from chatlab.errors import ServerError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.filling import new_prompt as prompt_of_class
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.prompts.templates.choice import prompt_for

ROLES_REFUSED = (
    "client_roles are not taken: a pass-phrase typed into the chat reaches histories and logs, is compared in time that tells "
    "it, and gives rights to whoever repeats it. Let the program's own login decide who may call which handler"
)
_NOT_TAKEN = {
    "client_roles": ROLES_REFUSED,
    "token_sampler": "token_sampler is not taken: temperature, top_k, top_p and repetition_penalty are followed in the order of "
    "transformers' generate; for another way of choosing give engine=",
    "num_gpus": "num_gpus is not taken: give a model that transformers has spread (device_map), or engine=",
    "probe_mode_enabled": "probe_mode_enabled is not taken: ask for server-sent events, which tell each token",
}


class NoModel(ServerError):
    """A request came to a ChatStream without a model."""

    code = "no_model"


def refuse_foreign(options: Mapping[str, Any]) -> None:
    """Refuse options of ChatStream 0.3.0 that are not followed, unless they ask for nothing, and those nobody knows.

    Raises:
        ServerError: or ``TypeError`` for one that neither has.
    """
    for name, value in options.items():
        if name not in _NOT_TAKEN:
            raise TypeError(f"ChatStream has no option {name!r}")
        if value not in (None, False) and not (name == "num_gpus" and value == 1):
            raise ServerError(_NOT_TAKEN[name])


def engine_of(model: Any, tokenizer: Any, device: Any, engine: Engine | None) -> Engine | None:
    """The engine that is given, or a LocalEngine around the model; ``None`` where there is neither.

    Raises:
        ServerError: both are given.
        EngineError: the model is none, or there is no such device.
    """
    if engine is not None:
        if model is not None or device is not None:
            raise ServerError("give a model (with its device) or an engine=, not both: an engine has its model")
        return engine
    if model is None:
        return None
    from chatlab.engines.local import LocalEngine

    # Both are exact up to rounding; who needs the last bit gives engine=LocalEngine(model, tokenizer).
    return LocalEngine(model, tokenizer, device, decode_rows="auto", reuse_prefix="auto")


def prompt_maker(chat_prompt_clazz: Any, tokenizer: Any, *, mock: bool) -> Callable[[], AbstractChatPrompt]:
    """What makes an empty prompt: the class that is given, else what the tokenizer tells, else for a mock a plain one."""

    def new_prompt() -> AbstractChatPrompt:
        if chat_prompt_clazz is not None:
            return prompt_of_class(chat_prompt_clazz)
        if tokenizer is not None:
            return prompt_for(tokenizer)()
        if mock:
            return ChatPromptVicuna()
        raise NoModel("this ChatStream has no chat_prompt_clazz and no tokenizer that tells one: give either")

    return new_prompt
