"""From what a user has (a prompt class, messages, text, ids) to what an engine takes, with its stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from typing import Any, Literal, TypeGuard, cast

from chatlab.buffering.scanner import Replacements
from chatlab.engines.dialects.server_text import text_of_prompt
from chatlab.engines.engine import Engine, hidden_ids
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import (
    ContextLengthError,
    EngineError,
    GenerationError,
    MessageTypeError,
    PromptError,
    RoleOrderError,
    SamplingError,
    TokenIdError,
)
from chatlab.prompts import control_tokens
from chatlab.prompts.base import AbstractChatPrompt, RoleType
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.reply import Reply
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

Prompt = AbstractChatPrompt | Sequence[Mapping[str, Any]] | str | Sequence[int]
"""A prompt class with its history, messages for a chat template, plain text, or token ids as they are."""
Overflow = Literal["error", "drop_turns"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that is settled before the first token: ids, parameters, stops, replacements."""

    prompt_ids: tuple[int, ...]
    prompt_text: str | None
    """The text the ids were made of, for an engine that reads text."""
    params: SamplingParams
    tokenizer: Tokenizer
    replacements: Replacements
    special_ids: frozenset[int]
    skip_special_tokens: bool
    dropped_turns: int
    opened_reply: bool
    """Whether the prompt's reply was opened for this request."""

    def reply(self, row: int = 0) -> Reply:
        """An empty reply to this request."""
        decode = self.tokenizer.decoder(skip_special_tokens=self.skip_special_tokens)
        try:
            detokenizer = StreamingDetokenizer(decode, self.prompt_ids, self.special_ids)
        except Exception as error:
            raise GenerationError(f"the decoder failed on the prompt: {type(error).__name__}: {error}") from error
        return Reply(self.tokenizer, detokenizer, replacements=self.replacements, stops=self.params.stop, row=row)


def build_request(
    prompt: Prompt,
    engine: Engine,
    params: SamplingParams | None = None,
    *,
    tokenizer: Any = None,
    add_special_tokens: bool | None = None,
    allow_control_tokens: bool = False,
    replacements: Replacements = (),
    skip_special_tokens: bool = True,
    overflow: Overflow = "error",
    **sampling: Any,
) -> Request:
    """Settle a request; the arguments are those of :func:`chatlab.streaming.stream.stream`."""
    _check_kinds(prompt, engine)
    params = _settled(params, sampling)
    tokenizer = engine.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise EngineError(f"this {type(engine).__name__} has no tokenizer: build it with one, or give tokenizer=")
    tokenizer = as_tokenizer(tokenizer)
    if _are_messages(prompt):
        prompt = _prompt_of(prompt, tokenizer)
    params = _stop_at_special_ids(replace(params, stop=(*params.stop, *_stop_strs(prompt))), tokenizer)
    if isinstance(prompt, AbstractChatPrompt):
        replacements = [*_pairs(replacements), *(prompt.get_replacement_when_output() or ())]
    encode = partial(
        encode_prompt,
        tokenizer=tokenizer,
        add_special_tokens=add_special_tokens,
        allow_control_tokens=allow_control_tokens,
        warn=not engine.reads_text,
    )
    prompt_text = None
    opened = isinstance(prompt, AbstractChatPrompt) and _open_reply(prompt)
    try:
        prompt_ids, kept, dropped_turns = _fit(prompt, encode, engine, params, overflow)
        if engine.reads_text:
            prompt_text = text_of_prompt(kept, tokenizer, allow_control_tokens=allow_control_tokens)
        special_ids = hidden_ids(engine, params, tokenizer.special_ids) if skip_special_tokens else frozenset()
    except BaseException:
        close_reply(prompt, opened)
        raise
    return Request(
        prompt_ids=tuple(prompt_ids),
        prompt_text=prompt_text,
        params=params,
        tokenizer=tokenizer,
        replacements=replacements,
        special_ids=special_ids,
        skip_special_tokens=skip_special_tokens,
        dropped_turns=dropped_turns,
        opened_reply=opened,
    )


def _check_kinds(prompt: object, engine: object) -> None:
    """Refuse what is neither prompt nor engine, above all bytes and mappings, which would pass for lists."""
    if not callable(getattr(engine, "submit", None)):
        kind = type(engine).__name__
        raise EngineError(f"an engine is needed, not {kind}: wrap a model, as in LocalEngine(model, tokenizer)")
    if isinstance(prompt, AbstractChatPrompt | str):
        return
    lists = hasattr(prompt, "__len__") and hasattr(prompt, "__getitem__")  # arrays and tensors, too
    if not lists or isinstance(prompt, type | Mapping | bytes | bytearray | memoryview):
        name = f"the class {prompt.__name__} itself" if isinstance(prompt, type) else type(prompt).__name__
        raise PromptError(
            "a prompt is a str, a list of messages, a list of token ids, or an object of a prompt class with its "
            f"history, not {name}"
        )


def _settled(params: object, sampling: Mapping[str, Any]) -> SamplingParams:
    """The parameters with those given by name; ``None`` stops at nothing."""
    params = SamplingParams() if params is None else params
    if not isinstance(params, SamplingParams):
        raise SamplingError(
            f"params must be a SamplingParams, not {type(params).__name__}: give single fields by name, as in "
            "temperature=0"
        )
    named = {name: () if value is None and name in ("stop", "stop_ids") else value for name, value in sampling.items()}
    return SamplingParams.from_dict(params.to_dict() | named) if named else params


