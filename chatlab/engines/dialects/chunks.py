"""One piece of a server's answer, read into plain values: every shape that was met, and no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from chatlab.engines.dialects.ends import failure_of
from chatlab.engines.dialects.logprobs import Scores, completion_scores, generate_scores
from chatlab.engines.dialects.values import (
    content_of,
    count_of,
    dict_of,
    flag_of,
    ids_of,
    list_of,
    refuse_unknown_text,
    shown,
    text_of,
    word_of,
)
from chatlab.errors import RemoteError


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What one event of a server says, whatever its dialect."""

    text: str = ""
    whole: bool = False
    """Whether text and ids are all so far, not only what is new."""
    token_ids: tuple[int, ...] | None = None
    scores: Scores = ()
    """Of each id: its log probability, and the likeliest ids with theirs."""
    end: str | None = None
    """The server's own word for why the reply ended."""
    matched: int | str | None = None
    """The token id or text that the server says it stopped at."""
    tells_match: bool = False
    """Whether it would say so, so that saying nothing means an end token."""
    reply_len: int | None = None
    """Tokens of the reply, by the server's count."""
    prompt_len: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    cached_len: int | None = None
    """Tokens of the prompt that the server had cached."""
    settings: dict[str, Any] | None = None
    """The sampling that the server says is in force."""


_Object = dict[str, Any]
_CHOICE_KEYS = frozenset({"text", "finish_reason", "stop_reason", "matched_stop", "routed_experts"})
_DELTA_KEYS = frozenset({"role", "content", "refusal"})
_LLAMA_CPP_KEYS = frozenset({"content", "model", "prompt", "stop_type", "stopping_word"})
_OLLAMA_KEYS = frozenset({"response", "model", "created_at", "done_reason", "remote_model", "remote_host"})
_SILENT_KEYS = frozenset({"choices", "usage", "timings", "model", "object", "created", "id", "prompt_progress"})


def read_chunk(data: str) -> Chunk:
    """The chunk that one event's data holds.

    Raises:
        RemoteError: it is no chunk of any known shape, holds values of wrong kinds, or tells of the server's failure.
        ContextLengthError: it tells that the prompt is longer than the server's context.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"the server sent no completion chunk: {data[:500]!r}") from error
    if isinstance(value, list) and len(value) == 1:  # TGI's unstreamed answer at its root
        value = value[0]
    if not isinstance(value, dict):
        raise RemoteError(f"the server sent no completion chunk: {data[:500]!r}")
    if (failure := failure_of(value)) is not None:
        raise failure
    read = next((read for fits, read in _SHAPES if fits(value)), None)
    if read is None:
        raise RemoteError(f"the server sent no completion chunk: {data[:500]!r}")
    return read(value)


def _openai(value: _Object) -> Chunk:
    """OpenAI and those who speak alike; completions and chat, streamed and whole."""
    choices = list_of("choices", value.get("choices"))
    if len(choices) > 1:
        raise RemoteError(f"the server sent {len(choices)} choices where one was asked for: {shown(choices)}")
    counts = _counts(value)
    if not choices:
        return counts
    choice = dict_of("a choice", choices[0])
    if choice.get("index") not in (None, 0):
        raise RemoteError(f"the server sent another choice than the one that was asked for: {shown(choice)}")
    matched = choice.get("stop_reason", choice.get("matched_stop"))
    return replace(
        counts,
        text=_choice_text(choice),
        token_ids=ids_of("token_ids", choice.get("token_ids")),
        scores=completion_scores(dict_of("logprobs", choice.get("logprobs"))),
        end=word_of("finish_reason", choice.get("finish_reason")),
        matched=matched if type(matched) is int else word_of("stop_reason", matched),
        tells_match=bool({"stop_reason", "matched_stop"} & set(choice)),
        prompt_ids=ids_of("prompt_token_ids", choice.get("prompt_token_ids")),
    )


def _choice_text(choice: _Object) -> str:
    refuse_unknown_text("choice", choice, _CHOICE_KEYS)
    if "text" in choice:
        return text_of("text", choice["text"])
    for name in ("delta", "message"):
        if name in choice:
            delta = dict_of(name, choice[name])
            refuse_unknown_text(name, delta, _DELTA_KEYS)
            if delta.get("tool_calls") or delta.get("function_call"):
                raise RemoteError(f"the server sent a tool call where text was asked for: {shown(delta)}")
            return content_of("content", delta.get("content")) + text_of("refusal", delta.get("refusal"))
    if choice.get("finish_reason") is None:
        raise RemoteError(f"the server sent a choice without a text: {shown(choice)}")
    return ""


def _counts(value: _Object) -> Chunk:
    """The counts of an event, whose choices may be none."""
    usage = dict_of("usage", value.get("usage"))
    details = dict_of("prompt_tokens_details", usage.get("prompt_tokens_details"))
    cached = dict_of("timings", value.get("timings")).get("cache_n", details.get("cached_tokens"))
    return Chunk(
        reply_len=count_of("completion_tokens", usage.get("completion_tokens")),
        prompt_len=count_of("prompt_tokens", usage.get("prompt_tokens")),
        cached_len=count_of("cached_tokens", cached),
    )


def _llama_cpp(value: _Object) -> Chunk:
    """llama.cpp's own ``/completion``."""
    ended = flag_of("stop", value.get("stop"))
    word = word_of("stopping_word", value.get("stopping_word"))
    progress = "prompt_progress" in value  # such an event carries an id that was never said
    refuse_unknown_text("chunk", value, _LLAMA_CPP_KEYS)
    return Chunk(
        text=text_of("content", value.get("content")),
        token_ids=None if progress else ids_of("tokens", value.get("tokens")),
        end=word_of("stop_type", value.get("stop_type", "stop")) if ended else None,
        matched=word or None,
        tells_match="stop_type" in value,
        reply_len=count_of("tokens_predicted", value.get("tokens_predicted")),
        prompt_len=count_of("tokens_evaluated", value.get("tokens_evaluated")),
        cached_len=count_of("cache_n", dict_of("timings", value.get("timings")).get("cache_n")),
        settings=dict_of("generation_settings", value.get("generation_settings")) or None,
    )


