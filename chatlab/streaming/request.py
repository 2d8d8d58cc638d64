"""What is settled before the first token, and in which order: parameters, stops, the open reply, ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from chatlab.buffering.scanner import Replacements, check_replacements
from chatlab.engines.engine import Engine, hidden_ids
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import BufferingError, ContextLengthError, EngineError, GenerationError, SamplingError, TokenIdError
from chatlab.streaming.asked_prompt import AskedPrompt, Prompt, check_prompt_kind
from chatlab.streaming.channel_formats.choice import channels_for
from chatlab.streaming.channel_formats.message import text_arguments
from chatlab.streaming.channel_formats.registry import Asked
from chatlab.streaming.channels import Channels
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.streaming.marks import Marks
from chatlab.streaming.open_reply import OpenReply
from chatlab.streaming.reply import Reply
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

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
    open_reply: OpenReply
    """Where the reply goes in the prompt."""
    channels: Channels | None
    """How the reply is split into channels; ``None`` leaves it whole."""
    marks: Marks
    """Special tokens that stops and delimiters hold."""
    include_stop: bool
    text_arguments: tuple[tuple[str, str, bool], ...]
    """Which arguments of a tool call are texts, as the tools of the prompt tell."""
    conversation: Conversation | None
    """What keeps the ids of the prompt and of the reply."""
    end_ids: frozenset[int]
    """Ids that end a reply."""

    def keep(self, reply: Reply) -> None:
        """Let the conversation remember a reply that has ended, and stands in its prompt."""
        prompt = self.open_reply.prompt
        if self.conversation is None or prompt is None:
            return
        last = reply.token_ids[-1] if reply.token_ids else None
        at_end = reply.stop is None and reply.finish_reason in ("eos", "stop") and last in self.end_ids
        self.conversation.keep(
            prompt,
            self.prompt_ids,
            reply.token_ids,
            end_id=last if at_end else None,
            beyond="" if reply.stop is None else reply.stop + reply.rest,
        )

    def new_reply(self, row: int = 0) -> Reply:
        """An empty reply to this request."""
        decode = self.tokenizer.decoder(skip_special_tokens=self.skip_special_tokens)
        try:
            detokenizer = StreamingDetokenizer(decode, self.prompt_ids, self.special_ids)
        except TokenIdError:
            raise  # the prompt's fault, told as an engine tells it
        except Exception as error:
            raise GenerationError(f"the decoder failed on the prompt: {type(error).__name__}: {error}") from error
        return Reply(
            self.tokenizer,
            detokenizer,
            replacements=self.replacements,
            stops=self.params.stop,
            row=row,
            channels=self.channels,
            marks=self.marks,
            include_stop=self.include_stop,
            skip_special_tokens=self.skip_special_tokens,
            text_arguments=self.text_arguments,
        )


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
    channels: Asked | None = None,
    include_stop_str_in_output: bool = False,
    warn: bool = True,
    **sampling: Any,
) -> Request:
    """Settle a request; the arguments are those of :func:`chatlab.streaming.stream.stream`.

    Without ``warn`` a control token that a message spells is text and no more said of it, as a server wants it.
    """
    _check_engine(engine)
    check_prompt_kind(prompt)
    if overflow not in ("error", "drop_turns"):
        raise EngineError(f"overflow must be 'error' or 'drop_turns', not {overflow!r}")
    params = _settled(params, sampling)
    asked = AskedPrompt.ask(prompt, _tokenizer_of(prompt, engine, tokenizer))
    params = _stop_at_special_ids(replace(params, stop=(*params.stop, *asked.stops)), asked.tokenizer)
    replacements = [*_pairs(replacements), *asked.replacements] if asked.dialogue else replacements
    if skip_special_tokens:
        _refuse_hidden_text(check_replacements(replacements), asked.tokenizer)
    encoding = {
        "add_special_tokens": add_special_tokens,
        "allow_control_tokens": allow_control_tokens,
        "warn": warn and not engine.reads_text,
    }
    with OpenReply(asked.dialogue) as open_reply:
        fitted, prompt_ids, dropped_turns = _fit(asked, engine, params, overflow, encoding)
        split = None if channels is None else channels_for(channels, asked.prompt, asked.tokenizer, prompt_ids)
        stops = [s for s in params.stop if include_stop_str_in_output or s not in asked.tokenizer.special_strs]
        return Request(
            prompt_ids=tuple(prompt_ids),
            prompt_text=fitted.text(allow_control_tokens=allow_control_tokens) if engine.reads_text else None,
            params=params,
            tokenizer=asked.tokenizer,
            replacements=replacements,
            special_ids=hidden_ids(engine, params, asked.tokenizer.special_ids) if skip_special_tokens else frozenset(),
            skip_special_tokens=skip_special_tokens,
            dropped_turns=dropped_turns,
            open_reply=open_reply,
            channels=split,
            marks=_marks_in([*stops, *(split.delimiters if split else ())], asked.tokenizer),
            include_stop=include_stop_str_in_output,
            text_arguments=tuple(text_arguments(getattr(asked.prompt, "tools", None) or ())) if split else (),
            conversation=asked.conversation,
            end_ids=hidden_ids(engine, params, asked.tokenizer.special_ids),
        )


def _check_engine(engine: object) -> None:
    if not callable(getattr(engine, "submit", None)):
        kind = type(engine).__name__
        raise EngineError(f"an engine is needed, not {kind}: wrap a model, as in LocalEngine(model, tokenizer)")


def _tokenizer_of(prompt: object, engine: Engine, tokenizer: Any) -> Tokenizer:
    if isinstance(prompt, Conversation):
        check_tells_ids(engine)
        return prompt.tokenizer
    tokenizer = engine.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise EngineError(f"this {type(engine).__name__} has no tokenizer: build it with one, or give tokenizer=")
    return as_tokenizer(tokenizer)


def check_tells_ids(engine: Engine) -> None:
    """Refuse an engine by which no conversation can be kept in ids.

    Raises:
        EngineError: it takes or gives texts.
    """
    if engine.reads_text or not engine.tells_ids:
        lacks = "takes the prompt as text" if engine.reads_text else "does not tell the ids of its replies"
        raise EngineError(
            f"a conversation is kept in ids, and this {type(engine).__name__} {lacks}: stream its prompt, as in "
            "stream(conversation.prompt, engine), or take a LocalEngine or a server that gives ids, such as vLLM"
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


def _fit(
    asked: AskedPrompt, engine: Engine, params: SamplingParams, overflow: Overflow, encoding: Mapping[str, Any]
) -> tuple[AskedPrompt, list[int], int]:
    """The prompt without as many of the oldest turns as the context asks for and the caller allows, its ids, and how many."""
    context_len = min(params.context_len, getattr(engine, "context_len", None) or params.context_len)
    room = context_len - min(params.max_new_tokens, context_len // 2)
    prompt_ids = asked.token_ids(**encoding)
    if overflow == "error" or len(prompt_ids) <= room:
        return asked, prompt_ids, 0
    fitting = asked.fitting(room, **encoding)
    if fitting is None:
        raise ContextLengthError(
            f"the prompt has {len(prompt_ids)} tokens where {room} of the context's {context_len} are for it, "
            "and only its last turn is left when every older one is left out: shorten the message"
        )
    return fitting


def _stop_at_special_ids(params: SamplingParams, tokenizer: Tokenizer) -> SamplingParams:
    """Stop strings that are special tokens end by id: as special tokens they are never shown, so never found."""
    special = tokenizer.special_strs
    return replace(
        params,
        stop_ids=tuple(dict.fromkeys([*params.stop_ids, *(special[s] for s in params.stop if s in special)])),
        stop=tuple(dict.fromkeys(params.stop)),
    )


def _marks_in(texts: Iterable[str], tokenizer: Tokenizer) -> Marks:
    """Marks for the special tokens that stand in some texts."""
    special, find = tokenizer.special_strs, tokenizer.special_pattern.findall
    return Marks({token: special[token] for text in texts for token in find(text)})


def _refuse_hidden_text(replacements: Mapping[str, str], tokenizer: Tokenizer) -> None:
    """Refuse what could never be found, because a special token in it is not part of the text that is searched.

    To replace a special token by nothing is what leaving it out does.

    Raises:
        BufferingError: a search string holds a special token.
    """
    special = tokenizer.special_strs
    for search, target in replacements.items():
        if (found := tokenizer.special_pattern.search(search)) and (search not in special or target):
            raise BufferingError(
                f"the search string {search!r} holds the special token {found[0]!r}, which is no text of a reply: leave "
                "it out, or pass skip_special_tokens=False"
            )


def _pairs(replacements: Replacements) -> list[tuple[str, str]]:
    return list(replacements.items() if isinstance(replacements, Mapping) else replacements)