def close_reply(prompt: Prompt | None, opened: bool) -> None:
    """Take an open reply back that no model will fill: a refused request leaves the history as it was."""
    if opened and isinstance(prompt, AbstractChatPrompt) and prompt.get_history()[-1].role_type is RoleType.RESPONDER:
        prompt.remove_last_message()


def encode_prompt(
    prompt: Prompt,
    tokenizer: Tokenizer,
    add_special_tokens: bool | None = None,
    allow_control_tokens: bool = False,
    warn: bool = True,
) -> list[int]:
    """The ids of a prompt.

    A message of a prompt class never yields a control token (law L8) unless ``allow_control_tokens``. Plain text is
    taken as the caller wrote it: control tokens in it count, and text that begins with a special token of its own
    gets no second one from the tokenizer. ``add_special_tokens`` overrides that.
    """
    if isinstance(prompt, AbstractChatPrompt):
        safe = control_tokens.encode_prompt(
            tokenizer,
            prompt,
            add_special_tokens=add_special_tokens,
            allow_control_tokens=allow_control_tokens,
            warn=warn,
        )
        return safe.token_ids
    if isinstance(prompt, str):
        if add_special_tokens is None:
            add_special_tokens = not prompt.startswith(tuple(filter(None, tokenizer.special_strs)) or ("\0",))
        return tokenizer.encode(prompt, add_special_tokens=add_special_tokens)
    try:
        return [
            index(token_id) for token_id in cast(Sequence[int], prompt)
        ]  # NumPy's and torch's integers are integers, too
    except TypeError as error:
        raise TokenIdError(f"a prompt of ids holds something that is no integer: {error}") from error


def _fit(
    prompt: Prompt, encode: Callable[[Prompt], list[int]], engine: Engine, params: SamplingParams, overflow: Overflow
) -> tuple[list[int], Prompt, int]:
    """The ids and what they were made of, without as many of the oldest turns as the context asks for and the caller allows."""
    if overflow not in ("error", "drop_turns"):
        raise EngineError(f"overflow must be 'error' or 'drop_turns', not {overflow!r}")
    context_len = min(params.context_len, getattr(engine, "context_len", None) or params.context_len)
    room = context_len - min(params.max_new_tokens, context_len // 2)
    dropped_turns = 0
    while True:
        prompt_ids = encode(prompt)
        if overflow == "error" or len(prompt_ids) <= room:
            return prompt_ids, prompt, dropped_turns
        shorter = _without_oldest_turn(prompt)
        if shorter is None:
            raise ContextLengthError(
                f"the prompt has {len(prompt_ids)} tokens where {room} of the context's {context_len} are for it, "
                f"and only its last turn is left after leaving out {dropped_turns}: shorten the message"
            )
        prompt, dropped_turns = shorter, dropped_turns + 1


def _without_oldest_turn(prompt: Prompt) -> AbstractChatPrompt | None:
    """A copy that begins with the next question, or ``None`` when there is no turn to leave out."""
    if not isinstance(prompt, AbstractChatPrompt):
        return None
    twin = prompt.copy()
    asked = [i for i, content in enumerate(twin._contents) if content.role_type is RoleType.REQUESTER]
    if len(asked) < 2:
        return None
    twin._contents = twin._contents[asked[1] :]
    return twin


def _are_messages(prompt: Prompt) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return not isinstance(prompt, AbstractChatPrompt | str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)


def _prompt_of(messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> AbstractChatPrompt:
    """The messages behind the tokenizer's own chat template, so that they are streamed as a prompt class is."""
    if tokenizer.wrapped is None:
        raise EngineError(
            f"{tokenizer.name} carries no chat template: give a prompt class (chatlab.prompt_for helps), text or ids"
        )
    return prompt_of_messages(messages, lambda: ChatTemplatePrompt(tokenizer.wrapped))


def _open_reply(prompt: AbstractChatPrompt) -> bool:
    """Open a reply at the end of the history, unless one is open already; tell whether that was done."""
    contents = prompt.get_history()
    if contents and contents[-1].role_type is RoleType.REQUESTER:
        prompt.add_responder_msg(None)
        return True
    if not contents or contents[-1].message is not None:
        raise RoleOrderError(
            "there is no question to answer: call add_requester_msg first, or clear_last_message to answer again"
        )
    return False


def _stop_strs(prompt: Prompt) -> tuple[str, ...]:
    """The stops of a prompt class; a lone text would be taken for a list of its characters."""
    stops = prompt.get_stop_strs() if isinstance(prompt, AbstractChatPrompt) else None
    if isinstance(stops, str):
        raise MessageTypeError(f"{type(prompt).__name__}.get_stop_strs must return a list: write [{stops!r}]")
    return tuple(stops or ())


def _stop_at_special_ids(params: SamplingParams, tokenizer: Tokenizer) -> SamplingParams:
    """Stop strings that are special tokens end by id: as special tokens they are never shown, so never found."""
    special = tokenizer.special_strs
    return replace(
        params,
        stop_ids=tuple(dict.fromkeys([*params.stop_ids, *(special[s] for s in params.stop if s in special)])),
        stop=tuple(dict.fromkeys(params.stop)),
    )


def _pairs(replacements: Replacements) -> list[tuple[str, str]]:
    return list(replacements.items() if isinstance(replacements, Mapping) else replacements)