def _tgi(value: _Object) -> Chunk:
    """TGI's own ``/generate_stream``; the text of a special token is not part of the reply."""
    token, details = dict_of("token", value["token"]), dict_of("details", value.get("details"))
    token_ids = ids_of("token.id", [token.get("id")])
    refuse_unknown_text("token", token, ("text",))
    if "special" not in token:
        raise RemoteError(f"the server does not say whether a token is a special one: {shown(token)}")
    return Chunk(
        text="" if flag_of("special", token["special"]) else text_of("token.text", token.get("text")),
        token_ids=token_ids,
        scores=((token.get("logprob"), None),) if token.get("logprob") is not None else (),
        end=word_of("finish_reason", details.get("finish_reason")),
        tells_match=True,
        reply_len=count_of("generated_tokens", details.get("generated_tokens")),
    )


def _tgi_whole(value: _Object) -> Chunk:
    details = dict_of("details", value.get("details"))
    return Chunk(
        text=text_of("generated_text", value["generated_text"]),
        end=word_of("finish_reason", details.get("finish_reason", "stop")),
        tells_match=True,
        reply_len=count_of("generated_tokens", details.get("generated_tokens")),
    )


def _koboldcpp(value: _Object) -> Chunk:
    """Koboldcpp's own stream."""
    refuse_unknown_text("chunk", value, ("token", "finish_reason"))
    return Chunk(text=text_of("token", value["token"]), end=word_of("finish_reason", value.get("finish_reason")))


def _koboldcpp_whole(value: _Object) -> Chunk:
    results = list_of("results", value["results"])
    if len(results) != 1:
        raise RemoteError(f"the server sent {len(results)} results where one was asked for: {shown(results)}")
    result = dict_of("a result", results[0])
    refuse_unknown_text("result", result, ("text", "finish_reason"))
    return Chunk(
        text=text_of("text", result.get("text")),
        end=word_of("finish_reason", result.get("finish_reason", "stop")),
        reply_len=count_of("completion_tokens", result.get("completion_tokens")),
        prompt_len=count_of("prompt_tokens", result.get("prompt_tokens")),
    )


def _sglang(value: _Object) -> Chunk:
    """SGLang's own ``/generate``: each event repeats all the text and all the ids so far."""
    refuse_unknown_text("chunk", value, ("text",))
    meta = dict_of("meta_info", value["meta_info"])
    reason = meta.get("finish_reason")
    ended = dict_of("finish_reason", reason) if not isinstance(reason, str) else {"type": reason}
    if ended.get("type") in ("abort", "error"):
        raise RemoteError(f"the server broke the reply off: {shown(ended)}")
    matched = ended.get("matched")
    return Chunk(
        text=text_of("text", value.get("text")),
        whole=True,
        token_ids=ids_of("output_ids", value.get("output_ids")),
        scores=generate_scores(meta),
        end=word_of("finish_reason", ended.get("type")),
        matched=matched if type(matched) is int else word_of("matched", matched),
        tells_match=True,
        reply_len=count_of("completion_tokens", meta.get("completion_tokens")),
        prompt_len=count_of("prompt_tokens", meta.get("prompt_tokens")),
        cached_len=count_of("cached_tokens", meta.get("cached_tokens")),
    )


def _fastchat_worker(value: _Object) -> Chunk:
    """A FastChat worker: all the text so far."""
    usage = dict_of("usage", value.get("usage"))
    return Chunk(
        text=text_of("text", value.get("text")),
        whole=True,
        end=word_of("finish_reason", value.get("finish_reason")),
        reply_len=count_of("completion_tokens", usage.get("completion_tokens")),
        prompt_len=count_of("prompt_tokens", usage.get("prompt_tokens")),
    )


def _ollama(value: _Object) -> Chunk:
    """Ollama's own lines."""
    message = dict_of("message", value.get("message"))
    refuse_unknown_text("chunk", value, _OLLAMA_KEYS)
    refuse_unknown_text("message", message, _DELTA_KEYS)
    return Chunk(
        text=text_of("response", value.get("response")) + text_of("content", message.get("content")),
        end=word_of("done_reason", value.get("done_reason", "stop")) if flag_of("done", value["done"]) else None,
        reply_len=count_of("eval_count", value.get("eval_count")),
        prompt_len=count_of("prompt_eval_count", value.get("prompt_eval_count")),
    )


def _is_silent(value: _Object) -> bool:
    """Whether an event says something, such as progress or the counts, and nothing of the reply."""
    return value.get("type") == "ping" or (bool(value) and set(value) <= _SILENT_KEYS)


_SHAPES: tuple[tuple[Callable[[_Object], bool], Callable[[_Object], Chunk]], ...] = (
    (lambda v: "choices" in v, _openai),
    (lambda v: "content" in v and ("stop" in v or "tokens" in v), _llama_cpp),
    (lambda v: isinstance(v.get("token"), dict), _tgi),
    (lambda v: "generated_text" in v, _tgi_whole),
    (lambda v: "token" in v, _koboldcpp),
    (lambda v: "results" in v, _koboldcpp_whole),
    (lambda v: "meta_info" in v, _sglang),
    (lambda v: "error_code" in v and "text" in v, _fastchat_worker),
    (lambda v: "done" in v, _ollama),
    (_is_silent, _openai),
)
